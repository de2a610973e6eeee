"""How fast rows are fetched, by us and by others, on the same data and the same row ids."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray

from raclib.corpus import files
from raclib.corpus.corpus import Corpus, latest_version, open_corpus
from raclib.corpus.gather import Array, split
from raclib.corpus.manifest import Field
from raclib.corpus.mounts import Mount
from raclib.corpus.reader import ShardReader
from raclib.corpus.store import CorpusStore
from raclib.corpus.writer import CorpusWriter

Fetch = Callable[[Array], Any]
# Makes the fetch that is timed; without warm-up it is made anew for each one.
Contender = Callable[[], Fetch]
IdKind = Literal["uniform", "zipf"]
ZIPF_EXPONENT = 1.1
SCATTER = 2_654_435_761
WRITE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Measurement:
    """One contender on one kind of batch; times in milliseconds."""

    contender: str
    ids: str
    row_bytes: int
    batch_rows: int
    p50_ms: float
    p99_ms: float
    rows_per_s: float
    gb_per_s: float


def make_corpus(uri: str, row_bytes: int, num_bytes: int, rows_per_shard: int) -> Corpus:
    """A corpus of random rows of that size, written unless it is there already."""
    if latest_version(files.normalise(uri)):
        return open_corpus(uri)
    rng, num_rows = np.random.default_rng(0), max(1, num_bytes // row_bytes)
    fields = {"row": Field("uint8", (row_bytes,)), "time": Field("int64")}
    with CorpusWriter(uri, fields, rows_per_shard) as writer:
        step = max(1, WRITE_BYTES // row_bytes)
        for lo in range(0, num_rows, step):
            hi = min(lo + step, num_rows)
            rows = rng.integers(0, 256, (hi - lo, row_bytes), np.uint8)
            writer.write({"row": rows, "time": np.arange(lo, hi)})
    return open_corpus(uri)


def draw_ids(kind: IdKind, num_rows: int, batch_rows: int) -> Iterator[Array]:
    """Batches of row ids, without end; Zipf's frequent ids lie scattered over the corpus."""
    rng = np.random.default_rng(1)
    while True:
        if kind == "uniform":
            yield rng.integers(0, num_rows, batch_rows)
        else:
            yield (rng.zipf(ZIPF_EXPONENT, batch_rows) % num_rows) * SCATTER % num_rows


def measure(
    contender: Contender, ids: Iterator[Array], seconds: float, warm_up: int
) -> list[float]:
    """Seconds of each fetch, for that long and five times at least."""
    fetch = contender()
    for batch in itertools.islice(ids, warm_up):
        fetch(batch)
    times: list[float] = []
    while sum(times) < seconds or len(times) < 5:
        batch = next(ids)
        if not warm_up:
            fetch = contender()
        began = time.perf_counter()
        fetch(batch)
        times.append(time.perf_counter() - began)
    return times


def local_contenders(corpus: Corpus, stack: ExitStack) -> dict[str, Contender]:
    """Ways to fetch from a corpus on this machine; actors live until the stack closes."""
    store = stack.enter_context(CorpusStore.start(corpus, num_servers=1, mount="mmap"))
    calling, reading = store.client(local=False), store.client()
    whole = np.concatenate([rows for _, rows in corpus.iter_field("row")])
    naive: Any = ray.remote(num_cpus=0)(_NaiveServer).remote(corpus)
    stack.callback(ray.kill, naive)
    found: dict[str, Contender] = {
        "numpy.take": lambda: (
            lambda ids: np.take(whole, ids, axis=0, out=_ready(ids, whole), mode="clip")
        ),
        "local": lambda: lambda ids: reading.fetch(ids, ("row",)),
        "actor": lambda: lambda ids: calling.fetch(ids, ("row",)),
        "naive actor": lambda: lambda ids: ray.get(naive.take.remote(ids)),
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


def summarise(
    contender: str, kind: str, row_bytes: int, batch_rows: int, times: list[float]
) -> Measurement:
    """Percentiles and rates of the times of one case."""
    p50, p99 = np.percentile(times, [50, 99])
    rate = batch_rows / float(p50)
    return Measurement(
        contender,
        kind,
        row_bytes,
        batch_rows,
        p50_ms=1e3 * float(p50),
        p99_ms=1e3 * float(p99),
        rows_per_s=rate,
        gb_per_s=rate * row_bytes / 1e9,
    )


class _NaiveServer:
    """What a first attempt would be: index, return, let Ray do the rest."""

    def __init__(self, corpus: Corpus) -> None:
        self.rows = np.concatenate([rows for _, rows in corpus.iter_field("row")])

    def take(self, ids: Array) -> Array:
        return self.rows[ids]


_buffers: dict[tuple[int, ...], Array] = {}


def _ready(ids: Array, whole: Array) -> Array:
    shape = (len(ids), *whole.shape[1:])
    return _buffers.setdefault(shape, np.zeros(shape, whole.dtype))


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
            paths[where] = files.field_uri(root, corpus.shards[shard].id, "row")
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
