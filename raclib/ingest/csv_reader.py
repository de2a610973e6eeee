"""Rows of a CSV file; the types of columns are those of the whole file, not of its beginning."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from raclib.corpus.urls import public_name
from raclib.errors import UserError
from raclib.ingest.text import BLOCK_BYTES, Remark, ignore, open_text
from raclib.ingest.unify import check_names, join
from raclib.run.terminal import warn

_OPTIONS = csv.ConvertOptions(null_values=[*csv.ConvertOptions().null_values, "None", "<NA>"])
_HUGE = r"^[+-]?\d{19,}$"
_COUNTS = re.compile(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)")
_COLUMN = re.compile(r"In CSV column #(\d+):(?: Row #(\d+):)? CSV conversion error to (.*?):")


@dataclass(frozen=True)
class CsvReader:
    """Rows of a CSV file.

    An empty value is missing in a column of numbers or times, as are `NA`, `null` and the like, and
    an empty string in a column of strings, where `NA` is a string like others. A column of integers
    of which some exceed int64 is one of strings.
    """

    uri: str
    compression: str | None
    delimiter: str

    def schema(self) -> pa.Schema:
        """Columns, and types that hold all their values; reads the whole file.

        Arrow's own reader decides by the first block, where a column may be empty, or whole numbers
        that are fractions later.
        """
        with self._open({}) as reader:
            names = reader.schema.names
        check_names(names, public_name(self.uri))
        kinds: dict[str, pa.DataType] = dict.fromkeys(names, pa.null())
        with self._open(dict.fromkeys(names, pa.string()), remark=warn) as reader:
            for batch in reader:
                for field in _inferred(batch, [n for n in names if kinds[n] != pa.string()]):
                    kinds[field.name] = join(kinds[field.name], field.type) or pa.string()
        return pa.schema(kinds)

    def batches(
        self, schema: pa.Schema, columns: Sequence[str], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Rows, a block at a time."""
        kinds = {field.name: field.type for field in schema}
        with self._open(kinds, columns) as reader:
            yield from reader

    @contextmanager
    def _open(
        self,
        kinds: Mapping[str, pa.DataType],
        columns: Sequence[str] = (),
        remark: Remark = ignore,
    ) -> Iterator[csv.CSVStreamingReader]:
        options = csv.ConvertOptions(
            column_types=kinds, include_columns=columns, null_values=_OPTIONS.null_values
        )
        with open_text(self.uri, self.compression, remark) as file:
            try:
                with csv.open_csv(
                    file,
                    csv.ReadOptions(block_size=BLOCK_BYTES),
                    # A quoted text may have lines.
                    csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                    options,
                ) as reader:
                    yield reader
            except (pa.ArrowException, UnicodeDecodeError) as error:
                raise UserError(f"{public_name(self.uri)}: {_reason(error, kinds)}") from None


def _inferred(batch: pa.RecordBatch, names: Sequence[str]) -> pa.Schema:
    """The types that Arrow's reader finds in columns of strings."""
    if not names:
        return pa.schema({})
    text = pa.BufferOutputStream()
    csv.write_csv(batch.select(names), text, csv.WriteOptions(include_header=False))
    buffer = text.getvalue()
    table = csv.read_csv(
        pa.BufferReader(buffer),
        csv.ReadOptions(column_names=names, block_size=buffer.size + 1),
        csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        _OPTIONS,
    )
    return pa.schema(
        {
            name: pa.string() if _loses_digits(table[name], batch[name]) else table[name].type
            for name in names
        }
    )


def _loses_digits(numbers: pa.ChunkedArray, text: pa.Array) -> bool:
    """Whether integers too large for int64, ids most likely, would become rounded floats."""
    if not pa.types.is_floating(numbers.type):
        return False
    largest = pc.max(pc.abs(numbers)).as_py() or 0
    return largest >= 2.0**63 and pc.any(pc.match_substring_regex(text, _HUGE)).as_py()


def _reason(error: Exception, kinds: Mapping[str, pa.DataType]) -> str:
    """What is wrong with a file, without Arrow's quotation of the row."""
    message = str(error)
    if counts := _COUNTS.search(message):
        row, wanted, found = counts.groups()
        where = f"row {row}" if row else "a row"
        return f"{where} has {found} columns instead of {wanted}; mend it, or give Parquet"
    if column := _COLUMN.search(message):
        index, row, kind = column.groups()
        name = list(kinds)[int(index)]
        if "UTF8" in message:
            return f"column {name!r} is not UTF-8; convert the file, e.g. with iconv"
        return f"column {name!r}: a value is no {kind}; mend it, or give the file as Parquet"
    if isinstance(error, UnicodeDecodeError):
        return "its column names are not UTF-8; convert the file, e.g. with iconv"
    if "straddling" in message:
        return (
            f"a row longer than {BLOCK_BYTES:,} bytes, or a quotation mark that is not closed; "
            "mend it, or give Parquet"
        )
    if "Empty CSV" in message:
        return "no row; give a header and rows"
    return "not valid CSV; mend it, or give Parquet"
