"""Fetches rows by id from the servers, or from this machine's own files."""

import time
from typing import Any

import numpy as np

from raclib.corpus.buffers import allocate
from raclib.corpus.calls import Call, Router, collect
from raclib.corpus.corpus import Corpus
from raclib.corpus.gather import Array, Positions, check_row_ids, gather, join, split, unique
from raclib.corpus.local import LocalFiles, LocalPart
from raclib.corpus.mounts import Mount
from raclib.corpus.reader import ShardReader
from raclib.corpus.routing import Routing
from raclib.corpus.row_cache import RowCache


class CorpusClient:
    """Fetches rows of one version of a corpus. Small and picklable; not for several threads.

    Args:
        corpus: The version.
        routing: Its servers.
        mount: How files of this machine are found.
        local: Read shards that are on this machine without a call.
        cache_bytes: Memory for rows that servers sent, where they may be asked for again.
    """

    def __init__(
        self, corpus: Corpus, routing: Routing, mount: Mount, local: bool, cache_bytes: int
    ) -> None:
        self.corpus, self.routing, self.mount = corpus, routing, mount
        self.local, self.cache_bytes = local, cache_bytes
        self._files = LocalFiles(corpus, ShardReader(mount)) if local else None
        self._router = Router(routing)
        self._cache = RowCache(corpus.fields, cache_bytes) if cache_bytes else None
        self._starts = corpus.starts
        self._stats = dict.fromkeys(("rows", "local", "cached", "unique", "calls", "bytes"), 0)
        self._seconds = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        args = (self.corpus, self.routing, self.mount, self.local, self.cache_bytes)
        return CorpusClient, args

    def fetch(
        self, row_ids: Array, fields: tuple[str, ...], timeout: float = 60.0
    ) -> dict[str, Array]:
        """Rows by id, in the order asked; ids may repeat.

        Args:
            row_ids: Integers `[N]` in `[0, len(corpus))`.
            fields: Names of fields.
            timeout: Seconds after which to give up.

        Returns:
            For each field a writable array `[N, *shape]` of the field's type; page-locked where
            this process uses a GPU.

        Raises:
            UserError: if an id or field is not in the corpus, or a row cannot be read in time; the
                message names shards, server and cause.
        """
        return self.fetch_async(row_ids, fields).result(timeout)

    def fetch_async(self, row_ids: Array, fields: tuple[str, ...]) -> "PendingFetch":
        """Sends the calls of a fetch and returns at once; see `fetch`."""
        ids, fields = check_row_ids(row_ids, len(self.corpus)), tuple(fields)
        out = {name: allocate(len(ids), self.corpus.field(name)) for name in fields}
        self._stats["rows"] += len(ids)
        local_parts: list[LocalPart] = []
        remote: dict[int, list[tuple[int, Positions]]] = {}
        for shard, where, rows in split(ids, self._starts):
            columns = self._files.find(shard, fields) if self._files else None
            if columns is None:
                remote.setdefault(self.routing.chains[shard], []).append((shard, where))
            else:
                local_parts.append(LocalPart(shard, columns, where, rows))
        calls = []
        for parts in remote.values():
            where = self._take_cached(ids, join([where for _, where in parts], len(ids)), out)
            if len(ids[where]):
                calls.append(self._send(ids, where, [shard for shard, _ in parts], fields))
        return PendingFetch(self, ids, out, local_parts, calls)

    def stats(self) -> dict[str, float]:
        """Totals since this client was made.

        `rows` asked for; of those `local`, read from files of this machine, and `cached`; `unique`
        rows asked of servers, in `calls`, that sent `bytes`; `seconds` waited in `result`.
        """
        return {**self._stats, "seconds": self._seconds}

    def _take_cached(self, ids: Array, where: Positions, out: dict[str, Array]) -> Positions:
        """Copies what is in the row cache; returns the positions of the rest."""
        if self._cache is None:
            return where
        held = self._cache.find(ids[where], tuple(out))
        if not held.any():
            return where
        positions = np.arange(len(ids))[where]
        found = positions[held]
        self._stats["cached"] += len(found)
        for name, array in out.items():
            self._cache.read(ids[found], name, array, found)
        return positions[~held]

    def _read(self, part: LocalPart, ids: Array, out: dict[str, Array]) -> Call | None:
        """Reads rows of this machine; where they are damaged, the call that gets them instead."""
        assert self._files
        if not self._files.read(part, out):
            return self._send(ids, part.where, [part.shard], tuple(out))
        self._stats["local"] += len(part.rows)
        return None

    def _send(
        self, ids: Array, where: Positions, shards: list[int], fields: tuple[str, ...]
    ) -> Call:
        """Asks the servers of shards that have the same ones."""
        different, rows = unique(ids[where])
        args = (self.corpus.version, different, fields)
        names = [self.corpus.shards[shard].id for shard in shards]
        call = Call(self._router, self.routing.chains[shards[0]], names, args, where, rows)
        call.send()
        self._stats["calls"] += 1
        self._stats["unique"] += len(different)
        return call

    def _receive(self, call: Call, answer: dict[str, Array], out: dict[str, Array]) -> None:
        for name, source in answer.items():
            gather(source, call.rows, out[name], call.where)
            self._stats["bytes"] += source.nbytes
        if self._cache is not None:
            self._cache.store(call.args[1], answer)


class PendingFetch:
    """A fetch whose calls are under way; `result` waits for them."""

    def __init__(
        self,
        client: CorpusClient,
        ids: Array,
        out: dict[str, Array],
        local_parts: list[LocalPart],
        calls: list[Call],
    ) -> None:
        self._client, self._ids, self._out = client, ids, out
        self._local_parts, self._calls = local_parts, calls

    def result(self, timeout: float = 60.0) -> dict[str, Array]:
        """The rows; see `CorpusClient.fetch`. Calling it again returns the same arrays."""
        began = time.monotonic()
        read = [self._client._read(part, self._ids, self._out) for part in self._local_parts]
        self._calls += [call for call in read if call]
        left = timeout - (time.monotonic() - began)
        for call, answer in collect(self._calls, left):
            self._client._receive(call, answer, self._out)
        self._local_parts, self._calls = [], []
        self._client._seconds += time.monotonic() - began
        return self._out
