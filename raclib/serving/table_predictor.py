"""A model trained on a table, with the table's corpus as its memory."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from raclib.arrays import Arrays
from raclib.corpus import Corpus, open_corpus
from raclib.corpus.reader import take_from
from raclib.ingest.base_scores import FeatureReader, load_folds
from raclib.ingest.key_shards import EVENT_TIME
from raclib.ingest.rows import RowReader
from raclib.serving.predictor import Predictor, recent_rows, retrieves
from raclib.tasks.table.config import TableConfig
from raclib.tasks.table.labels import StoredLabel
from raclib.tasks.table.reader import BaseAnswers, TableReader
from raclib.tasks.table.recipe import ENCODE_ROWS, About
from raclib.tasks.table.task import INPUTS, build_table_model, table_shape


class TablePredictor:
    """Predicts rows of a table, as they come in its files, by the newest version of its corpus.

    Args:
        config: Configuration with absolute paths: the corpus is found through it.
        weights: State of the model.

    Attributes:
        corpus: The version that rows are retrieved from.
        reader: Reads rows; knows the columns that it needs and the classes.

    Raises:
        UserError: if the corpus is not there.
    """

    def __init__(self, config: TableConfig, weights: Mapping[str, Tensor]) -> None:
        self.corpus = corpus = open_corpus(config.corpus_uri)
        self.reader = RowReader.of(corpus)
        # Mean and deviation come with the weights.
        sizes = {name: field.shape for name, field in corpus.fields.items() if name == "embedding"}
        statistics = {name: (torch.zeros(size), torch.ones(size)) for name, size in sizes.items()}
        num_codes, num_classes = self.reader.features.num_codes, len(self.reader.classes.names)
        shape = table_shape(corpus, num_codes, statistics)
        dims = self.reader.keys.dim, num_classes
        model = build_table_model(config, shape, *dims, retrieves(weights))
        rows = _table_reader(corpus)
        self._base = None
        if config.reader == "copy":
            folds, recent = load_folds(corpus), recent_rows(corpus)
            answers = folds.log_probs(FeatureReader(corpus, num_codes), recent)
            rows = replace(rows, base=BaseAnswers(recent, answers))
            self._base = folds.base
        what = rows, config, About.of(corpus).cutoff, self._score if self._base else None
        self._predict = Predictor(model, weights, corpus, *what)

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Probabilities of the classes, float32 `[N, C]`.

        Args:
            rows: The columns `reader.inputs`; others are not looked at.

        Raises:
            UserError: if a column is missing, a value does not fit, or a time cannot be read.
        """
        parts = [
            self._predict_piece(rows.slice(start, ENCODE_ROWS))
            for start in range(0, len(rows), ENCODE_ROWS)
        ]
        none = np.empty((0, len(self.reader.classes.names)), np.float32)
        return np.concatenate([none, *parts])

    def _predict_piece(self, rows: pa.Table) -> np.ndarray:
        found = self.reader.encode(rows)
        return self._predict({**found, "time": found[EVENT_TIME]})

    def _score(self, rows: Arrays) -> np.ndarray:
        assert self._base is not None
        return self.reader.log_probs(rows, self._base)


def _table_reader(corpus: Corpus) -> TableReader:
    """Reads rows of the corpus of a table, without servers."""
    inputs = tuple(name for name in INPUTS if name in corpus.fields)
    return TableReader(take_from(corpus), inputs, StoredLabel(), EVENT_TIME)
