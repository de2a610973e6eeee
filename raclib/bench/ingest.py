"""How fast a generated table becomes a corpus, beside reading it and writing it sorted."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raclib.arrays import Arrays
from raclib.bench.usage import UsageMeter, together
from raclib.corpus.files import list_files
from raclib.ingest.keys import KeyTransform
from raclib.ingest.prepare import prepare
from raclib.ingest.staging import Layout, Staging
from raclib.ingest.table import TableEncoder, TableSource
from raclib.tasks.table.config import TableConfig
from raclib.tasks.table.recipe import TableRecipe

PIECE_ROWS = 50_000
YEAR_MS = 365 * 86_400_000
MAX_DELAY_MS = 60 * 86_400_000
PHASES = ("looking at columns", "reading and sorting", "fitting", "encoding", "keys")


def write_table(path: Path, num_rows: int, num_columns: int) -> None:
    """Writes a table of random rows in no order of time, piece by piece.

    Of 100 columns 80 are numbers, a third of which has missing values, 15 categories, 4 ids and one
    a date; `time`, `label_time` and `label` come on top.

    Args:
        path: The Parquet file.
        num_rows: Rows.
        num_columns: Columns that are inputs, at least 25.
    """
    rng = np.random.default_rng(0)
    writer = None
    for start in range(0, num_rows, PIECE_ROWS):
        size = min(PIECE_ROWS, num_rows - start)
        piece = pa.table(_piece(rng, size, num_columns, num_rows))
        writer = writer or pq.ParquetWriter(path, piece.schema)
        writer.write_table(piece)
    assert writer is not None, "a table has rows"
    writer.close()


def _piece(
    rng: np.random.Generator, size: int, num_columns: int, num_rows: int
) -> dict[str, pa.Array]:
    num_ids, num_categories = num_columns // 25, 15 * num_columns // 100
    event = rng.integers(0, 10 * YEAR_MS, size)
    return {
        "time": pa.array(event, pa.timestamp("ms")),
        "label_time": pa.array(event + rng.integers(0, MAX_DELAY_MS, size), pa.timestamp("ms")),
        "label": pa.array(rng.random(size) < 0.1),
        "opened": pa.array(event - rng.integers(0, YEAR_MS, size), pa.timestamp("ms")),
        **{
            f"number_{place}": _numbers(rng, place, size)
            for place in range(num_columns - 1 - num_ids - num_categories)
        },
        **{f"category_{place}": _categories(rng, place, size) for place in range(num_categories)},
        **{
            f"{place}_id": pa.array(rng.integers(0, max(2, num_rows // 10 ** (place % 4)), size))
            for place in range(num_ids)
        },
    }


def _numbers(rng: np.random.Generator, place: int, size: int) -> pa.Array:
    """Normal, log-normal or whole numbers, in turn; whole ones are where some are missing."""
    if place % 3 == 0:
        return pa.array(rng.poisson(5, size).astype(float), mask=rng.random(size) < 0.1)
    return pa.array(rng.normal(size=size) if place % 3 == 1 else rng.lognormal(size=size))


def _categories(rng: np.random.Generator, place: int, size: int) -> pa.Array:
    """Of 4 to 500 strings, some much more frequent than others."""
    known = pa.array([f"value {code}" for code in range((4, 30, 500)[place % 3])])
    return known.take(pa.array((rng.beta(0.5, 2, size) * len(known)).astype(np.int64)))


class MeteredRecipe(TableRecipe):
    """The recipe of a table, which tells a meter what `prepare` is at."""

    def __init__(self, config: TableConfig, meter: UsageMeter) -> None:
        super().__init__(config)
        self.meter = meter

    def fetch(self) -> TableSource:
        """See `TableRecipe`."""
        source = super().fetch()
        self.meter.begin("reading and sorting")
        return source

    def fit_encoder(self, staging: Staging, layout: Layout) -> TableEncoder:
        """See `TableRecipe`."""
        self.meter.begin("fitting")
        encoder = super().fit_encoder(staging, layout)
        self.meter.begin("encoding")
        return encoder

    def fit_keys(self, sample: Arrays, layout: Layout) -> KeyTransform:
        """See `TableRecipe`."""
        self.meter.begin("fitting")
        transform = super().fit_keys(sample, layout)
        self.meter.begin("keys")
        return transform


def measure(config: TableConfig) -> tuple[list[dict[str, Any]], int]:
    """Prepares a corpus that is not there yet.

    Returns:
        A row for each phase, and one for all of them; and the bytes of the corpus's files.
    """
    with UsageMeter(PHASES[0]) as meter:
        corpus = prepare(MeteredRecipe(config, meter))
    phases = {name: meter.phases[name] for name in PHASES}
    phases["all"] = together(phases.values())
    rows = [{"phase": name, **vars(usage)} for name, usage in phases.items()]
    for row in rows:
        row["rows_per_s"] = len(corpus) / row["seconds"]
    return rows, sum(list_files(f"{corpus.uri}/shards").values())


def bare_work(path: Path, out: Path) -> tuple[float, float]:
    """Reads a table whole and writes it sorted by `label_time`, all in this process.

    Returns:
        Seconds, and processor seconds of all threads.
    """
    start, cpu_start = time.perf_counter(), time.process_time()
    pq.write_table(pq.read_table(path).sort_by("label_time"), out)
    return time.perf_counter() - start, time.process_time() - cpu_start
