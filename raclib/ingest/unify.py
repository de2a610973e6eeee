"""One schema for many files, and batches brought to it."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import pyarrow as pa

from raclib.errors import UserError


def plain(kind: pa.DataType) -> pa.DataType:
    """The type that values of another come as.

    Integers come as int64 (uint64 stays: not all of it would fit), floats as float64, dictionaries
    as their values, all strings as string, times with a zone in UTC. Nested types stay.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return plain(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_integer(kind):
        return kind if kind == pa.uint64() else pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_timestamp(kind) and kind.tz:
        return pa.timestamp(kind.unit, "UTC")
    return kind


def join(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The narrowest plain type that holds two plain types; None if there is none.

    Dates and times without a zone are taken for UTC where others have a zone.
    """
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if _is_time(one) and _is_time(other):
        return _join_times(one, other)
    if {pa.types.is_string(one), pa.types.is_string(other)} == {True, False}:
        return None
    try:
        return pa.unify_schemas(
            [pa.schema({"_": one}), pa.schema({"_": other})], promote_options="permissive"
        )[0].type
    except pa.ArrowTypeError:
        return None


def unify(schemas: Sequence[pa.Schema], names: Sequence[str]) -> pa.Schema:
    """The schema of all files; a column that a file lacks is null there.

    Args:
        schemas: One a file.
        names: What the files are called in errors.

    Raises:
        UserError: if files disagree on a column, or one has a column twice.
    """
    first: dict[str, tuple[pa.DataType, str]] = {}
    for schema, name in zip(schemas, names, strict=True):
        check_names(schema.names, name)
        for field in schema:
            kind = plain(field.type)
            known, where = first.get(field.name, (pa.null(), name))
            joined = join(known, kind)
            if joined is None:
                raise UserError(
                    f"column {field.name!r} is {known} in {where} and {kind} in {name}; give both "
                    "the same type, or leave one file out"
                )
            first[field.name] = (joined, name if pa.types.is_null(known) else where)
    return pa.schema({column: kind for column, (kind, _) in first.items()})


def check_names(columns: Sequence[str], name: str) -> None:
    """Refuses two columns of one name.

    Raises:
        UserError: if there are.
    """
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise UserError(f"{name}: two columns are called {twice[0]!r}; rename one")


def conform(batch: pa.RecordBatch, schema: pa.Schema, name: str) -> pa.RecordBatch:
    """A batch with the columns of a schema, null where it has none.

    Raises:
        UserError: if a value does not fit.
    """
    present = set(batch.schema.names)
    columns = [
        _cast(batch.column(field.name), field, name)
        if field.name in present
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pa.Array, field: pa.Field, name: str) -> pa.Array:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except pa.ArrowException:
        # Arrow's message would tell the value.
        raise UserError(
            f"{name}: column {field.name!r}: a value of type {column.type} does not fit "
            f"{field.type}; mend it, or give all files the same type"
        ) from None


def _is_time(kind: pa.DataType) -> bool:
    return pa.types.is_date(kind) or pa.types.is_timestamp(kind)


def _join_times(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_date(one) and pa.types.is_date(other):
        return pa.date64()
    stamps = [kind for kind in (one, other) if pa.types.is_timestamp(kind)]
    units = chain((kind.unit for kind in stamps), ["ms"] if pa.date64() in (one, other) else [])
    finest = max(units, key=["s", "ms", "us", "ns"].index)
    return pa.timestamp(finest, "UTC" if any(kind.tz for kind in stamps) else None)
