"""A trained model with a corpus as its memory: encoded rows in, probabilities out."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from raclib.arrays import Arrays
from raclib.batch import to_tensors
from raclib.corpus import Corpus
from raclib.corpus.mounts import choose_mount
from raclib.corpus.reader import ShardReader
from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.keys import KeySet
from raclib.tasks.table.config import TableSettings
from raclib.tasks.table.history import TableHistory
from raclib.tasks.table.reader import Labelling, TableReader
from raclib.training.predict import classify_greedy

CPU = torch.device("cpu")


class Predictor:
    """Predicts by greedy retrieval from all rows of a version of a corpus.

    Args:
        model: A model of fresh weights.
        weights: The trained ones.
        corpus: What may be retrieved, whose label was known before a row happened.
        inputs: Fields that the model reads.
        labelling: Makes labels of retrieved rows.
        config: Window, draw, and how many rows are predicted at a time.
    """

    def __init__(
        self,
        model: RetrievalClassifier,
        weights: Mapping[str, Tensor],
        corpus: Corpus,
        inputs: tuple[str, ...],
        labelling: Labelling,
        config: TableSettings,
    ) -> None:
        self.config, self.model = config, model.eval()
        self.model.load_state_dict(weights)
        shards = ShardReader(choose_mount(corpus, "auto"))
        reader = TableReader(partial(shards.take, corpus), inputs, labelling)
        self.history = None
        if model.queries is not None:
            keys = KeySet.load(corpus, dtype=getattr(torch, config.retrieval.key_dtype))
            with_inputs = config.retrieval.retrieve == "row"
            self.history = TableHistory(keys, reader, config.split.window, with_inputs)

    @torch.no_grad()
    def __call__(self, rows: Arrays) -> np.ndarray:
        """Probabilities of the classes, float32 `[N, C]`.

        Args:
            rows: The inputs of N rows, `key` and `time`, when they happened in ms since 1970.
        """
        num_rows, size = len(rows["time"]), self.config.evaluate.batch_size
        found = [
            self._predict({name: array[start : start + size] for name, array in rows.items()})
            for start in range(0, num_rows, size)
        ]
        return np.concatenate(found)

    def _predict(self, rows: Arrays) -> np.ndarray:
        batch = to_tensors(rows, CPU)
        logits_BC = classify_greedy(self.model, self.history, batch, self.config.retrieval)
        return logits_BC.softmax(dim=1).numpy()


def retrieves(weights: Mapping[str, Tensor]) -> bool:
    """Whether a model of these weights retrieves rows."""
    return any(name.startswith("queries.") for name in weights)
