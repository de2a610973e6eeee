"""Columns of a table as what a request may hold: a wrong value is named before it is read."""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any

import pyarrow as pa
from pyarrow import types
from pydantic import BeforeValidator, ConfigDict, Field, FiniteFloat, StrictBool, StrictStr
from typing_extensions import TypedDict

from raclib.errors import UserError

MAX_TEXT = 100_000
MAX_LIST = 100_000


def _text(value: Any) -> Any:
    """A number is no date, though it could be read as one."""
    if value is not None and not isinstance(value, str):
        raise ValueError("give it as ISO text")  # pydantic takes no TypeError
    return value


def _number(value: Any) -> Any:
    """Neither is a text or a boolean a number."""
    if isinstance(value, str | bool):
        raise ValueError("give a number")  # noqa: TRY004
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, str | bool | float):
        raise ValueError("give a whole number")  # noqa: TRY004
    return value


Number = Annotated[FiniteFloat, BeforeValidator(_number)]
Text = Annotated[StrictStr, Field(max_length=MAX_TEXT)]


def row_type(
    name: str, columns: Iterable[pa.Field], required: Iterable[str], optional: Iterable[str]
) -> Any:
    """The type of a row in a request: a dictionary, validated by pydantic.

    Args:
        name: What it is called in the description of the service.
        columns: Those that it has.
        required: Columns that may not be null.
        optional: Columns that may be left out.
    """
    needed, free = set(required), set(optional)
    fields = {}
    for column in columns:
        kind = value_type(column.type)
        fields[column.name] = kind if column.name in needed else kind | None
        if column.name in free:
            # Not `NotRequired`: what is left out is null, so that rows have the same columns.
            fields[column.name] = Annotated[kind | None, Field(default=None)]
    make: Any = TypedDict
    made = make(name, fields)
    made.__pydantic_config__ = ConfigDict(extra="ignore")
    return made


def to_table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Validated rows as a table.

    Raises:
        UserError: naming the column of a value that its type cannot hold.
    """
    arrays = []
    for column in schema:
        values = [row.get(column.name) for row in rows]
        try:
            arrays.append(to_array(values, column.type))
        except (pa.ArrowException, OverflowError, ValueError, TypeError):
            # Their messages would tell the value.
            raise UserError(
                f"rows: column {column.name!r}: a value does not fit {column.type}; mend it"
            ) from None
    return pa.table(arrays, schema=schema)


def to_array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Validated values as an array; raises what Arrow raises if one does not fit."""
    if types.is_timestamp(kind) and not kind.tz:
        # What has a zone means a time in UTC, what has none is UTC already.
        return pa.array(values, pa.timestamp(kind.unit, "UTC")).cast(kind)
    return pa.array(values, kind)


def value_type(kind: pa.DataType) -> Any:
    """The Python type of a value of a column, as pydantic validates it."""
    if types.is_dictionary(kind):
        return value_type(kind.value_type)
    if types.is_integer(kind):
        bits = kind.bit_width - types.is_signed_integer(kind)
        low = -(2**bits) if types.is_signed_integer(kind) else 0
        return Annotated[int, Field(ge=low, le=2**bits - 1), BeforeValidator(_whole)]
    if types.is_floating(kind):
        return Number
    if types.is_boolean(kind):
        return StrictBool
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return Annotated[list[value_type(kind.value_type) | None], Field(max_length=MAX_LIST)]  # type: ignore[misc]
    for is_kind, value in _DATES:
        if is_kind(kind):
            return Annotated[value, BeforeValidator(_text)]
    if types.is_decimal(kind):
        return Annotated[Decimal, Field(max_digits=kind.precision, decimal_places=kind.scale)]
    return Text


_DATES: tuple[tuple[Any, Any], ...] = (
    (types.is_timestamp, datetime),
    (types.is_date, date),
    (types.is_time, time),
    (types.is_duration, timedelta),
)
