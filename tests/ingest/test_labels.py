"""Labels of any type become numbers of classes, the same in every batch."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.errors import UserError
from raclib.ingest.labels import ClassIndex, LabelCounts, class_names


def _index(*batches):
    counts = LabelCounts()
    for batch in batches:
        counts.add(class_names(batch))
    return ClassIndex.of(counts)


@pytest.mark.parametrize(
    ("column", "names", "codes"),
    [
        (pa.array([True, None, False]), ("false", "true"), [1, -1, 0]),
        (pa.array([10, -2, 9, None]), ("-2", "9", "10"), [2, 0, 1, -1]),
        (pa.array([7, 3], pa.uint8()), ("3", "7"), [1, 0]),
        (pa.array([2**64 - 1, 3], pa.uint64()), ("3", str(2**64 - 1)), [1, 0]),
        (pa.array([10.0, -0.0, float("nan"), None]), ("0", "10"), [1, 0, -1, -1]),
        (pa.array([1, 0], pa.float16()), ("0", "1"), [1, 0]),
        (pa.array(["b", "", "a", None, " a"]), (" a", "a", "b"), [2, -1, 1, -1, 0]),
        (pa.array(["10", "9"]), ("9", "10"), [1, 0]),
        (pa.array(["10", "09"]), ("09", "10"), [1, 0]),
        (pa.array(["10", "9", "x"], pa.large_string()), ("10", "9", "x"), [0, 1, 2]),
        (pa.array(["b", "a", None]).dictionary_encode(), ("a", "b"), [1, 0, -1]),
        (pa.array([Decimal(5), Decimal(-1)], pa.decimal128(9, 0)), ("-1", "5"), [1, 0]),
        (pa.chunked_array([["b"], ["a"]]), ("a", "b"), [1, 0]),
    ],
)
def test_every_type_of_label(column, names, codes):
    index = _index(column)
    assert index.names == names
    found = index.encode(column)
    assert found.dtype == np.int16 and found.tolist() == codes


@settings(max_examples=50)
@given(st.lists(st.lists(st.none() | st.integers(-500, 499)), min_size=1))
def test_batches_agree_with_the_whole(batches):
    columns = [pa.array(batch, pa.int64()) for batch in batches]
    labels = [label for batch in batches for label in batch]
    counts = LabelCounts()
    for column in columns:
        counts.add(class_names(column))
    assert counts.num_missing == labels.count(None)
    assert counts.counts.total() + counts.num_missing == len(labels)
    classes = sorted(set(labels) - {None})
    if len(classes) < 2:
        with pytest.raises(UserError, match="at least 2 classes"):
            ClassIndex.of(counts)
        return
    index = ClassIndex.of(counts)
    assert index.names == tuple(map(str, classes))
    found = np.concatenate([index.encode(column) for column in columns])
    assert [None if code < 0 else classes[code] for code in found] == labels


def test_a_thousand_classes_and_no_more():
    numbers = pa.array(range(1000))
    assert _index(numbers).encode(numbers).tolist() == list(range(1000))
    with pytest.raises(UserError, match="1,001 classes already in the first 1,001 labels"):
        _index(numbers, pa.array([1000]))


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array([1, 1, None]), "label: 1 class ('1'), at least 2"),
        (pa.array(["", None]), "no label at all"),
        (pa.nulls(3), "no label at all"),
        (pa.array([0.5, 1.0]), "numbers with fractions; labels are classes"),
        (pa.array([float("inf"), 1.0]), "numbers with fractions"),
        (pa.array([Decimal("0.5")]), "of type decimal128"),
        (pa.array([[1]]), "of type list"),
        (pa.array([1], pa.date32()), "give booleans, integers or strings"),
    ],
)
def test_mistakes_get_one_clear_line(column, wanted):
    with pytest.raises(UserError) as caught:
        _index(column)
    assert wanted in str(caught.value) and "\n" not in str(caught.value)


def test_a_class_that_is_not_known_is_named():
    with pytest.raises(UserError, match="'c' is none of the 2 known classes"):
        _index(pa.array(["a", "b"])).encode(pa.array(["a", "c"]))


def test_missing_labels_are_null():
    assert class_names(pa.array(["a", "", None])).to_pylist() == ["a", None, None]
