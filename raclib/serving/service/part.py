"""Rows that a request brings to the next version of a corpus."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from raclib.errors import UserError
from raclib.ingest.append import Appender
from raclib.serving.service.asked import NewLabels, NewRows, OtherRowError, UnknownIdError
from raclib.serving.service.index import Index, Known
from raclib.serving.service.journal import read_rows
from raclib.serving.service.label_times import AT_ONCE

ANSWERS = pa.list_(pa.float32())


@dataclass(frozen=True)
class Part:
    """What of a request is new.

    Attributes:
        asked: All ids of the request.
        there: Rows of the corpus that it would only repeat, by id; the others once they are there.
        ids: Those that are new, as N rows.
        digests: Of each row as it was given.
        rows: All columns of the table.
        known: When labels were known, ms since 1970, int64 `[N]`.
        replaces: Rows of the corpus whose label is corrected; null for others.
        answers: What was answered to rows, flat; null for others, and for those corrected.
    """

    asked: list[str]
    there: dict[str, int]
    ids: list[str]
    digests: list[str]
    rows: pa.Table
    known: np.ndarray
    replaces: pa.Array
    answers: pa.Array

    @classmethod
    def repeated(cls, asked: list[str], there: dict[str, int]) -> Self:
        """That of a request that brings nothing new."""
        none, nothing = np.empty(0, np.int64), pa.table({})
        return cls(asked, there, [], [], nothing, none, pa.array(none), pa.nulls(0, ANSWERS))

    def journal(self) -> pa.Table:
        """The rows as the journal keeps them, but for their places in the corpus and labels."""
        named = {
            "id": pa.array(self.ids, pa.string()),
            "digest": pa.array(self.digests, pa.string()),
            "row": self.rows.to_struct_array().combine_chunks(),
            "replaces": self.replaces,
            "answers": self.answers,
        }
        return pa.table(named)


def from_rows(asked: NewRows, index: Index, appender: Appender) -> Part:
    """The part of labelled rows.

    Raises:
        UserError: for a row that cannot be read, or whose id another one has.
    """
    found = index.find(asked.ids)
    for name, digest in zip(asked.ids, asked.digests, strict=True):
        if name in found and (found[name].digest != digest or found[name].row is None):
            raise OtherRowError(
                f"id {name!r}: a row is known under it; correct its label with /v1/labels, or give "
                "another id"
            )
    there = {name: known.row for name, known in found.items() if known.row is not None}
    new = [place for place, name in enumerate(asked.ids) if name not in there]
    rows, times = appender.read(asked.rows.take(pa.array(new, pa.int64())))
    return Part(
        asked.ids,
        there,
        [asked.ids[place] for place in new],
        [asked.digests[place] for place in new],
        rows,
        times.known,
        pa.nulls(len(new), pa.int64()),
        pa.nulls(len(new), ANSWERS),
    )


def from_labels(asked: NewLabels, index: Index, appender: Appender, uri: str) -> Part:
    """The part of labels of rows that are known by their id.

    Raises:
        UserError: for an id under which nothing is known, a label that is no class, or a time
            before the row's own.
    """
    found = index.find(asked.ids)
    for name in asked.ids:
        if name not in found:
            raise UnknownIdError(f"id {name!r}: nothing is known under it; remember the row first")
    numbers = appender.reader.classes.encode(asked.labels)
    said = [found[name] for name in asked.ids]
    new = [place for place, known in enumerate(said) if known.label != numbers[place]]
    there = {name: known.row for name, known in found.items() if known.row is not None}
    if not new:
        return Part.repeated(asked.ids, there)
    mine = [said[place] for place in new]
    rows, answers = _contents(mine, appender.reader.inputs, uri)
    ids, known_ms = [asked.ids[place] for place in new], asked.known[new]
    rows, event = _labelled(rows, asked, new, appender)
    known_ms = np.where(known_ms == AT_ONCE, event, known_ms)
    if (known_ms < event).any():
        raise UserError(
            f"id {ids[int(np.argmax(known_ms < event))]!r}: label_time is before the row's own "
            "time; give the time at which the label was known"
        )
    return Part(
        asked.ids,
        {name: row for name, row in there.items() if name not in ids},
        ids,
        [known.digest for known in mine],
        rows,
        known_ms,
        pa.array([known.row for known in mine], pa.int64()),
        answers,
    )


def _labelled(
    rows: pa.Table, asked: NewLabels, new: Sequence[int], appender: Appender
) -> tuple[pa.Table, np.ndarray]:
    """Rows with their labels, and when they happened."""
    roles, places = appender.reader.roles, pa.array(new, pa.int64())
    columns = {name: rows[name] for name in rows.column_names}
    columns[roles.label] = asked.labels.take(places)
    if roles.label_time is not None and asked.label_times is not None:
        columns[roles.label_time] = asked.label_times.take(places)
    rows, times = appender.read(pa.table(columns))
    return rows, times.event


def _contents(known: Sequence[Known], inputs: list[str], uri: str) -> tuple[pa.Table, pa.Array]:
    """Rows as they were given, but their labels, and what was answered to those without one."""
    files: Mapping[str, pa.Table] = {
        path: read_rows(uri, path) for path in {one.file for one in known}
    }
    parts = [files[one.file].slice(one.place, 1) for one in known]
    rows = [part["row"].combine_chunks() for part in parts]
    columns = {name: pa.chunked_array([row.field(name) for row in rows]) for name in inputs}
    answers = [
        part["answers"].combine_chunks() if one.row is None else pa.nulls(1, ANSWERS)
        for part, one in zip(parts, known, strict=True)
    ]
    return pa.table(columns), pa.concat_arrays(answers)
