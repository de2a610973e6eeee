"""Numbers, dates and times as normal numbers."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, spearmanr

from raclib.ingest.numbers import ROW_TIME, NumberEncoder, to_numbers

DAY = dt.datetime(2020, 1, 10)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, None, 2**60 + 1]), [1, np.nan, 2.0**60]),
        (pa.array([2**64 - 1, 0, None], pa.uint64()), [2.0**64, 0, np.nan]),
        (pa.array([1.5, float("nan"), -float("inf")]), [1.5, np.nan, np.nan]),
        (pa.array([True, False, None]), [1, 0, np.nan]),
        (pa.array([1, 2, None], pa.decimal128(10, 2)), [1, 2, np.nan]),
        (pa.array([dt.date(2020, 1, 1), None, dt.date(2020, 1, 12)]), [-9, np.nan, 2]),
        (pa.array([DAY, DAY - dt.timedelta(hours=12), None]), [0, -0.5, np.nan]),
        (pa.array([DAY, None, DAY], pa.timestamp("ns", "UTC")), [0, np.nan, 0]),
        (pa.array([dt.time(1), None, dt.time(0, 1)]), [3600, np.nan, 60]),
        (pa.array([dt.timedelta(seconds=1.5), None, dt.timedelta(0)]), [1.5, np.nan, 0]),
        (pa.array([1, 2, 3], pa.time32("s")), [1, 2, 3]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_every_kind_is_a_float(values, expected):
    own = pa.array([int(DAY.replace(tzinfo=dt.UTC).timestamp() * 1000)] * 3)
    table = pa.table({"x": values, ROW_TIME: own})
    np.testing.assert_allclose(to_numbers(table, "x"), expected)


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(
        st.floats(-1e300, 1e300) | st.just(float("nan")), min_size=2, max_size=60
    ).filter(lambda values: len({value for value in values if value == value}) > 1)
)
def test_numbers_keep_their_order_and_missing_ones_are_flagged(values):
    column = np.array(values)
    encoder = NumberEncoder.fit({"x": column})
    found = encoder.encode({"x": column}).astype(np.float64)
    missing = np.isnan(column)
    assert found.shape == (len(column), encoder.dim) == (len(column), 1 + missing.any())
    assert np.isfinite(found).all()
    order = np.argsort(column[~missing], kind="stable")
    assert (np.diff(found[~missing, 0][order]) >= -2e-3).all()
    assert (found[missing, 0] == 0).all()
    if missing.any():
        np.testing.assert_array_equal(found[:, 1], missing)


def test_a_normal_column_stays_about_what_it_is():
    column = norm.ppf((np.arange(5000) + 0.5) / 5000)
    found = NumberEncoder.fit({"x": column}).encode({"x": column})[:, 0]
    assert np.abs(found - column)[10:-10].max() < 0.05


def test_numbers_beyond_those_fitted_on_are_at_the_end():
    encoder = NumberEncoder.fit({"x": np.arange(10.0)})
    low, high, missing = encoder.encode({"x": np.array([-1e9, 1e9, np.nan])})
    assert low[0] == -high[0] < -4
    assert missing[0] == 0, "no missing value was seen, so there is no flag, and it is average"


def test_places_are_those_of_the_columns_then_the_flags():
    columns = {
        "a": np.array([1.0, 2, 3]),
        "b": np.array([np.nan, 2, 1]),
        "c": np.array([3.0, 2, 1]),
    }
    found = NumberEncoder.fit(columns).encode(columns)
    assert found.shape == (3, 4)
    assert spearmanr(found[:, 0], columns["a"])[0] == 1
    assert spearmanr(found[:, 2], columns["c"])[0] == 1
    np.testing.assert_array_equal(found[:, 3], [1, 0, 0])
