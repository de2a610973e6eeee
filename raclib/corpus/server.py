"""The actor that serves rows."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from raclib.corpus.corpus import Corpus, open_corpus
from raclib.corpus.gather import Array
from raclib.corpus.mounts import Mount
from raclib.corpus.reader import ShardReader

MOUNTS_AT_ONCE = 16


class ShardServer:
    """Serves rows of some shards of a corpus; a Ray actor. Reads only, so a call may be repeated.

    A restarted server is as good as the first: everything it needs is in these arguments, and a
    call says which version it means.

    Args:
        uri: Folder or fsspec URI of the corpus.
        version: Version of it.
        shard_ids: The shards to mount.
        mount: How to get at files.
    """

    def __init__(self, uri: str, version: int, shard_ids: Iterable[str], mount: Mount) -> None:
        # Nothing that can fail happens here: Ray gives an actor up whose constructor raises.
        self.uri, self.version, self.shard_ids = uri, version, set(shard_ids)
        self._reader = ShardReader(mount)
        self._corpora: dict[int, Corpus] = {}

    def mount(self, version: int | None = None, shard_ids: Iterable[str] = ()) -> int:
        """Mounts every file of this server's shards, and of more; returns the process id."""
        corpus = self._corpus(version or self.version)
        self.shard_ids.update(shard_ids)
        wanted = [
            (number, name)
            for number, shard in enumerate(corpus.shards)
            for name in corpus.fields
            if shard.id in self.shard_ids
        ]
        with ThreadPoolExecutor(MOUNTS_AT_ONCE) as pool:
            list(pool.map(lambda item: self._reader.column(corpus, *item), wanted))
        return os.getpid()

    def take(self, version: int, row_ids: Array, fields: tuple[str, ...]) -> dict[str, Array]:
        """Rows of a version by id: for each field an array `[N, *shape]` in the order asked."""
        return self._reader.take(self._corpus(version), row_ids, fields)

    def _corpus(self, version: int) -> Corpus:
        if version not in self._corpora:
            self._corpora[version] = open_corpus(self.uri, version)
        return self._corpora[version]
