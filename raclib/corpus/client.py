"""Fetches rows by id from the servers, or from this machine's own files."""

import time
from typing import Any

import numpy as np

from raclib.corpus.calls import Call, collect
from raclib.corpus.column import Array, Column
from raclib.corpus.corpus import Corpus
from raclib.corpus.gather import Positions, check_row_ids, gather, split
from raclib.corpus.mounts import Mount
from raclib.corpus.routing import Routing
from raclib.corpus.server import ShardReader

LocalPart = tuple[dict[str, Column], Positions, Array]


class CorpusClient:
    """Fetches rows of one version of a corpus. Small and picklable; not for several threads.

    Args:
        corpus: The version.
        routing: Its servers.
        mount: How files of this machine are found.
        local: Read shards that are on this machine without a call.
    """

    def __init__(self, corpus: Corpus, routing: Routing, mount: Mount, local: bool = True) -> None:
        self.corpus, self.routing, self.mount, self.local = corpus, routing, mount, local
        self._reader = ShardReader(mount)
        self._starts = corpus.starts
        self._stats = {
            "rows_asked": 0,
            "rows_called": 0,
            "rows_local": 0,
            "calls": 0,
            "bytes": 0,
            "seconds_waited": 0.0,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return CorpusClient, (self.corpus, self.routing, self.mount, self.local)

    def fetch(
        self, row_ids: Array, fields: tuple[str, ...], timeout: float = 60.0
    ) -> dict[str, Array]:
        """Rows by id, in the order asked; ids may repeat.

        Args:
            row_ids: Integers `[N]` in `[0, len(corpus))`.
            fields: Names of fields.
            timeout: Seconds after which to give up.

        Returns:
            For each field a writable array `[N, *shape]` of the field's type.

        Raises:
            UserError: if an id or field is not in the corpus, or a row cannot be read in time; the
                message names shards, server and cause.
        """
        return self.fetch_async(row_ids, fields).result(timeout)

    def fetch_async(self, row_ids: Array, fields: tuple[str, ...]) -> "PendingFetch":
        """Sends the calls of a fetch and returns at once; see `fetch`."""
        ids = check_row_ids(row_ids, len(self.corpus))
        for name in fields:
            self.corpus.field(name)
        self._stats["rows_asked"] += len(ids)
        locals_: list[LocalPart] = []
        remote: dict[int, list[tuple[int, Positions]]] = {}
        for shard, where, rows in split(ids, self._starts):
            columns = self._local_columns(shard, fields)
            if columns is not None:
                locals_.append((columns, where, rows))
                self._stats["rows_local"] += len(rows)
            else:
                remote.setdefault(self.routing.chains[shard], []).append((shard, where))
        calls = [self._send(ids, fields, chain, parts) for chain, parts in remote.items()]
        return PendingFetch(self, len(ids), fields, locals_, calls)

    def stats(self) -> dict[str, float]:
        """Totals since this client was made.

        `rows_asked`, of those `rows_local` read from this machine's files, `rows_called` different
        rows asked of servers in `calls`, `bytes` received, and `seconds_waited` in `result`.
        """
        return dict(self._stats)

    def _local_columns(self, shard: int, fields: tuple[str, ...]) -> dict[str, Column] | None:
        if not self.local:
            return None
        found = {name: self._reader.find(self.corpus, shard, name) for name in fields}
        columns = {name: column for name, column in found.items() if column}
        return columns if len(columns) == len(found) else None

    def _send(
        self, ids: Array, fields: tuple[str, ...], chain: int, parts: list[tuple[int, Positions]]
    ) -> Call:
        where = np.concatenate([np.arange(len(ids))[positions] for _, positions in parts])
        unique, rows = np.unique(ids[where], return_inverse=True)
        shards = [self.corpus.shards[shard].id for shard, _ in parts]
        call = Call(self.routing, chain, shards, (self.corpus.version, unique, fields), where, rows)
        call.send()
        self._stats["calls"] += 1
        self._stats["rows_called"] += len(unique)
        return call


class PendingFetch:
    """A fetch whose calls are under way; `result` waits for them."""

    def __init__(
        self,
        client: CorpusClient,
        num_rows: int,
        fields: tuple[str, ...],
        local_parts: list[LocalPart],
        calls: list[Call],
    ) -> None:
        self._client, self._local_parts, self._calls = client, local_parts, calls
        types = {name: client.corpus.field(name) for name in fields}
        self._out = {
            name: np.empty((num_rows, *field.shape), field.dtype) for name, field in types.items()
        }
        self._done = False

    def result(self, timeout: float = 60.0) -> dict[str, Array]:
        """The rows; see `CorpusClient.fetch`. Calling it again returns the same arrays."""
        if self._done:
            return self._out
        began = time.monotonic()
        for columns, where, rows in self._local_parts:
            for name, column in columns.items():
                column.verify(rows)
                gather(column.rows, rows, self._out[name], where)
        for call, answer in collect(self._calls, began + timeout):
            for name, source in answer.items():
                gather(source, call.rows, self._out[name], call.where)
                self._client._stats["bytes"] += source.nbytes
        self._client._stats["seconds_waited"] += time.monotonic() - began
        self._done = True
        self._local_parts, self._calls = [], []
        return self._out
