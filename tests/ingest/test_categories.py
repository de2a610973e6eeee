"""Categories and ids: the same value is the same, however it is stored and in whatever batch."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raclib.ingest.categories import (
    MAX_CATEGORIES,
    frequent_values,
    to_codes,
    to_hashes,
    to_strings,
)


def chunked(values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize(
    "values",
    [
        chunked([7, None, 12]),
        chunked([7.0, float("nan"), 12.0]),
        chunked(["7", "", "12"]),
        chunked(["7", None, "12"], pa.large_string()),
        chunked([7, None, 12], pa.decimal128(10, 2)),
        chunked([7, None, 12], pa.uint64()),
    ],
    ids=lambda values: str(values.type),
)
def test_equal_ids_are_equal_however_they_are_stored(values):
    assert to_strings(values).to_pylist() == ["7", None, "12"]
    hashes = to_hashes(values)
    np.testing.assert_array_equal(hashes, to_hashes(chunked([7, None, 12])))
    assert hashes[1] == 0
    assert hashes.dtype == np.int64


@given(values=st.lists(st.floats(width=64) | st.none(), min_size=1, max_size=8))
def test_what_a_value_becomes_depends_on_no_other(values):
    together = to_strings(chunked(values, pa.float64())).to_pylist()
    alone = [to_strings(chunked([value], pa.float64()))[0].as_py() for value in values]
    assert together == alone
    different = {0.0 if value == 0 else value for value in values if value is not None}
    different = {value for value in different if abs(value) < float("inf")}
    small = {value for value in different if value == round(value, 3) and abs(value) < 1e9}
    assert len({to_strings(chunked([value]))[0].as_py() for value in small}) == len(small)


def test_large_and_fractional_numbers_stay_apart():
    values = chunked([1e20, 1e21, 7.5, 7.0, -0.0, 0.0, 123456789012.0])
    found = to_strings(values).to_pylist()
    assert found[2:] == ["7.5", "7", "0", "0", "123456789012"]
    assert len(set(found[:2])) == 2


def test_other_types_are_written_out():
    assert to_strings(chunked([True, None])).to_pylist() == ["true", None]
    assert to_strings(chunked([dt.date(2020, 1, 2)])).to_pylist() == ["2020-01-02"]
    assert to_strings(pa.chunked_array([pa.nulls(2)])).to_pylist() == [None, None]


def test_known_values_are_the_most_frequent_ties_by_value():
    values = chunked(["b", "a", "c", "c", None, ""])
    assert frequent_values(values) == ["c", "a", "b"]
    many = [f"{number:04}" for number in range(MAX_CATEGORIES + 5)]
    assert frequent_values(chunked(many)) == many[:MAX_CATEGORIES]


def test_codes_begin_at_one_and_new_or_missing_values_are_nought():
    known = frequent_values(chunked(["b", "b", "a"]))
    codes = to_codes(chunked(["a", "b", "new", None, ""]), known)
    assert codes.dtype == np.int32
    assert codes.tolist() == [2, 1, 0, 0, 0]
    assert to_codes(chunked(["a", None]), []).tolist() == [0, 0]


def test_hashes_of_different_ids_differ_and_are_those_of_any_machine():
    hashes = to_hashes(chunked([str(number) for number in range(10_000)]))
    assert len(set(hashes.tolist())) == 10_000
    assert to_hashes(chunked(["a", "b"])).tolist() == [-4496393130729816112, -5758684491630436641]
    assert to_hashes(chunked([None, None], pa.string())).tolist() == [0, 0]
