"""The embedding of a row's texts: by an encoder, or out of a file that was made before."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclib.errors import UserError
from raclib.ingest.config import EncoderConfig
from raclib.ingest.encoders import Encoder, build_encoder
from raclib.ingest.precomputed import PrecomputedEmbeddings

LINE = "_line"
"""The column that counts all rows that were read from 0, those that were skipped included."""


@dataclass
class TextEmbedder:
    """Embeds the texts of rows. Picklable; loads weights at its first use.

    Attributes:
        config: The encoder.
        columns: Columns that hold texts, in the order in which they are read.
    """

    config: EncoderConfig
    columns: Sequence[str]

    def __post_init__(self) -> None:
        self._encoder: Encoder | PrecomputedEmbeddings | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_encoder": None}

    @property
    def has_weights(self) -> bool:
        """Whether a network is loaded."""
        return self.config.kind != "hashing" and self.config.precomputed is None

    def load(self, device: str = "cpu") -> Encoder | PrecomputedEmbeddings:
        """What embeds, loaded once; its `dim` and `revision` are known then."""
        if self._encoder is None:
            file = self.config.precomputed
            self._encoder = (
                PrecomputedEmbeddings(file) if file else build_encoder(self.config, device)
            )
        return self._encoder

    def embed(self, rows: pa.Table, device: str = "cpu") -> np.ndarray:
        """Embeddings `[N, D]`, float16.

        Args:
            rows: The columns, and `_line` where embeddings were made before; null is an empty text.
            device: `cpu` or `cuda`.

        Raises:
            UserError: if one holds NaN or is beyond float16.
        """
        encoder = self.load(device)
        if isinstance(encoder, PrecomputedEmbeddings):
            rows_ND = encoder.read(rows[LINE].to_numpy())
        else:
            texts = {name: pc.fill_null(rows[name], "").to_pylist() for name in self.columns}
            rows_ND = encoder.encode(texts)
        if not (np.abs(rows_ND) <= np.finfo(np.float16).max).all():
            name = self.config.precomputed or self.config.kind
            raise UserError(
                f"encoder: {name}: an embedding holds NaN or is beyond float16; mend it"
            )
        return rows_ND.astype(np.float16)
