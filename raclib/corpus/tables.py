"""Corpora from Parquet or Arrow tables, and back."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import PyFileSystem

from raclib.corpus import files
from raclib.corpus.atomic import write_atomic
from raclib.corpus.corpus import Corpus, open_corpus
from raclib.corpus.gather import Array
from raclib.corpus.manifest import TIME, Field
from raclib.corpus.stream import StoreHandler
from raclib.corpus.writer import CorpusWriter
from raclib.errors import UserError

BATCH_BYTES = 64 * 2**20


def import_tables(
    tables: Sequence[str],
    uri: str,
    time_column: str = TIME,
    rows_per_shard: int = 1_000_000,
    mode: Literal["create", "append"] = "create",
    provenance: Mapping[str, Any] | None = None,
) -> Corpus:
    """Writes the rows of tables, in their order, as a corpus.

    Args:
        tables: Parquet (`.parquet`) or Arrow IPC (`.arrow`, `.feather`) files. Columns are numbers,
            booleans or fixed-size lists of them.
        uri: Folder or fsspec URI of the corpus.
        time_column: Column that becomes `time`: milliseconds, or a timestamp.
        rows_per_shard: Rows of a shard.
        mode: `create` or `append`.
        provenance: JSON values.

    Raises:
        UserError: if a table cannot be read, a column has another type or nulls, or times descend.
    """
    sources = [_open_table(table) for table in tables]
    if not sources:
        raise UserError("tables: none given; name at least one Parquet or Arrow file")
    schema = sources[0].schema
    if time_column not in schema.names:
        raise UserError(
            f"{tables[0]}: has no column {time_column!r}; it has {', '.join(schema.names)}"
        )
    fields = {_rename(item.name, time_column): _to_field(item) for item in schema}
    with CorpusWriter(uri, fields, rows_per_shard, mode, provenance) as writer:
        for table, source in zip(tables, sources, strict=True):
            if source.schema.types != schema.types or source.schema.names != schema.names:
                raise UserError(f"{table}: its columns differ from those of {tables[0]}")
            for batch in source.to_batches(batch_size=_batch_rows(fields)):
                writer.write({_rename(n, time_column): _to_array(batch, n) for n in schema.names})
    return open_corpus(uri)


def export_table(corpus: Corpus, uri: str) -> None:
    """Writes a corpus as one Parquet file, a row group a batch; wide fields as fixed-size lists.

    Raises:
        UserError: if the corpus is damaged or the file cannot be written.
    """
    schema = pa.schema([(name, _to_type(field)) for name, field in corpus.fields.items()])
    with (
        files.clear_errors(uri),
        write_atomic(uri) as file,
        pq.ParquetWriter(file, schema) as writer,
    ):
        for batch in _batches(corpus, schema):
            writer.write_batch(batch)


def _batches(corpus: Corpus, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    size = _batch_rows(corpus.fields)
    for shard in corpus.shards:
        columns = [corpus.column(shard, name) for name in corpus.fields]
        for lo in range(0, shard.num_rows, size):
            hi = min(lo + size, shard.num_rows)
            arrays = [_to_arrow(column.read(lo, hi)) for column in columns]
            yield pa.record_batch(arrays, schema=schema)


def _open_table(table: str) -> ds.Dataset:
    uri = files.normalise(table)
    path = files.resolve(uri)[1]
    ending = path.rpartition(".")[2]
    if ending not in ("parquet", "arrow", "feather"):
        raise UserError(f"{table}: give a .parquet, .arrow or .feather file")
    with files.clear_errors(table):
        if files.ask(table, "info")["type"] != "file":
            raise FileNotFoundError(path)
        try:
            return ds.dataset(path, format=ending, filesystem=PyFileSystem(StoreHandler(uri)))
        except pa.ArrowInvalid as error:
            raise OSError(f"cannot be read: {error}") from error


def _to_field(column: pa.Field) -> Field:
    kind: pa.DataType = column.type
    shape: tuple[int, ...] = ()
    while pa.types.is_fixed_size_list(kind):
        kind, shape = kind.value_type, (*shape, kind.list_size)
    try:
        dtype = np.dtype("int64") if pa.types.is_timestamp(kind) else kind.to_pandas_dtype()
        return Field(np.dtype(dtype).name, shape)
    except (UserError, TypeError, NotImplementedError) as error:
        raise UserError(
            f"column {column.name!r}: {column.type} cannot be stored; give numbers, booleans or "
            "fixed-size lists of them, or leave the column out"
        ) from error


def _to_array(batch: pa.RecordBatch, name: str) -> Array:
    values, shape = batch.column(name), [batch.num_rows]
    while True:
        if values.null_count:
            raise UserError(f"column {name!r}: has {values.null_count} nulls; fill or drop them")
        if not pa.types.is_fixed_size_list(values.type):
            break
        shape.append(values.type.list_size)
        values = values.flatten()
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    return values.to_numpy(zero_copy_only=False).reshape(shape)


def _to_arrow(rows: Array) -> pa.Array:
    values = pa.array(rows.reshape(-1))
    for size in reversed(rows.shape[1:]):
        values = pa.FixedSizeListArray.from_arrays(values, size)
    return values


def _to_type(field: Field) -> pa.DataType:
    kind = pa.from_numpy_dtype(np.dtype(field.dtype))
    for size in reversed(field.shape):
        kind = pa.list_(kind, size)
    return kind


def _batch_rows(fields: Mapping[str, Field]) -> int:
    return max(1, BATCH_BYTES // sum(field.row_bytes for field in fields.values()))


def _rename(name: str, time_column: str) -> str:
    return TIME if name == time_column else name
