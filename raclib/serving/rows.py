"""How rows of a kind are read: what tables and reviews tell a served model."""

from typing import Protocol

import numpy as np
import pyarrow as pa

from raclib.arrays import Arrays
from raclib.ingest.base_scores import FeaturesOf
from raclib.models.base import FittedBase
from raclib.models.classifier import RetrievalClassifier
from raclib.tasks.table.reader import TableReader


class ServedRows(Protocol):
    """Reads rows of one version of a corpus, and new ones as they come."""

    @property
    def inputs(self) -> list[str]:
        """Columns that a row to be predicted has."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of probabilities."""
        ...

    @property
    def time(self) -> str:
        """Column with the time at which a row happened, one of `inputs`."""
        ...

    @property
    def has_dates(self) -> bool:
        """Whether times are moments; else they order the rows."""
        ...

    @property
    def cutoff(self) -> int:
        """That of the corpus, ms since 1970."""
        ...

    @property
    def reader(self) -> TableReader:
        """Reads rows of the corpus."""
        ...

    @property
    def features(self) -> FeaturesOf:
        """Reads what a base classifier sees of rows of the corpus."""
        ...

    def usable(self, rows: pa.Table) -> np.ndarray:
        """Which rows have a time that can be read, bool `[N]`.

        Args:
            rows: The column `time` at least.
        """
        ...

    def encode(self, rows: pa.Table) -> Arrays:
        """What a model reads of rows, `key`, and `time`, when they happened, ms; `[N, ...]` each.

        Raises:
            UserError: if a column is missing, a value does not fit, or a time cannot be read.
        """
        ...

    def log_probs(self, rows: Arrays, base: FittedBase) -> np.ndarray:
        """A base classifier's answers to encoded rows, float32 `[N, C]`."""
        ...

    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights."""
        ...
