"""Columns of time as milliseconds since 1970."""

from typing import Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from raclib.errors import UserError

TimeUnit = Literal["ns", "us", "ms", "s", "minute", "hour", "day", "row"]
"""What a number counts; `row` is any order of rows, taken for milliseconds."""

# Nanoseconds of a unit.
_SCALES = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "minute": 60 * 10**9,
    "hour": 3600 * 10**9,
    "day": 86_400 * 10**9,
    "row": 10**6,
}
_MS = _SCALES["ms"]
# Numbers that a unit puts into these years are taken to be of this unit: no two units fit then.
_PLAUSIBLE_MS = (np.datetime64("1980-01-01", "ms"), np.datetime64("2100-01-01", "ms"))
# pandas would read `now`, and digits without a hyphen could be numbers.
_ISO = r"^\s*\d{4}-?\d{2}.*[^\d\s]"
_TOO_FINE = r"(\.\d{3})\d+"


def to_milliseconds(
    column: pa.Array | pa.ChunkedArray, time_unit: str | None = None, name: str = "time"
) -> tuple[np.ndarray, np.ndarray]:
    """Times of a column in milliseconds since 1970 in UTC; finer ones are rounded down.

    Args:
        column: N timestamps or dates, ISO 8601 text, or whole numbers (integers, floats, decimals).
            What has no zone is UTC. Text without a date, or of digits alone, is no time.
        time_unit: What numbers count, a `TimeUnit`; None for timestamps, dates and text.
        name: What the column is called in errors.

    Returns:
        times_N: int64; 0 where there is none.
        is_missing_N: bool; null, NaN, text that is no time, or beyond what int64 holds.

    Raises:
        UserError: if the unit is unknown, missing for numbers or given for anything else, numbers
            are not whole, or the type is none of these.
    """
    if time_unit is not None and time_unit not in _SCALES:
        raise UserError(f"time_unit: {time_unit!r}; choose {', '.join(get_args(TimeUnit))}")
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        return np.zeros(len(column), np.int64), np.ones(len(column), bool)
    if is_number(column.type):
        numbers_N, is_missing_N = _whole_numbers(column, name)
        if time_unit is None:
            raise UserError(f"{name}: {_advice(numbers_N[~is_missing_N])}")
        return _scaled(numbers_N, is_missing_N, _SCALES[time_unit])
    if time_unit is not None:
        raise UserError(
            f"time_unit: {time_unit!r}, but {name!r} is {column.type}, not numbers; leave it out"
        )
    return _from_dates(column, name)


def is_number(kind: pa.DataType) -> bool:
    """Whether values of a type are numbers that need a unit to be times."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _from_dates(column: pa.Array, name: str) -> tuple[np.ndarray, np.ndarray]:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _from_text(column)
    if pa.types.is_date(kind):
        column = column.cast(pa.date64()).cast(pa.int64())
        return _scaled(*_filled(column), _MS)
    if pa.types.is_timestamp(kind):
        return _scaled(*_filled(column.cast(pa.int64())), _SCALES[kind.unit])
    raise UserError(
        f"{name}: of type {kind}; give timestamps, dates, ISO text, or whole numbers with time_unit"
    )


def _from_text(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    text = column.cast(pa.string())
    text = pc.if_else(pc.match_substring_regex(text, _ISO), text, None)
    # Digits are cut rather than rounded, and centuries far from today fit.
    text = pc.replace_substring_regex(text, _TOO_FINE, r"\1")
    times = pd.to_datetime(text.to_pandas(), format="ISO8601", utc=True, errors="coerce")
    return _scaled(*_filled(pa.array(times.dt.as_unit("ms")).cast(pa.int64())), _MS)


def _whole_numbers(column: pa.Array, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers as int64, and which of them are missing or do not fit."""
    if column.type == pa.uint64() or not pa.types.is_integer(column.type):
        floats = column.cast(pa.float64(), safe=False)
        # 2**63 itself is a float, the largest int64 is not.
        fits = pc.and_(pc.greater_equal(floats, -(2.0**63)), pc.less(floats, 2.0**63))
        column = pc.if_else(fits, column, None)
        is_integer = pa.types.is_integer(column.type)
        if not is_integer and pc.any(pc.not_equal(column, pc.floor(column))).as_py():
            raise UserError(
                f"{name}: numbers with fractions; give timestamps, or whole numbers of a finer unit"
            )
    return _filled(column.cast(pa.int64()))


def _filled(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    is_missing_N = column.is_null().to_numpy(zero_copy_only=False)
    return column.fill_null(0).to_numpy(), is_missing_N


def _scaled(
    numbers_N: np.ndarray, is_missing_N: np.ndarray, scale: int
) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of numbers that count so many nanoseconds."""
    if scale < _MS:
        return numbers_N // (_MS // scale), is_missing_N
    factor = scale // _MS
    most = np.iinfo(np.int64).max // factor
    is_missing_N = is_missing_N | (numbers_N > most) | (numbers_N < -most)
    return np.where(is_missing_N, 0, numbers_N) * factor, is_missing_N


def _advice(numbers_K: np.ndarray) -> str:
    """Which unit numbers could be of, judged by the years that they give."""
    ask = f"numbers; give --time_unit ({', '.join(get_args(TimeUnit))})"
    if not len(numbers_K):
        return ask
    ends = np.array([numbers_K.min(), numbers_K.max()])
    for unit in ("s", "ms", "us", "ns", "minute", "hour", "day"):
        times, is_missing = _scaled(ends, np.zeros(2, bool), _SCALES[unit])
        first, last = dates = times.astype("datetime64[ms]")
        if not is_missing.any() and (dates >= _PLAUSIBLE_MS[0]).all() and last < _PLAUSIBLE_MS[1]:
            return (
                f"numbers that look like unit {unit!r}: {first.astype('datetime64[D]')} to "
                f"{last.astype('datetime64[D]')}; give --time_unit {unit}"
            )
    return f"{ask}; none makes all of them dates of 1980 to 2099: row if they only order the rows"
