"""A model trained on a table, with the table's corpus as its memory."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Self

import numpy as np
import pyarrow as pa

from raclib.arrays import Arrays
from raclib.corpus import Corpus
from raclib.corpus.mounts import choose_mount
from raclib.corpus.reader import ShardReader
from raclib.ingest.base_scores import FeatureReader
from raclib.ingest.key_shards import EVENT_TIME
from raclib.ingest.rows import RowReader
from raclib.ingest.timeline import Times
from raclib.models.base import FittedBase
from raclib.models.classifier import RetrievalClassifier
from raclib.serving.predictor import Predictor
from raclib.tasks.table.config import TableConfig
from raclib.tasks.table.history import fresh_statistics
from raclib.tasks.table.labels import StoredLabel
from raclib.tasks.table.reader import TableReader
from raclib.tasks.table.recipe import About
from raclib.tasks.table.task import INPUTS, build_table_model, table_shape


@dataclass(frozen=True)
class TableRows:
    """Reads rows of a table: see `rows.ServedRows`.

    Attributes:
        corpus: The version.
        config: Of the run.
        columns: Reads new rows.
        shards: Reads rows of the corpus.
    """

    corpus: Corpus
    config: TableConfig
    columns: RowReader
    shards: ShardReader

    @classmethod
    def of(cls, corpus: Corpus, config: TableConfig) -> Self:
        """Those of a version; raises UserError if part of it is missing or damaged."""
        return cls(corpus, config, RowReader.of(corpus), ShardReader(choose_mount(corpus, "auto")))

    @property
    def inputs(self) -> list[str]:
        """Columns that a row to be predicted has: its time, and those that are learned from."""
        return self.columns.inputs

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.columns.classes.names

    @property
    def time(self) -> str:
        """Column with the time at which a row happened."""
        return self.columns.roles.time

    @property
    def has_dates(self) -> bool:
        """Whether times are moments; else they order the rows."""
        return self.columns.roles.has_dates

    @property
    def cutoff(self) -> int:
        """That of the corpus, ms since 1970."""
        return About.of(self.corpus).cutoff

    @cached_property
    def reader(self) -> TableReader:
        """Reads rows of the corpus, without servers."""
        inputs = tuple(name for name in INPUTS if name in self.corpus.fields)
        fetch = partial(self.shards.take, self.corpus)
        return TableReader(fetch, inputs, StoredLabel(), EVENT_TIME)

    @cached_property
    def features(self) -> FeatureReader:
        """Reads what a base classifier sees of rows of the corpus."""
        return FeatureReader(self.corpus, self.columns.features.num_codes)

    def usable(self, rows: pa.Table) -> np.ndarray:
        """Which rows have a time that can be read, bool `[N]`."""
        return Times.read(rows, self.columns.event_roles).reason == 0

    def encode(self, rows: pa.Table) -> Arrays:
        """What a model reads of rows; see `RowReader.encode`."""
        found = self.columns.encode(rows)
        return {**found, "time": found[EVENT_TIME]}

    def log_probs(self, rows: Arrays, base: FittedBase) -> np.ndarray:
        """A base classifier's answers to encoded rows, float32 `[N, C]`."""
        return self.columns.log_probs(rows, base)

    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights; mean and deviation come with the trained ones."""
        fields = self.corpus.fields
        shapes = {name: field.shape for name, field in fields.items() if name == "embedding"}
        statistics = fresh_statistics(shapes)
        shape = table_shape(self.corpus, self.columns.features.num_codes, statistics)
        dims = self.columns.keys.dim, len(self.classes)
        return build_table_model(self.config, shape, *dims, with_context)


class TablePredictor(Predictor):
    """Predicts rows of a table, as they come in its files, by a version of its corpus.

    See `Predictor`; its configuration is a `TableConfig`.
    """

    config: TableConfig

    @property
    def reader(self) -> RowReader:
        """Reads rows; knows the columns that it needs and the classes."""
        rows = self._memory.rows
        assert isinstance(rows, TableRows)
        return rows.columns

    def read_rows(self, corpus: Corpus, earlier: TableRows | None) -> TableRows:
        """What reads rows of a version, and new ones."""
        if earlier is None:
            return TableRows.of(corpus, self.config)
        if len(corpus.shards) < len(earlier.corpus.shards):
            earlier.shards.keep(corpus)
        return TableRows(corpus, self.config, earlier.columns, earlier.shards)
