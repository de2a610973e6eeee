"""Rows of the corpus as arrays with their labels; sent to reading processes, so without torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raclib.arrays import Arrays

Fetch = Callable[[np.ndarray, tuple[str, ...]], Arrays]


class Labelling(Protocol):
    """Makes the label of rows out of fields of the corpus. Small and picklable."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields that it is made of."""
        ...

    def __call__(self, found: Arrays) -> np.ndarray:
        """Labels, int64, of the shape of those fields."""
        ...


@dataclass(frozen=True)
class TableReader:
    """Fetches rows of the corpus and derives their labels. Small and picklable.

    Attributes:
        fetch: Gives fields of row ids, as `CorpusClient.fetch` does.
        inputs: Fields that a model reads of a row.
        labelling: Makes the labels.
        time: Field with the time of a row itself, where `time` is when its label was known.
    """

    fetch: Fetch
    inputs: tuple[str, ...]
    labelling: Labelling
    time: str = "time"

    def examples(self, rows: np.ndarray) -> Arrays:
        """Inputs, key, time and label of rows to predict, arrays `[N, ...]`."""
        found = self.read(rows, (*self.inputs, "key", self.time))
        return {"time" if name == self.time else name: array for name, array in found.items()}

    def read(self, rows: np.ndarray, fields: tuple[str, ...]) -> Arrays:
        """The fields of rows, and their `label`."""
        found = self.fetch(rows, tuple(dict.fromkeys((*fields, *self.labelling.fields))))
        return {name: found[name] for name in fields} | {"label": self.labelling(found)}
