"""Labelled rows join the corpus of a table; nothing is fitted."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from raclib.arrays import Arrays
from raclib.corpus import Corpus, CorpusWriter, open_corpus
from raclib.corpus.manifest import TIME
from raclib.errors import UserError
from raclib.ingest.base_scores import BASE, load_base
from raclib.ingest.keys import TRANSFORM
from raclib.ingest.labels import class_names
from raclib.ingest.rows import ROWS, RowReader, refuse
from raclib.ingest.timeline import Roles, Times, why_skipped
from raclib.models.base import FittedBase

APPEND_ROWS = 8192


def append_rows(corpus: Corpus, rows: pa.Table) -> Corpus:
    """Publishes the next version of the corpus of a table: its rows, and these.

    They are encoded, keyed and scored by what was fitted when the corpus was made, and sorted by
    the time at which their label was known.

    Args:
        corpus: The newest version.
        rows: All columns that the corpus was made of; every row with a label.

    Returns:
        The version that was published, or the same corpus if there is no row.

    Raises:
        UserError: if a column is missing, a value does not fit, a row has no label, a new class or
            no time, its label was known before the newest of the corpus, or another writer
            published meanwhile.
    """
    appender = Appender.of(corpus)
    rows, times = appender.read(rows)
    if not len(rows):
        return corpus
    _check_later(times.known, corpus, appender.reader.roles)
    order = np.argsort(times.known, kind="stable")
    # Not to another version, with other keys, that was published meanwhile.
    same = {
        name: corpus.provenance[name] for name in (TRANSFORM, BASE) if name in corpus.provenance
    }
    with CorpusWriter(corpus.uri, corpus.fields, mode="append", provenance=same) as writer:
        for some in np.split(order, range(APPEND_ROWS, len(order), APPEND_ROWS)):
            writer.write(appender.encode(rows.take(pa.array(some)), times.known[some]))
    return open_corpus(corpus.uri)


@dataclass(frozen=True)
class Appender:
    """Makes labelled rows what the rows of a corpus are, by what was fitted when it was made.

    Attributes:
        reader: Reads rows.
        base: The base classifier whose scores the corpus holds; None where it holds none.
    """

    reader: RowReader
    base: FittedBase | None

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """That of a corpus; raises UserError if part of it is missing or damaged."""
        return cls(RowReader.of(corpus), load_base(corpus) if BASE in corpus.fields else None)

    def read(self, rows: pa.Table) -> tuple[pa.Table, Times]:
        """Rows in the types of the table, and their times.

        Raises:
            UserError: if a column is missing, a value does not fit, or a row has no label, a new
                class or no time.
        """
        rows = self.reader.conform(rows, self.reader.schema.names)
        times = Times.read(rows, self.reader.roles)
        refuse(why_skipped(times, class_names(rows[self.reader.roles.label])))
        self._classes(rows)
        return rows, times

    def encode(self, rows: pa.Table, known: np.ndarray) -> Arrays:
        """All fields of rows that `read` gave, arrays `[N, ...]`.

        Args:
            rows: N of them.
            known: When their labels were known, ms since 1970, int64.
        """
        found = self.reader.encode(rows)
        if self.base is not None:
            found[BASE] = self.reader.score(found, self.base)
        return {**found, "label": self._classes(rows), TIME: known}

    def _classes(self, rows: pa.Table) -> np.ndarray:
        return self.reader.classes.encode(rows[self.reader.roles.label])


def _check_later(known: np.ndarray, corpus: Corpus, roles: Roles) -> None:
    """Raises UserError for the first row whose label was known before the newest of the corpus."""
    newest = corpus.time_range[1] if corpus.time_range else known.min()
    early = np.flatnonzero(known < newest)
    if len(early):
        times = int(known[early[0]]), int(newest)
        what = [np.datetime64(ms, "ms") if roles.has_dates else ms for ms in times]
        raise UserError(
            f"{ROWS}: row {early[0]}: its label was known at {what[0]}, the newest label of the "
            f"corpus at {what[1]}; append rows in the order in which labels become known, or make "
            "the corpus anew with all of them"
        )
