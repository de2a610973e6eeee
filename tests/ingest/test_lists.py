"""Lists of numbers as matrices."""

import numpy as np
import pyarrow as pa
import pytest

from raclib.errors import UserError
from raclib.ingest.lists import list_width, to_matrix


def chunked(values, kind=None):
    return pa.chunked_array([pa.array(part, kind) for part in values])


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float64()),
        pa.large_list(pa.float64()),
        pa.list_(pa.int64()),
        pa.list_(pa.int32(), 2),
        pa.list_(pa.decimal128(12, 2)),
    ],
    ids=str,
)
def test_every_kind_of_list_is_a_matrix_with_missing_rows_apart(kind):
    values = chunked([[[1, 2], None], [[3, 16_777_217]]], kind)
    assert list_width("x", values) == 2
    found = to_matrix("x", values, 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[1, 2], [np.nan, np.nan], [3, 16_777_217]], rtol=1e-6)


def test_a_slice_and_a_missing_number():
    values = chunked([[[9.0, 9.0], [1.0, None], None]]).slice(1)
    np.testing.assert_array_equal(to_matrix("x", values, 2), [[1, np.nan], [np.nan, np.nan]])


def test_plain_numbers_are_lists_of_one():
    values = chunked([[0.25, None]])
    assert list_width("x", values) == 1
    np.testing.assert_array_equal(to_matrix("x", values, 1), [[0.25], [np.nan]])


def test_other_lengths_are_one_line():
    with pytest.raises(UserError, match=r"column 'x': lists of 2 different lengths; give one"):
        list_width("x", chunked([[[1.0], [1.0, 2.0]]]))
    with pytest.raises(UserError, match=r"column 'x': lists of \[3\] numbers, before it was 2"):
        to_matrix("x", chunked([[[1.0, 2.0, 3.0]]]), 2)
