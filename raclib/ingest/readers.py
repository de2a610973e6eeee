"""Streaming readers of one file, one for each format."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from raclib.corpus.urls import public_name
from raclib.errors import UserError
from raclib.ingest.csv_reader import CsvReader
from raclib.ingest.formats import kind_of
from raclib.ingest.json_reader import JsonReader
from raclib.ingest.locations import is_local
from raclib.ingest.opening import open_file
from raclib.ingest.text import is_arrows

# A column chunk of Parquet is read in pieces of this size, however large a row group is.
PAGE_BYTES = 2**20


class Reader(Protocol):
    """Rows of one file."""

    def schema(self) -> pa.Schema:
        """Columns and their types, as the file has them."""
        ...

    def batches(
        self, schema: pa.Schema, columns: Sequence[str], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """The rows in order, with some columns in any order.

        Args:
            schema: What `schema` gave.
            columns: Which of these are wanted.
            batch_rows: Rows a batch, where the format lets it be chosen.
        """
        ...


def open_reader(uri: str) -> Reader:
    """The reader for a file.

    Raises:
        UserError: if it is empty or of no format that is read.
    """
    kind = kind_of(uri)
    match kind.format:
        case "Parquet":
            return ParquetReader(uri)
        case "CSV":
            return CsvReader(uri, kind.compression, kind.delimiter)
        case "JSON lines":
            return JsonReader(uri, kind.compression)
    return ArrowReader(uri, is_stream=kind.format == "Arrow stream")


@dataclass(frozen=True)
class ParquetReader:
    """Rows of a Parquet file; only the columns that are wanted are read."""

    uri: str

    def schema(self) -> pa.Schema:
        """The file's Arrow schema."""
        with self._open() as file:
            return file.schema_arrow

    def batches(
        self, schema: pa.Schema, columns: Sequence[str], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Rows, read piece by piece even where a row group exceeds memory."""
        with self._open() as file:
            yield from file.iter_batches(batch_rows, columns=list(columns))

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        with open_file(self.uri, seekable=True) as raw, _clear_damage(self.uri, "Parquet"):
            yield pq.ParquetFile(
                raw, buffer_size=PAGE_BYTES, pre_buffer=False, page_checksum_verification=True
            )


@dataclass(frozen=True)
class ArrowReader:
    """Rows of Arrow IPC: a file (Feather of version 2 is the same) or a stream."""

    uri: str
    is_stream: bool

    def schema(self) -> pa.Schema:
        """The file's schema."""
        with self._open(None) as reader:
            return reader.schema

    def batches(
        self, schema: pa.Schema, columns: Sequence[str], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Rows. A batch of the file that is compressed is unpacked in whole."""
        with self._open(sorted(map(schema.get_field_index, columns))) as reader:
            if self.is_stream:
                yield from reader
            else:
                yield from map(reader.get_batch, range(reader.num_record_batches))

    @contextmanager
    def _open(self, fields: list[int] | None) -> Iterator[pa.ipc.RecordBatchFileReader]:
        opening = pa.ipc.open_stream if self.is_stream else pa.ipc.open_file
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        with _clear_damage(self.uri, "Arrow"):
            if is_local(self.uri):
                with pa.memory_map(self.uri) as mapped:
                    yield opening(mapped, options=options)
            else:
                with open_file(self.uri, seekable=True) as raw:
                    yield opening(raw, options=options)


@contextmanager
def _clear_damage(uri: str, form: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{public_name(uri)}: no such file; check the path") from None
    except (pa.ArrowException, OSError) as error:
        if not is_arrows(error):
            raise
        raise UserError(
            f"{public_name(uri)}: truncated or damaged {form} file; get it again"
        ) from None
