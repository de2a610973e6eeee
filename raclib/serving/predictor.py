"""A trained model with a corpus as its memory, which may grow: rows in, answers and reasons out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from torch import Tensor

from raclib.corpus import Corpus, open_corpus
from raclib.corpus.corpus import latest_version
from raclib.corpus.gather import check_row_ids
from raclib.corpus.manifest import TIME
from raclib.serving.answers import Answers, join
from raclib.serving.memory import Memory
from raclib.serving.rows import ServedRows
from raclib.serving.service.journal import left_out
from raclib.tasks.table.config import TableSettings

ENCODE_ROWS = 32_768


class Evidence(NamedTuple):
    """What rows of the corpus are, arrays of the shape that was asked for.

    Attributes:
        label: Numbers of their classes, int64; -1 where there is no row.
        event_time: When they happened, int64, ms since 1970; 0 where there is no row.
        known_time: When their labels were known.
    """

    label: np.ndarray
    event_time: np.ndarray
    known_time: np.ndarray


class Predictor(ABC):
    """Predicts rows as they come in files, by greedy retrieval from a version of a corpus.

    For several threads: while one takes in newer rows the others answer by what was there.

    Args:
        config: Configuration with absolute paths: the corpus is found through it.
        weights: State of the model.
        version: Of the corpus; by default the newest.

    Raises:
        UserError: if the corpus is not there, or its keys have another width than those the model
            learned from.
    """

    def __init__(
        self, config: TableSettings, weights: Mapping[str, Tensor], version: int | None = None
    ) -> None:
        self.config, self.weights = config, weights
        self._lock = Lock()
        corpus = open_corpus(config.corpus_uri, version)
        self._memory = self._open(corpus, left_out(corpus))

    @abstractmethod
    def read_rows(self, corpus: Corpus, earlier: Any | None) -> ServedRows:
        """What reads rows of a version, and new ones.

        Args:
            corpus: The version.
            earlier: What reads those of the version it adds shards to, of which all is used again
                that does not depend on rows; None where there is none.
        """

    @property
    def memory(self) -> Memory:
        """The version that rows are retrieved from, and what is held of it; never changes."""
        return self._memory

    @property
    def corpus(self) -> Corpus:
        """The version that rows are retrieved from."""
        return self._memory.corpus

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of probabilities."""
        return self._memory.rows.classes

    @property
    def inputs(self) -> list[str]:
        """Columns that a row to be predicted has; others are not looked at."""
        return self._memory.rows.inputs

    @property
    def time(self) -> str:
        """Column with the time at which a row happened, one of `inputs`."""
        return self._memory.rows.time

    def usable(self, rows: pa.Table) -> np.ndarray:
        """Which rows have a time that can be read, bool `[N]`; others cannot be predicted."""
        return self._memory.rows.usable(rows)

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Probabilities of the classes, float32 `[N, C]`; as `explain`."""
        return self.explain(rows, 0).probabilities_NC

    def explain(self, rows: pa.Table, count: int) -> Answers:
        """Answers to rows, with the `count` rows of the corpus that decided each.

        Args:
            rows: The columns `inputs`; others are not looked at.
            count: Rows of the corpus, 0 or more.

        Raises:
            UserError: if a column is missing, a value does not fit, or a time cannot be read.
        """
        memory = self._memory
        starts = range(0, max(1, len(rows)), ENCODE_ROWS)
        return join([_explain(memory, rows.slice(at, ENCODE_ROWS), count) for at in starts])

    def describe(self, row_ids: np.ndarray) -> Evidence:
        """Labels and times of rows of the corpus, by id, int64 of any shape; -1 is none."""
        reader, flat = self._memory.rows.reader, row_ids.ravel()
        found = reader.read(np.maximum(flat, 0), (reader.time, TIME))
        what = (
            np.where(flat < 0, -1, found["label"]),
            *(np.where(flat < 0, 0, found[name]) for name in (reader.time, TIME)),
        )
        return Evidence(*(array.reshape(row_ids.shape) for array in what))

    def refresh(self, version: int | None = None) -> bool:
        """Takes in the rows of the newest version of the corpus; whether there was a newer one.

        Only rows that are new are read: keys, labels and times, and what the record asks of the
        last rows. A version of other keys or fields is opened anew beside the earlier one. Rows
        whose label was corrected are left out. Answers are then those of a predictor that was
        opened now.

        Args:
            version: The newest one, where it is known: none is looked for.

        Raises:
            UserError: if it cannot be read, or its keys have another width; nothing changes then.
        """
        with self._lock:
            memory = self._memory
            newest = latest_version(memory.corpus.uri) if version is None else version
            if newest <= memory.corpus.version:
                return False
            corpus = open_corpus(memory.corpus.uri, newest)
            corrected = left_out(corpus, memory.corpus.version)
            without = np.union1d(memory.left_out, corrected)
            if memory.is_extended_by(corpus):
                longer = memory.extend(corpus, self.read_rows(corpus, memory.rows))
                self._memory = longer.leave_out(without) if len(corrected) else longer
            else:
                self._memory = self._open(corpus, without)
            return True

    def leave_out(self, row_ids: np.ndarray) -> None:
        """Rows that must not be retrieved from now on, such as those whose label was corrected.

        They are no evidence for rows of any time, and not of the record. It holds for later
        versions too, in which rows keep their ids, and for the life of this object.

        Args:
            row_ids: Of the corpus, int64, in any order.

        Raises:
            UserError: if there is no such row.
        """
        with self._lock:
            ids = check_row_ids(row_ids, len(self.corpus))
            self._memory = self._memory.leave_out(np.union1d(self._memory.left_out, ids))

    def _open(self, corpus: Corpus, left_out: np.ndarray) -> Memory:
        rows = self.read_rows(corpus, None)
        return Memory.open(corpus, rows, self.config, self.weights, left_out)


def _explain(memory: Memory, rows: pa.Table, count: int) -> Answers:
    if not len(rows):
        none_NC = np.empty((0, len(memory.rows.classes)), np.float32)
        base_NC = none_NC if memory.folds else None
        none_NE = np.empty((0, count))
        rows_NE, weights_NE = none_NE.astype(np.int64), none_NE.astype(np.float32)
        return Answers(none_NC, base_NC, rows_NE, weights_NE, memory.corpus.version)
    encoded = memory.rows.encode(rows)
    said = memory.answer(encoded, count)
    log_probs_NC, base_NC, weights_NE = said.answers[0], None, said.weights_NE
    if memory.record is not None:
        base_NC, time_N = np.exp(said.answers[1]), encoded["time"]
        log_probs_NC = memory.record.mix(time_N, said.answers)
        weights_NE = weights_NE * np.exp(memory.record.log_weights(time_N)[:, :1])
    found = np.exp(log_probs_NC).astype(np.float32), base_NC, said.rows_NE
    return Answers(*found, weights_NE.astype(np.float32), memory.corpus.version)
