"""Embeddings that were made before, read instead of encoding."""

from pathlib import Path
from typing import Any

import numpy as np

from raclib.errors import UserError
from raclib.ingest.config import EncoderConfig
from raclib.ingest.identity import describe_file

MINILM_DIM = 384
PRECOMPUTED = "precomputed"
"""What a corpus calls the file of embeddings that it was made of."""


class PrecomputedEmbeddings:
    """Embeddings made before, one row a line that is read; memory mapped.

    Args:
        path: A .npy file `[lines, dim]`, float16 or float32.

    Raises:
        UserError: if it is not such a file.
    """

    revision = PRECOMPUTED

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise UserError(f"encoder.precomputed: {path}: no such file") from None
        except (ValueError, EOFError) as error:
            raise UserError(f"encoder.precomputed: {path}: not a .npy array: {error}") from None
        if self._rows.ndim != 2 or self._rows.dtype not in (np.float16, np.float32):
            raise UserError(
                f"encoder.precomputed: {path}: holds {self._rows.dtype} {list(self._rows.shape)}; "
                "give float16 or float32 [lines, width]"
            )
        self.dim = self._rows.shape[1]

    def check(self, num_lines: int, config: EncoderConfig, what: str) -> None:
        """Raises UserError unless there is a row for every line, of the encoder's width."""
        if len(self._rows) != num_lines:
            raise UserError(
                f"encoder.precomputed: {self.path}: has {len(self._rows)} rows, the {what} have "
                f"{num_lines} lines; give one row a line, skipped lines included"
            )
        width = {"hashing": config.dim, "minilm": MINILM_DIM}.get(config.kind, self.dim)
        if self.dim != width:
            raise UserError(
                f"encoder.precomputed: {self.path}: is {self.dim} wide, encoder.kind "
                f"{config.kind} makes {width}; name the encoder that made it"
            )

    def read(self, lines: np.ndarray) -> np.ndarray:
        """Embeddings `[N, dim]`, float32, of lines `[N]`."""
        return self._rows[lines].astype(np.float32)


def describe_precomputed(config: EncoderConfig, folder: str, is_published: bool) -> dict[str, Any]:
    """What a file of embeddings is known by, as `describe_files` describes those of rows.

    Args:
        config: May name a file, with an absolute path.
        folder: Where checksums are kept.
        is_published: Whether there is a corpus, which goes on without the file.

    Returns:
        `{"precomputed": {"files": [...]}}`; empty where no file is named, or needed and there.

    Raises:
        UserError: if it is no file of embeddings.
    """
    file = config.precomputed
    if not file or (is_published and not Path(file).exists()):
        return {}
    PrecomputedEmbeddings(file)
    return {PRECOMPUTED: {"files": [describe_file(file, folder)]}}
