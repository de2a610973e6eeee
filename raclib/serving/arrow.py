"""Tables of other libraries as Arrow."""

from collections.abc import Iterator
from typing import TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ray.data import Dataset

from raclib.corpus.atomic import write_atomic
from raclib.errors import UserError
from raclib.run.arrow_storage import arrow_storage
from raclib.run.cluster import quiet_ray_data

Table: TypeAlias = pd.DataFrame | pa.Table | Dataset
BATCH_ROWS = 8192


def to_arrow(table: Table) -> pa.Table:
    """A table in memory as Arrow; the index of a DataFrame is left out.

    Raises:
        UserError: if it is no table, or a column holds values of several types.
    """
    if isinstance(table, Dataset):
        return pa.concat_tables(batches(table), promote_options="permissive")
    if isinstance(table, pa.Table):
        return table
    if not isinstance(table, pd.DataFrame):
        raise UserError(
            f"table: a {type(table).__name__}; give a pandas DataFrame, an Arrow Table or a Ray "
            "Dataset"
        )
    try:
        return pa.Table.from_pandas(table, preserve_index=False)
    except (pa.ArrowException, TypeError) as error:
        # Arrow's first message would tell the value; the last one tells the column.
        column = str(error.args[-1]).partition("failed for ")[2] or "a column"
        raise UserError(f"table: {column}: values of several types; give it one") from None


def batches(table: Table) -> Iterator[pa.Table]:
    """A table, that of a Ray Dataset in pieces, in the order of its rows."""
    if not isinstance(table, Dataset):
        yield to_arrow(table)
        return
    with quiet_ray_data():
        yield from table.iter_batches(batch_size=BATCH_ROWS, batch_format="pyarrow")


def write_table(table: Table, uri: str) -> None:
    """Writes a table as Parquet files in a new folder; a Ray Dataset is streamed into it."""
    if isinstance(table, Dataset):
        with quiet_ray_data():
            filesystem, path = arrow_storage(uri)
            table.write_parquet(path, filesystem=filesystem)
        return
    with write_atomic(f"{uri}/table.parquet") as file:
        pq.write_table(to_arrow(table), file)
