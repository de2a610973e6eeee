"""Rows of table files as Arrow, streamed in bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from raclib.corpus.urls import public_name
from raclib.errors import UserError
from raclib.ingest.find import find_files
from raclib.ingest.readers import open_reader
from raclib.ingest.unify import conform, unify

BATCH_ROWS = 8192


@dataclass(frozen=True)
class TableFiles:
    """Tables in files, which follow one another. Picklable.

    Parquet, CSV (whatever stands between its columns), JSON lines and Arrow IPC (Feather); text
    also as gzip, bz2 or zstd. Formats may differ from file to file.

    Args:
        uris: Files, as `find` gives them.
    """

    uris: tuple[str, ...]

    @classmethod
    def find(cls, inputs: str | Path | Sequence[str | Path]) -> "TableFiles":
        """The files that paths, folders, globs, fsspec URIs or http(s) URLs mean.

        Raises:
            UserError: if there is no such file, or one is given twice (`find.find_files`).
        """
        return cls(find_files(inputs))

    def schema(self) -> pa.Schema:
        """The columns of all files, in the order in which they first appear.

        Integers are int64 (uint64 stays), floats float64, integers and floats float64, all strings
        string, dictionaries their values, times with a zone in UTC. A date beside a time is a time,
        and a time without a zone beside one with a zone is UTC. A column without a value is of what
        type other files give it. Nested types stay as they are.

        Reads text files once, because a column's type is that of all its values; the answer is
        kept, and pickled with the files.

        Raises:
            UserError: if a file is missing, empty, damaged or of an unknown format, has two columns
                of one name, or disagrees with another on a column.
        """
        return unify(self._schemas, [public_name(uri) for uri in self.uris])

    def batches(
        self, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """The rows of the files, in order.

        Args:
            columns: Which columns, at least one, in which order; all by default. Others are not
                read from Parquet and Arrow, nor kept of text.
            batch_rows: The most rows a batch.

        Yields:
            Batches of `schema`, or of these columns of it.

        Raises:
            UserError: as `schema`; also for a column that is in no file, and if there is no row.
                No message holds anything of a row.
        """
        wanted = self._wanted(columns)
        num_rows = 0
        for uri, schema in zip(self.uris, self._schemas, strict=True):
            for batch in _file_batches(uri, schema, wanted, batch_rows):
                num_rows += batch.num_rows
                yield batch
        if not num_rows:
            raise UserError(f"{', '.join(map(public_name, self.uris))}: no rows; give some")

    @cached_property
    def _schemas(self) -> tuple[pa.Schema, ...]:
        return tuple(open_reader(uri).schema() for uri in self.uris)

    def _wanted(self, columns: Sequence[str] | None) -> pa.Schema:
        schema = self.schema()
        if columns is None:
            return schema
        assert columns, "rows without a column cannot be told"
        for name in columns:
            if name not in schema.names:
                known = ", ".join(map(repr, schema.names))
                raise UserError(f"no column {name!r}; the table has {known}")
        return pa.schema([schema.field(name) for name in columns])


def _file_batches(
    uri: str, schema: pa.Schema, wanted: pa.Schema, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """The rows of one file, as part of all files."""
    present = [name for name in wanted.names if name in schema.names]
    # A file that has none of the columns has rows nevertheless.
    columns = present or schema.names[:1]
    for batch in open_reader(uri).batches(_as_strings(schema, wanted), columns, batch_rows):
        for start in range(0, batch.num_rows, batch_rows):
            yield conform(batch.slice(start, batch_rows), wanted, public_name(uri))


def _as_strings(schema: pa.Schema, wanted: pa.Schema) -> pa.Schema:
    """The schema of a file where an empty column is one of strings if other files have strings.

    An empty value of CSV is then an empty string as in these.
    """
    for index, field in enumerate(schema):
        if pa.types.is_null(field.type) and field.name in wanted.names:
            kind = wanted.field(field.name).type
            if pa.types.is_string(kind):
                schema = schema.set(index, pa.field(field.name, kind))
    return schema
