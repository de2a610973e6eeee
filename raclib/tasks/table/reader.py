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
class BaseAnswers:
    """What a base classifier that did not see them says of examples.

    Attributes:
        rows: Ids of the examples, int64 `[X]`, rising.
        log_probs_XC: Log-probabilities of the classes, float32.
    """

    rows: np.ndarray
    log_probs_XC: np.ndarray

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Those of some of them."""
        return self.log_probs_XC[np.searchsorted(self.rows, rows)]


@dataclass(frozen=True)
class TableReader:
    """Fetches rows of the corpus and derives their labels. Small and picklable.

    Attributes:
        fetch: Gives fields of row ids, as `CorpusClient.fetch` does.
        inputs: Fields that a model reads of a row.
        labelling: Makes the labels.
        time: Field with the time of a row itself, where `time` is when its label was known.
        base: Answers of the base classifier for examples, where a model reads them.
    """

    fetch: Fetch
    inputs: tuple[str, ...]
    labelling: Labelling
    time: str = "time"
    base: BaseAnswers | None = None

    def examples(self, rows: np.ndarray) -> Arrays:
        """Inputs, key, time, label and id (`row`) of rows to predict, arrays `[N, ...]`."""
        found = self.read(rows, (*self.inputs, "key", self.time)) | {"row": rows}
        if self.base is not None:
            found["base"] = self.base.of(rows)
        return {"time" if name == self.time else name: array for name, array in found.items()}

    def read(self, rows: np.ndarray, fields: tuple[str, ...]) -> Arrays:
        """The fields of rows, and their `label`."""
        found = self.fetch(rows, tuple(dict.fromkeys((*fields, *self.labelling.fields))))
        return {name: found[name] for name in fields} | {"label": self.labelling(found)}
