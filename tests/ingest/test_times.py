"""Whatever a time comes as, it is the same millisecond."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.errors import UserError
from raclib.ingest.times import to_milliseconds

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
UNITS = {"s": 1000, "ms": 1, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000, "row": 1}
moments = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2250, 1, 1))
zones = st.none() | st.integers(-14 * 60, 14 * 60).map(
    lambda minutes: dt.timezone(dt.timedelta(minutes=minutes))
)


def _floor(moment):
    """Milliseconds of a time, rounded down; UTC where it has no zone."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return (moment - EPOCH) // dt.timedelta(milliseconds=1)


def _times(column, time_unit=None):
    times, is_missing = to_milliseconds(column, time_unit)
    assert times.dtype == np.int64 and is_missing.dtype == bool
    assert not times[is_missing].any()
    return [None if m else int(t) for t, m in zip(times, is_missing, strict=True)]


@given(st.lists(st.none() | moments), st.sampled_from(["us", "ns"]), st.booleans())
def test_timestamps(values, unit, has_zone):
    zone = "Europe/Berlin" if has_zone else None
    column = pa.array(values, pa.timestamp(unit)).cast(pa.timestamp(unit, "UTC"))
    column = column.cast(pa.timestamp(unit, zone)) if zone else column
    assert _times(column) == [v and _floor(v) for v in values]


@given(st.lists(st.none() | moments), st.sampled_from(["s", "ms"]))
def test_coarse_timestamps_and_pandas(values, unit):
    times = pd.Series(values, dtype=f"datetime64[{unit}]")
    wanted = [None if pd.isna(v) else _floor(v.to_pydatetime()) for v in times]
    assert _times(pa.array(times)) == wanted


@given(st.lists(st.none() | st.dates()))
def test_dates(values):
    wanted = [v and _floor(dt.datetime(v.year, v.month, v.day)) for v in values]
    for kind in (pa.date32(), pa.date64()):
        assert _times(pa.array(values, kind)) == wanted


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.datetimes(dt.datetime(1000, 1, 2), dt.datetime(9999, 12, 30)),
            zones,
            st.sampled_from("T "),
            st.sampled_from(["auto", "minutes", "seconds", "milliseconds"]),
        )
    ),
    st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]),
)
def test_iso_text_with_and_without_zones_mixed(values, kind):
    text, wanted = [], []
    for moment, zone, separator, precision in values:
        text.append(moment.replace(tzinfo=zone).isoformat(separator, precision))
        wanted.append(_floor(dt.datetime.fromisoformat(text[-1])))
    assert _times(pa.array(text, kind)) == wanted
    assert _times(pa.array(text, pa.string()).dictionary_encode()) == wanted


def test_kinds_of_text():
    text = {
        "2011-04-05": 1301961600000,
        "2011-04-05T10:00Z": 1301997600000,
        "2011-04-05 10:00:00.123999999+02:00": 1301990400123,
        "20110405T100000": 1301997600000,
        "1969-12-31T23:59:59.9999": -1,
        **dict.fromkeys(["", "x", "now", "today", "NaT", "nan", "2011", "20110405", "1301961600"]),
        **dict.fromkeys(["2011-02-30", "2011-13-01", "04/05/2011", "2011-04-05T25:00", "10:00"]),
    }
    assert dict(zip(text, _times(pa.array(text)), strict=True)) == text
    assert _times(pa.array(["x", None])) == [None, None]
    assert _times(pa.nulls(2)) == [None, None]
    assert _times(pa.chunked_array([["2011-04-05"], [], ["x"]])) == [1301961600000, None]
    assert _times(pa.array([], pa.string())) == []


@given(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)), st.sampled_from([*UNITS, "us", "ns"])
)
def test_integers(values, unit):
    def milliseconds(value):
        if unit in UNITS:
            found = value * UNITS[unit]
            return found if abs(found) < 2**63 else None
        return value // {"us": 1000, "ns": 10**6}[unit]

    wanted = [
        None if v is None or (v == -(2**63) and unit in UNITS) else milliseconds(v) for v in values
    ]
    assert _times(pa.array(values, pa.int64()), unit) == wanted


def test_other_numbers():
    assert _times(pa.array([1, 2**64 - 1], pa.uint64()), "s") == [1000, None]
    assert _times(pa.array([2**60 + 1], pa.uint64()), "ms") == [2**60 + 1]
    assert _times(pa.array([-2], pa.int8()), "day") == [-2 * 86_400_000]
    floats = pa.array([1.0, None, float("nan"), float("inf"), 1e300, -3.0])
    assert _times(floats, "s") == [1000, None, None, None, None, -3000]
    decimals = pa.array([Decimal(7), None, Decimal(10**30)], pa.decimal128(38, 2))
    assert _times(decimals, "s") == [7000, None, None]


@pytest.mark.parametrize(
    ("column", "unit", "wanted"),
    [
        (pa.array([1.5]), "s", "numbers with fractions"),
        (pa.array([Decimal("1.5")]), "s", "numbers with fractions"),
        (pa.array([1]), "week", "time_unit: 'week'; choose ns, us"),
        (pa.array(["2011-01-01"]), "s", "'time' is string, not numbers"),
        (pa.array([1], pa.timestamp("s")), "s", "leave it out"),
        (pa.array([True]), None, "of type bool; give timestamps"),
        (pa.array([1], pa.time32("s")), None, "of type time32"),
        (
            pa.array([1301961600, 1350000000]),
            None,
            "'s': 2011-04-05 to 2012-10-12; give --time_unit s",
        ),
        (pa.array([1301961600000]), None, "give --time_unit ms"),
        (pa.array([1301961600000000.0]), None, "give --time_unit us"),
        (pa.array([1301961600000000000]), None, "give --time_unit ns"),
        (pa.array([21699360]), None, "give --time_unit minute"),
        (pa.array([361656]), None, "give --time_unit hour"),
        (pa.array([15069]), None, "give --time_unit day"),
        (pa.array([0, 45311]), None, "row if they only order"),
        (pa.array([None], pa.int64()), None, "give --time_unit (ns, us"),
    ],
)
def test_mistakes_get_one_clear_line(column, unit, wanted):
    with pytest.raises(UserError) as caught:
        to_milliseconds(column, unit)
    assert wanted in str(caught.value) and "\n" not in str(caught.value)
