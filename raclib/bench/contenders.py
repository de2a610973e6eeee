"""Ways to fetch rows that the benchmark compares: ours, NumPy's, Ray's, s3fs's and Lance's."""

from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import ray

from raclib.corpus import files
from raclib.corpus.corpus import Corpus
from raclib.corpus.gather import Array, split
from raclib.corpus.mounts import Mount
from raclib.corpus.reader import ShardReader
from raclib.corpus.store import CorpusStore

Fetch = Callable[[Array], Any]
# Makes the fetch that is timed; without warm-up it is made anew for each one.
Contender = Callable[[], Fetch]


def local_contenders(corpus: Corpus, sharded: Corpus, stack: ExitStack) -> dict[str, Contender]:
    """Ways to fetch from a corpus on this machine; actors live until the stack closes.

    Args:
        corpus: Rows in one shard.
        sharded: The same rows in several.
        stack: Ends what is started.
    """
    store = stack.enter_context(CorpusStore.start(corpus, num_servers=1, mount="mmap"))
    several = stack.enter_context(CorpusStore.start(sharded, num_servers=1, mount="mmap"))
    calling, reading = store.client(local=False), store.client()
    reading_several = several.client()
    naive: Any = ray.remote(num_cpus=0)(_NaiveServer).remote(corpus)
    stack.callback(ray.kill, naive)
    maps = [rows for _, rows in corpus.iter_field("row")]
    sharded_maps = [rows for _, rows in sharded.iter_field("row")]
    found: dict[str, Contender] = {
        "numpy.take": lambda: lambda ids: _take(maps, corpus.starts, ids),
        "local": lambda: lambda ids: reading.fetch(ids, ("row",)),
        "numpy.take sharded": lambda: lambda ids: _take(sharded_maps, sharded.starts, ids),
        "local sharded": lambda: lambda ids: reading_several.fetch(ids, ("row",)),
        "actor": lambda: lambda ids: calling.fetch(ids, ("row",)),
        "naive actor": lambda: lambda ids: ray.get(naive.take.remote(ids)),
        "naive actor writable": lambda: lambda ids: ray.get(naive.take.remote(ids)).copy(),
    }
    if find_spec("lance"):
        found["lance"] = lambda: _lance(corpus)
    return found


def remote_contenders(corpus: Corpus, folder: Path) -> dict[str, Contender]:
    """Ways to fetch from a corpus on an object store; `cold` starts without any block."""
    warm = _mounted(corpus, folder)
    warm(np.arange(len(corpus)))
    return {
        "range cold": lambda: _mounted(corpus, folder),
        "range warm": lambda: warm,
        "cat_ranges": lambda: _cat_ranges(corpus),
    }


class _NaiveServer:
    """What a first attempt would be: index, return, let Ray do the rest."""

    def __init__(self, corpus: Corpus) -> None:
        self.rows = np.concatenate([rows for _, rows in corpus.iter_field("row")])

    def take(self, ids: Array) -> Array:
        return self.rows[ids]


_buffers: dict[tuple[int, ...], Array] = {}


def _take(maps: list[Array], starts: Array, ids: Array) -> Array:
    """By hand: from memory maps into a buffer that is used again and again."""
    shape = (len(ids), *maps[0].shape[1:])
    out = _buffers.setdefault(shape, np.zeros(shape, maps[0].dtype))
    if len(maps) == 1:
        return np.take(maps[0], ids, axis=0, out=out, mode="clip")
    for shard, where, rows in split(ids, starts):
        out[where] = np.take(maps[shard], rows, axis=0, mode="clip")
    return out


def _mounted(corpus: Corpus, folder: Path) -> Fetch:
    reader = ShardReader(Mount("range", str(folder)))
    for number in range(len(corpus.shards)):
        reader.column(corpus, number, "row")
    return lambda ids: reader.take(corpus, ids, ("row",))


def _cat_ranges(corpus: Corpus) -> Fetch:
    fs, root = files.resolve(corpus.uri)
    width = corpus.field("row").row_bytes
    begins = [corpus.column(shard, "row").begin for shard in corpus.shards]

    def fetch(ids: Array) -> list[bytes]:
        paths, starts = np.empty(len(ids), object), np.empty(len(ids), np.int64)
        for shard, where, rows in split(ids, corpus.starts):
            paths[where] = f"{root}/{corpus.shards[shard].path('row')}"
            starts[where] = begins[shard] + rows * width
        return fs.cat_ranges(paths.tolist(), starts.tolist(), (starts + width).tolist())

    return fetch


def _lance(corpus: Corpus) -> Fetch:
    import lance
    import pyarrow as pa

    path = Path(f"{corpus.uri}.lance")
    width = corpus.field("row").row_bytes
    if not path.exists():
        parts = [pa.array(rows.reshape(-1)) for _, rows in corpus.iter_field("row")]
        rows = [pa.FixedSizeListArray.from_arrays(part, width) for part in parts]
        lance.write_dataset(pa.table({"row": pa.chunked_array(rows)}), path)
    dataset = lance.dataset(path)
    return lambda ids: dataset.take(ids, columns=["row"])
