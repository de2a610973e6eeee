"""Rows of mounted shards by id, in this process: what a server does for its clients."""

import resource
import threading
from collections.abc import Callable
from functools import partial

import numpy as np

from raclib.corpus import files
from raclib.corpus.column import Column
from raclib.corpus.corpus import Corpus
from raclib.corpus.faults import DamagedError, FullError
from raclib.corpus.gather import Array, Positions, split
from raclib.corpus.hydrate import drop_copy, find_copy, hydrate
from raclib.corpus.manifest import ShardInfo
from raclib.corpus.mounts import Mount, choose_mount
from raclib.corpus.ranges import BlockCache, RangeColumn
from raclib.corpus.remote import RangeReader

# Under the range mount narrower fields are copied whole: they are small and every step needs them.
NARROW_BYTES = 32
# Each takes a descriptor and a mapping, of which a process may have 65,530 by default.
MAX_COLUMNS = 4096


def take_from(corpus: Corpus) -> Callable[[np.ndarray, tuple[str, ...]], dict[str, Array]]:
    """`ShardReader.take` of one version of a corpus, by the mount that suits it."""
    return partial(ShardReader(choose_mount(corpus, "auto")).take, corpus)


class ShardReader:
    """Reads rows of a corpus by id; files are mounted when first needed. For several threads.

    Of more than `MAX_COLUMNS` files those mounted first are let go, and mounted again when needed.

    Args:
        mount: How to get at files.
    """

    def __init__(self, mount: Mount) -> None:
        self.mount = mount
        self._ranges = RangeReader()
        self._cache: BlockCache | None = None
        self._lock = threading.Lock()
        # A server holds several versions of a corpus, and a field may have a file for each.
        self._columns: dict[str, Column] = {}
        # Each mapped file holds a descriptor, and a usual soft limit of 1024 is soon reached.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def column(self, corpus: Corpus, number: int, name: str) -> Column:
        """A field of the shard of that number, mounted.

        Raises:
            UserError: if the file is missing or damaged, or cannot be copied.
        """
        shard = corpus.shards[number]
        path = shard.path(name)
        # Two threads may mount the same; the first to end wins.
        found = self._columns.get(path)
        return found or self._keep(path, self._open(corpus, shard, name))

    def find(self, corpus: Corpus, number: int, name: str) -> Column | None:
        """The same if the file is on this machine already; None if not."""
        shard = corpus.shards[number]
        path = shard.path(name)
        if found := self._columns.get(path):
            return found
        found = self._find(corpus, shard, name)
        return found and self._keep(path, found)

    def _keep(self, path: str, column: Column) -> Column:
        with self._lock:
            found = self._columns.setdefault(path, column)
            if len(self._columns) > MAX_COLUMNS:
                del self._columns[next(iter(self._columns))]
            return found

    def keep(self, corpus: Corpus) -> None:
        """Lets go of files of shards that a version has no more."""
        wanted = {shard.path(name) for shard in corpus.shards for name in shard.files}
        self._columns = {
            path: self._columns[path] for path in list(self._columns) if path in wanted
        }

    def take(self, corpus: Corpus, row_ids: Array, fields: tuple[str, ...]) -> dict[str, Array]:
        """Rows by id: for each field an array `[N, *shape]` in the order of `row_ids`."""
        parts = list(split(row_ids, corpus.starts))
        taken = {}
        for name in fields:
            field = corpus.field(name)
            taken[name] = np.empty((len(row_ids), *field.shape), field.dtype)
            for shard, where, rows in parts:
                self._gather(corpus, shard, name, rows, taken[name], where)
        return taken

    def _gather(
        self, corpus: Corpus, number: int, name: str, rows: Array, out: Array, where: Positions
    ) -> None:
        column = self.column(corpus, number, name)
        try:
            column.gather(rows, out, where)
        except DamagedError as error:
            if not self._is_copy(column):
                raise
            self._drop(column, corpus.shards[number], name, error)
            self.column(corpus, number, name).gather(rows, out, where)

    def _is_copy(self, column: Column) -> bool:
        return self.mount.kind != "mmap" and not isinstance(column, RangeColumn)

    def _drop(self, column: Column, shard: ShardInfo, name: str, error: DamagedError) -> None:
        with self._lock:
            # Another thread may have met the same damage, and copied the file again.
            if self._columns.get(shard.path(name)) is column:
                drop_copy(self.mount, shard, name, error)
                del self._columns[shard.path(name)]

    def _open(self, corpus: Corpus, shard: ShardInfo, name: str) -> Column:
        field = corpus.field(name)
        if self.mount.kind == "mmap":
            return corpus.column(shard, name)
        if self.mount.kind == "hydrate" or field.row_bytes <= NARROW_BYTES:
            try:
                return hydrate(self.mount, self._ranges, corpus, shard, name)
            except FullError:
                if self.mount.kind == "hydrate":
                    raise
        with self._lock:
            self._cache = self._cache or BlockCache(self.mount, self._ranges)
        uri = corpus.file_uri(shard, name)
        return RangeColumn(uri, field, shard.num_rows, shard.files[name], self._cache)

    def _find(self, corpus: Corpus, shard: ShardInfo, name: str) -> Column | None:
        if self.mount.kind != "mmap":
            return find_copy(self.mount, corpus, shard, name)
        path = files.local_path(corpus.file_uri(shard, name))
        return corpus.column(shard, name) if path and path.exists() else None
