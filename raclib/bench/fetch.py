"""How fast rows are fetched, by us and by others, on the same data."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from raclib.arrays import Arrays
from raclib.bench.contenders import Contender
from raclib.bench.made import make_once
from raclib.corpus.corpus import Corpus
from raclib.corpus.gather import Array
from raclib.corpus.manifest import Field

IdKind = Literal["uniform", "zipf"]
ZIPF_EXPONENT = 1.1
SCATTER = 2_654_435_761
NUM_TURNS = 5
# Ours, beside what it is measured against.
RIVALS = (
    ("local", "numpy.take"),
    ("local sharded", "numpy.take sharded"),
    ("actor", "naive actor"),
    ("actor", "naive actor writable"),
    ("actor", "lance"),
    ("local", "lance"),
    ("range warm", "cat_ranges"),
    ("range cold", "cat_ranges"),
)


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

    def make(rng: np.random.Generator, num: int) -> Arrays:
        return {"row": rng.integers(0, 256, (num, row_bytes), np.uint8)}

    num_rows = max(1, num_bytes // row_bytes)
    return make_once(uri, {"row": Field("uint8", (row_bytes,))}, num_rows, rows_per_shard, make)


def draw_ids(kind: IdKind, num_rows: int, batch_rows: int) -> Iterator[Array]:
    """Batches of row ids, without end; Zipf's frequent ids lie scattered over the corpus."""
    rng = np.random.default_rng(1)
    while True:
        if kind == "uniform":
            yield rng.integers(0, num_rows, batch_rows)
        else:
            yield (rng.zipf(ZIPF_EXPONENT, batch_rows) % num_rows) * SCATTER % num_rows


def measure(
    contenders: Mapping[str, Contender], ids: Iterator[Array], seconds: float, cold: bool
) -> dict[str, list[float]]:
    """Seconds of each fetch of each contender.

    They take turns, so that whatever else the machine does slows all of them alike; a turn is long
    enough for each to have the processor's caches to itself.

    Args:
        contenders: By name.
        ids: A batch for each fetch.
        seconds: Time for each contender; each makes five fetches at least.
        cold: Make each fetch anew, without warm-up.
    """
    fetches = {name: make() for name, make in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    # Pages of Ray's object store are slow when they are touched first: one turn more, not counted.
    for turn in range(0 if cold else -1, NUM_TURNS):
        for name, fetch in fetches.items():
            ends = time.monotonic() + seconds / NUM_TURNS
            while True:
                batch, now = next(ids), contenders[name]() if cold else fetch
                began = time.perf_counter()
                now(batch)
                if turn >= 0:
                    times[name].append(time.perf_counter() - began)
                if time.monotonic() >= ends:
                    break
    return times


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


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """How many times as fast as its rivals ours is: a row a case, a column a pair.

    Args:
        table: Measurements.
    """
    rates = table.pivot_table(
        index=["row_bytes", "batch_rows", "ids"], columns="contender", values="rows_per_s"
    )
    pairs = [pair for pair in RIVALS if rates.columns.isin(pair).sum() == 2]
    return pd.DataFrame({f"{a} / {b}": rates[a] / rates[b] for a, b in pairs})
