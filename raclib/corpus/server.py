"""The actor that serves rows, and the reader of mounted shards it shares with its clients."""

import os
import resource

import numpy as np

from raclib.corpus.column import Array, Column
from raclib.corpus.corpus import Corpus, open_corpus
from raclib.corpus.gather import gather, split
from raclib.corpus.mounts import Mount


class ShardReader:
    """Reads rows of a corpus by id, in this process; files are mounted when first needed.

    Args:
        mount: How to get at files.
    """

    def __init__(self, mount: Mount) -> None:
        self.mount = mount
        self._columns: dict[tuple[str, str], Column] = {}
        # Each mapped file holds a descriptor, and a usual soft limit of 1024 is soon reached.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def column(self, corpus: Corpus, shard: int, name: str) -> Column:
        """A field of the shard of that number."""
        info = corpus.shards[shard]
        if (info.id, name) not in self._columns:
            self._columns[info.id, name] = self.mount.open(corpus, info, name)
        return self._columns[info.id, name]

    def find(self, corpus: Corpus, shard: int, name: str) -> Column | None:
        """The same if the file is on this machine already; None if not."""
        info = corpus.shards[shard]
        column = self._columns.get((info.id, name)) or self.mount.find(corpus, info, name)
        if column:
            self._columns[info.id, name] = column
        return column

    def take(self, corpus: Corpus, row_ids: Array, fields: tuple[str, ...]) -> dict[str, Array]:
        """Rows by id: for each field an array `[N, *shape]` in the order of `row_ids`."""
        parts = list(split(row_ids, corpus.starts))
        taken = {}
        for name in fields:
            field = corpus.field(name)
            taken[name] = np.empty((len(row_ids), *field.shape), field.dtype)
            for shard, where, rows in parts:
                column = self.column(corpus, shard, name)
                column.verify(rows)
                gather(column.rows, rows, taken[name], where)
        return taken


class ShardServer:
    """Serves rows of some shards of a corpus. Reads only, so a call may be repeated.

    A restarted server is as good as the first: everything it needs is in these arguments.

    Args:
        uri: Folder or fsspec URI of the corpus.
        version: Version of it.
        shard_ids: The shards to mount.
        mount: How to get at files.
    """

    def __init__(self, uri: str, version: int, shard_ids: list[str], mount: Mount) -> None:
        # Nothing that can fail happens here: Ray gives an actor up whose constructor raises.
        self.uri, self.version, self.shard_ids = uri, version, set(shard_ids)
        self._reader = ShardReader(mount)
        self._corpora: dict[int, Corpus] = {}

    def mount(self) -> int:
        """Mounts every file of this server's shards; returns the process id."""
        corpus = self._corpus(self.version)
        for number, shard in enumerate(corpus.shards):
            if shard.id in self.shard_ids:
                for name in corpus.fields:
                    self._reader.column(corpus, number, name)
        return os.getpid()

    def take(self, version: int, row_ids: Array, fields: tuple[str, ...]) -> dict[str, Array]:
        """Rows of a version by id: for each field an array `[N, *shape]` in the order asked."""
        return self._reader.take(self._corpus(version), row_ids, fields)

    def _corpus(self, version: int) -> Corpus:
        if version not in self._corpora:
            self._corpora[version] = open_corpus(self.uri, version)
        return self._corpora[version]
