"""What the writer is asked, and what it says."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from raclib.errors import UserError


class UnknownIdError(UserError):
    """Nothing is known under an id."""


class OtherRowError(UserError):
    """Under an id another row is known."""


@dataclass(frozen=True)
class NewRows:
    """Labelled rows that shall join the corpus.

    Attributes:
        ids: Of each; the same id with the same row is taken in once, however often it comes.
        digests: Of each row as it was given.
        rows: All columns of the table.
    """

    ids: list[str]
    digests: list[str]
    rows: pa.Table


@dataclass(frozen=True)
class NewLabels:
    """Labels of rows that are known by their id; one that has a label is corrected from then on.

    Attributes:
        ids: Of each row.
        labels: One a row, in the type of the table's column.
        known: When each label was known, ms since 1970, int64.
        label_times: The same as the table has it; None where it has no such column.
    """

    ids: list[str]
    labels: pa.Array
    known: np.ndarray
    label_times: pa.Array | None


@dataclass(frozen=True)
class Remember:
    """Rows that were answered and may get a label later.

    Attributes:
        ids: Of each; a row that is known already stays as it is.
        digests: Of each row as it was given.
        rows: The columns of a row to be predicted.
        answers_NMC: Probabilities by each of `outcomes.METHODS`, float32.
        version: Of the corpus that the answers are from.
    """

    ids: list[str]
    digests: list[str]
    rows: pa.Table
    answers_NMC: np.ndarray
    version: int


class Done(NamedTuple):
    """Rows are in the corpus.

    Attributes:
        version: From which on all are.
        rows: Their numbers in it.
    """

    version: int
    rows: list[int]
