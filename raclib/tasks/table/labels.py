"""Labels of rows: of a table they are a field of the corpus."""

from dataclasses import dataclass

import numpy as np

from raclib.arrays import Arrays
from raclib.corpus import Corpus
from raclib.sampling import PIECE_ROWS
from raclib.tasks.table.reader import Labelling


@dataclass(frozen=True)
class StoredLabel:
    """Labels of rows of the corpus: see `reader.Labelling`."""

    fields = ("label",)

    def __call__(self, found: Arrays) -> np.ndarray:
        """Numbers of the classes, int64."""
        return found["label"].astype(np.int64)


def read_labels(corpus: Corpus, labelling: Labelling, first: int = 0) -> np.ndarray:
    """The label of each row of a corpus from the first on, int16."""
    label_N = np.empty(len(corpus) - first, np.int16)
    for lo in range(0, len(label_N), PIECE_ROWS):
        part = slice(lo, min(lo + PIECE_ROWS, len(label_N)))
        rows = first + part.start, first + part.stop
        label_N[part] = labelling({name: corpus.read(name, *rows) for name in labelling.fields})
    return label_N
