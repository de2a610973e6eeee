"""The label of a row of a table: it is a field of the corpus."""

from dataclasses import dataclass

import numpy as np

from raclib.arrays import Arrays


@dataclass(frozen=True)
class StoredLabel:
    """Labels of rows of the corpus: see `reader.Labelling`."""

    fields = ("label",)

    def __call__(self, found: Arrays) -> np.ndarray:
        """Numbers of the classes, int64."""
        return found["label"].astype(np.int64)
