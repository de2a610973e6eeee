"""Labelled rows join the corpus of a table; nothing is fitted."""

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
    reader = RowReader.of(corpus)
    rows = reader.conform(rows, reader.schema.names)
    times = Times.read(rows, reader.roles)
    refuse(why_skipped(times, class_names(rows[reader.roles.label])))
    label = reader.classes.encode(rows[reader.roles.label])
    if not len(rows):
        return corpus
    _check_later(times.known, corpus, reader.roles)
    order = np.argsort(times.known, kind="stable")
    base = load_base(corpus) if BASE in corpus.fields else None
    # Not to another version, with other keys, that was published meanwhile.
    same = {
        name: corpus.provenance[name] for name in (TRANSFORM, BASE) if name in corpus.provenance
    }
    with CorpusWriter(corpus.uri, corpus.fields, mode="append", provenance=same) as writer:
        for some in np.split(order, range(APPEND_ROWS, len(order), APPEND_ROWS)):
            own = {"label": label[some], TIME: times.known[some]}
            writer.write({**_encode(reader, base, rows.take(pa.array(some))), **own})
    return open_corpus(corpus.uri)


def _encode(reader: RowReader, base: FittedBase | None, rows: pa.Table) -> Arrays:
    """Features, key, event time and base scores of rows."""
    found = reader.encode(rows)
    return found if base is None else {**found, BASE: reader.score(found, base)}


def _check_later(known: np.ndarray, corpus: Corpus, roles: Roles) -> None:
    """Raises UserError for the first row whose label was known before the newest of the corpus."""
    newest = corpus.time_range[1] if corpus.time_range else known.min()
    early = np.flatnonzero(known < newest)
    if len(early):
        has_dates = roles.time_unit != "row"
        times = int(known[early[0]]), int(newest)
        what = [np.datetime64(ms, "ms") if has_dates else ms for ms in times]
        raise UserError(
            f"{ROWS}: row {early[0]}: its label was known at {what[0]}, the newest label of the "
            f"corpus at {what[1]}; append rows in the order in which labels become known, or make "
            "the corpus anew with all of them"
        )
