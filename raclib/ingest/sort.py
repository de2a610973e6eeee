"""First stage of a corpus: rows read, validated and sorted by time into Parquet files."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.data import DataContext
from tqdm import tqdm

from raclib.corpus.atomic import write_atomic
from raclib.errors import UserError
from raclib.ingest.embedding import LINE
from raclib.ingest.schema import Recipe, Source
from raclib.ingest.staging import Layout, Staging
from raclib.ingest.survey import is_text
from raclib.ingest.tally import Tally
from raclib.run.cluster import quiet_ray_data, this_node

BATCH_ROWS = 8192


def sort_rows(source: Source, recipe: Recipe, staging: Staging) -> Layout:
    """Writes the rows of a source in order of (time, line), a Parquet file a shard.

    Ray Data sorts them, and spills to disk what does not fit in its object store.

    Args:
        source: The rows, their files at hand.
        recipe: What they are and how many go into a file; those before its cutoff are counted.
        staging: Where the files go.

    Raises:
        UserError: if the rows cannot be read or none is before the cutoff.
    """
    with quiet_ray_data():
        # By default a block is sorted on the node that read it, which waits if that one is busy.
        DataContext.get_current().shuffle_input_batch_bytes = 0
        blocks, num_rows = _read(source, recipe, staging)
        ordered = ray.data.from_arrow_refs(blocks).sort([recipe.time, LINE])
        del blocks
        tables = ordered.iter_batches(batch_size=BATCH_ROWS, batch_format="pyarrow")
        with tqdm(total=num_rows, desc="sorting by time", unit=f" {recipe.noun}s") as progress:
            shards = list(_write_shards(tables, recipe, staging, progress))
    sizes, num_before, first = map(list, zip(*shards, strict=True))
    if not any(num_before):
        raise UserError(
            f"{recipe.cutoff_name}: no {recipe.noun} is before it, and keys are fitted on those; "
            "choose a later date"
        )
    return Layout(
        **staging.read("tally"), num_rows=sizes, num_before=sum(num_before), first=first[0]
    )


def _read(source: Source, recipe: Recipe, staging: Staging) -> tuple[list[Any], int]:
    """References to blocks of rows in Ray's object store, and the number of rows."""
    # The files are those that this process sees.
    reading = ray.data.from_items([{"source": 0}]).map_batches(
        partial(_read_batches, source, staging),
        batch_size=1,
        num_cpus=0,
        label_selector=this_node(),
    )
    blocks: list[Any] = []
    with tqdm(desc="reading", unit=f" {recipe.noun}s") as progress:
        for bundle in reading.iter_internal_ref_bundles():
            blocks.extend(bundle.block_refs)
            progress.update(bundle.num_rows() or 0)
    return blocks, int(progress.n)


def _read_batches(source: Source, staging: Staging, _: dict[str, np.ndarray]) -> Iterator[Any]:
    """Reads a source in a Ray task."""
    tally = Tally()
    yield from source.batches(tally)
    staging.write("tally", tally.to_json())


def _write_shards(
    tables: Iterable[pa.Table], recipe: Recipe, staging: Staging, progress: tqdm
) -> Iterator[tuple[int, int, int]]:
    """Writes shards; yields of each its rows, its rows before the cutoff and its first time."""
    schema = recipe.columns
    # A dictionary of numbers, which seldom come again, takes most of the time and saves nothing.
    strings = [column.name for column in schema if is_text(column.type)]
    for shard, parts in groupby(cut(tables, recipe.rows_per_shard), key=itemgetter(0)):
        times = []
        with (
            write_atomic(staging.rows_uri(shard)) as file,
            pq.ParquetWriter(file, schema, use_dictionary=strings) as out,
        ):
            for _, part in parts:
                out.write_table(part.select(schema.names).cast(schema))
                times.append(part[recipe.time].to_numpy())
                progress.update(len(part))
        time = np.concatenate(times)
        yield len(time), int(np.searchsorted(time, recipe.cutoff)), int(time[0])


def cut(tables: Iterable[pa.Table], rows_per_shard: int) -> Iterator[tuple[int, pa.Table]]:
    """Cuts consecutive tables at shard bounds; yields each piece with its shard."""
    row = 0
    for table in tables:
        start = 0
        while start < len(table):
            num_rows = min(len(table) - start, rows_per_shard - row % rows_per_shard)
            yield row // rows_per_shard, table.slice(start, num_rows)
            start, row = start + num_rows, row + num_rows
