"""What columns hold, seen batch by batch."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from raclib.ingest.survey import MAX_DISTINCT, ColumnSurvey, survey


def look(*batches: pa.Array) -> ColumnSurvey:
    found = ColumnSurvey("x", batches[0].type)
    for batch in batches:
        found.add(batch)
    return found


def test_missing_values_are_null_nan_infinite_and_empty():
    floats = look(pa.array([1.0, None, float("nan")]), pa.array([float("inf"), 2.0, 1.0]))
    assert (floats.num_rows, floats.num_missing, floats.num_distinct) == (6, 3, 2)
    texts = look(pa.array(["a", "", None, "a"]))
    assert (texts.num_missing, texts.num_distinct) == (2, 1)
    assert texts.missing == 0.5


def test_distinct_values_are_those_of_all_batches_and_stop_being_counted():
    found = look(pa.array([1, 2, 2]), pa.array([2, 3]))
    assert found.num_distinct == 3
    assert not found.differs_always
    assert look(pa.array([1, 2]), pa.array([3])).differs_always
    numbers = np.arange(3 * MAX_DISTINCT)
    many = look(*(pa.array(part) for part in np.split(numbers, 30)))
    assert many.has_many
    assert many.num_distinct < 2 * MAX_DISTINCT, "counting did not stop"
    assert many.differs_always


def test_words_lengths_and_whole_numbers():
    assert look(pa.array(["one two three", "four", None])).words == 2
    assert look(pa.array([[1.0], [1.0, 2.0]]), pa.array([[1.0, 2.0, 3.0]])).sizes == {1, 2}
    assert look(pa.array([[1.0], None])).sizes == {1}
    assert look(pa.array([1.0, float("nan"), 1e300])).is_whole
    assert not look(pa.array([1.0]), pa.array([1.5])).is_whole


@pytest.mark.parametrize(
    "values",
    [
        pa.nulls(2),
        pa.array([b"a", b"\xff"]),
        pa.array([b"aa", b"ab"], pa.binary(2)),
        pa.array([{"a": 1}, None]),
        pa.array([[{"a": 1}], None]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([None, None], pa.list_(pa.float64(), 2)),
        pa.array([1, None], pa.decimal256(50, 2)),
        pa.array([dt.time(1), None]),
        pa.array([dt.timedelta(1), None]),
        pa.array([dt.datetime(2020, 1, 1)], pa.timestamp("ms", "UTC")),
        pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
        pa.array([True, None]),
    ],
    ids=lambda values: str(values.type),
)
def test_any_type_can_be_looked_at(values):
    found = survey([pa.record_batch({"x": values})] * 2, pa.schema({"x": values.type}))["x"]
    assert found.num_rows == 2 * len(values)
    assert found.num_missing == 2 * values.null_count
