"""Rows of JSON lines; the types of columns are those of the whole file, not of its beginning."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
from pyarrow import json

from raclib.corpus.urls import public_name
from raclib.errors import UserError
from raclib.ingest.text import BLOCK_BYTES, Remark, ignore, open_text
from raclib.ingest.unify import join
from raclib.run.terminal import warn

_CHANGED = re.compile(r"Column\(/?(.*?)\) changed from (\w+) to (\w+)")
_TWICE = re.compile(r"Column\(/?(.*?)\) was specified twice")
_ROW = re.compile(r"in row (\d+)")


@dataclass(frozen=True)
class JsonReader:
    """Rows of JSON lines, one object a row; what an object lacks is null."""

    uri: str
    compression: str | None

    def schema(self) -> pa.Schema:
        """Columns, and types that hold all their values; reads the whole file."""
        kinds: dict[str, pa.DataType] = {}
        for table in self._tables(None, warn):
            for field in table.schema:
                kinds[field.name] = self._joined(field, kinds.get(field.name, pa.null()))
        return pa.schema(kinds)

    def batches(
        self, schema: pa.Schema, columns: Sequence[str], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Rows, a block at a time."""
        wanted = pa.schema([schema.field(name) for name in columns])
        for table in self._tables(wanted):
            yield from table.to_batches(batch_rows)

    def _joined(self, field: pa.Field, known: pa.DataType) -> pa.DataType:
        kind = join(known, field.type)
        if kind is None and {known, field.type} & {pa.string()} and _is_text(known, field.type):
            # Strings that look like times in one block only.
            return pa.string()
        if kind is None:
            raise UserError(
                f"{public_name(self.uri)}: column {field.name!r} changes from {known} to "
                f"{field.type}; mend it, or give the file as Parquet"
            )
        return kind

    def _tables(self, schema: pa.Schema | None, remark: Remark = ignore) -> Iterator[pa.Table]:
        """Tables of whole lines, of the types that Arrow finds or of those given."""
        behaviour = "ignore" if schema is not None else "infer"
        parse = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=behaviour)
        num_rows = 0
        with open_text(self.uri, self.compression, remark) as file:
            for block in _blocks(file):
                with self._clear_errors(num_rows):
                    table = json.read_json(
                        pa.BufferReader(block), json.ReadOptions(block_size=len(block) + 1), parse
                    )
                    table.validate(full=True)
                num_rows += table.num_rows
                yield table

    @contextmanager
    def _clear_errors(self, num_rows: int) -> Iterator[None]:
        try:
            yield
        except pa.ArrowException as error:
            reason = _reason(str(error), num_rows)
            raise UserError(f"{public_name(self.uri)}: {reason}") from None


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file in pieces of whole lines."""
    rest = b""
    while piece := file.read(BLOCK_BYTES):
        lines, newline, tail = piece.rpartition(b"\n")
        if newline:
            yield rest + lines + newline
            rest = tail
        else:
            rest += piece
    if rest.strip():
        yield rest


def _is_text(*kinds: pa.DataType) -> bool:
    """Whether JSON has values of these types as strings."""
    return all(pa.types.is_string(kind) or pa.types.is_timestamp(kind) for kind in kinds)


def _reason(message: str, num_rows: int) -> str:
    """What is wrong with a file, without Arrow's quotation of it."""
    row = _ROW.search(message)
    where = f"row {num_rows + int(row[1]) + 1:,}" if row else "a row"
    if changed := _CHANGED.search(message):
        column, old, new = changed.groups()
        if not column:
            return f"{where} is of type {new}; give one object a line"
        return (
            f"{where}: column {column!r} changes from {old} to {new}; mend it, or give the file "
            "as Parquet"
        )
    if twice := _TWICE.search(message):
        return f"{where}: two values are called {twice[1]!r}; rename one"
    if "UTF8" in message:
        return "it is not UTF-8; convert the file, e.g. with iconv"
    if "couldn't parse" in message:
        return "a value changes its type; mend it, or give the file as Parquet"
    return f"{where} is not valid JSON; give one object a line"
