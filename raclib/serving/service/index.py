"""Which ids are known, and where their rows lie: made anew from the journal at each start."""

import json
import sqlite3
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import pyarrow as pa

_TABLE = """
create table known (
    id text primary key, digest text, row integer, label integer, file text, place integer
) without rowid
"""


class Known(NamedTuple):
    """What is known of an id.

    Attributes:
        digest: Of the row as it was given.
        row: Its number in the corpus; None while it has no label.
        label: The number of its class; likewise.
        file: Where it lies in the journal, under the corpus.
        place: Its place in there.
    """

    digest: str
    row: int | None
    label: int | None
    file: str
    place: int


class Index:
    """Ids in a file of SQLite that belongs to this process and goes with it: memory stays small.

    For several threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._db = sqlite3.connect("", check_same_thread=False)  # a temporary file
        self._db.execute("pragma synchronous = off")
        self._db.execute("pragma journal_mode = off")
        self._db.execute(_TABLE)

    def find(self, ids: Sequence[str]) -> dict[str, Known]:
        """Those of the ids that are known."""
        with self._lock:
            found = self._db.execute(
                "select id, digest, row, label, file, place from known "
                "where id in (select value from json_each(?))",
                [json.dumps(list(ids))],
            ).fetchall()
        return {name: Known(*rest) for name, *rest in found}

    def put(self, rows: pa.Table, file: str) -> None:
        """Rows of a file, in its order; what was known of their ids is replaced.

        Args:
            rows: Columns `id` and `digest`, and, where they have labels, `corpus_row` and `label`.
            file: Where they lie, under the corpus.
        """
        none = [None] * len(rows)
        columns = [
            rows[name].to_pylist() if name in rows.column_names else none
            for name in ("id", "digest", "corpus_row", "label")
        ]
        places = range(len(rows))
        with self._lock:
            self._db.executemany(
                "insert or replace into known values (?, ?, ?, ?, ?, ?)",
                zip(*columns, [file] * len(rows), places, strict=True),
            )

    def move(self, ids: Sequence[str], old: str, new: str, first: int) -> None:
        """Rows of a file that lie in another one now, from a place on; those elsewhere stay."""
        with self._lock:
            self._db.execute(
                "update known set file = ?, place = place + ? "
                "where file = ? and id in (select value from json_each(?))",
                [new, first, old, json.dumps(list(ids))],
            )

    def close(self) -> None:
        """Removes it."""
        self._db.close()
