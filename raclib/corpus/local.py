"""Rows that a client reads from files of its own machine, without a call."""

import socket
import sys
from dataclasses import dataclass

from raclib.corpus.column import Column
from raclib.corpus.corpus import Corpus
from raclib.corpus.gather import Array, Positions
from raclib.corpus.reader import ShardReader
from raclib.errors import UserError


@dataclass(frozen=True)
class LocalPart:
    """Rows of a fetch that lie on this machine.

    Attributes:
        shard: Number of their shard.
        columns: The shard's fields that are wanted.
        where: Positions of the rows in the fetch.
        rows: The rows, counted from the shard's first.
    """

    shard: int
    columns: dict[str, Column]
    where: Positions
    rows: Array


class LocalFiles:
    """Files of one version of a corpus on this machine, as far as they are whole.

    Args:
        corpus: The version.
        reader: Finds its files.
    """

    def __init__(self, corpus: Corpus, reader: ShardReader) -> None:
        self._corpus, self._reader = corpus, reader
        self._damaged: set[tuple[int, str]] = set()

    def find(self, shard: int, fields: tuple[str, ...]) -> dict[str, Column] | None:
        """Fields of the shard of a number; None unless all are here and none was found damaged."""
        found: dict[str, Column] = {}
        for name in fields:
            column = None if (shard, name) in self._damaged else self._find(shard, name)
            if column is None:
                return None
            found[name] = column
        return found

    def read(self, part: LocalPart, out: dict[str, Array]) -> bool:
        """Copies rows to where they are wanted; returns whether all were what was written."""
        for name, column in part.columns.items():
            try:
                column.gather(part.rows, out[name], part.where)
            except UserError as error:
                self._leave(part.shard, name, error)
                return False
        return True

    def _find(self, shard: int, name: str) -> Column | None:
        try:
            return self._reader.find(self._corpus, shard, name)
        except UserError as error:
            self._leave(shard, name, error)
            return None

    def _leave(self, shard: int, name: str, error: UserError) -> None:
        self._damaged.add((shard, name))
        print(f"{socket.gethostname()}: {error}; servers are asked instead", file=sys.stderr)
