"""A base that is fitted again never sees a label before it was known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from raclib.models.base import BaseConfig, Features, out_of_fold
from raclib.models.base.refit import (
    LabelledRows,
    RefitBase,
    refit_base,
    refit_times,
    rows_of_refits,
)

NUM_CLASSES, CUTOFF, END = 3, 20, 50


@dataclass(frozen=True)
class Rates:
    """Answers every row with the rates of the labels it was fitted on."""

    label: np.ndarray

    def log_probs(self, features):
        count_C = np.bincount(self.label, minlength=NUM_CLASSES) + 1.0
        return np.tile(np.log(count_C / count_C.sum()), (len(features), 1))


@dataclass(frozen=True)
class Never:
    """Stands in for what answers before the first refit."""

    def log_probs(self, read, rows):
        return np.full((len(rows), NUM_CLASSES), -1.0)


def read(rows):
    return Features(np.zeros((len(rows), 1), np.float32), np.zeros((len(rows), 0), np.int32))


@st.composite
def tables(draw):
    """Rows in the order of their label's time, with ties, delays and missing labels."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    num = draw(st.integers(1, 40))
    event = rng.integers(0, END + 1, num)
    known = event + rng.integers(0, draw(st.integers(1, 30)), num)
    order = np.argsort(known, kind="stable")
    label = rng.integers(-1, NUM_CLASSES, num)
    return LabelledRows(read, label, known[order], event[order], NUM_CLASSES)


def answers(data: LabelledRows, num_refits: int, last: int | None) -> np.ndarray:
    times_R = refit_times(CUTOFF, END, num_refits)
    parts = rows_of_refits(data, times_R, last, max_rows=10, seed=0)
    fitted = refit_base(
        Never(), times_R, parts, lambda parts: [Rates(data.label[p]) for p in parts]
    )
    return fitted.log_probs(data, np.arange(len(data.label)))


def sees_the_future(data: LabelledRows, num_refits: int, last: int | None) -> bool:
    """Whether an answer changes with labels that were not known before its row happened."""
    found = answers(data, num_refits, last)
    for row, event in enumerate(data.event):
        hidden = (data.known >= event) & (data.label >= 0)
        garbled = replace(data, label=np.where(hidden, (data.label + 1) % NUM_CLASSES, data.label))
        if not np.array_equal(answers(garbled, num_refits, last)[row], found[row]):
            return True
    return False


SETTINGS = {"num_refits": st.integers(1, 8), "last": st.sampled_from([None, 1, 5])}


@settings(deadline=None)
@given(data=tables(), **SETTINGS)
def test_no_refit_sees_a_label_that_was_not_known(data, num_refits, last):
    assert not sees_the_future(data, num_refits, last)


@pytest.mark.parametrize("slip", ["label known at the refit", "refit after the row"])
def test_a_planted_off_by_one_is_seen(slip, monkeypatch):
    if slip == "label known at the refit":
        has_label = LabelledRows.has_label
        monkeypatch.setattr(LabelledRows, "has_label", lambda self, time: has_label(self, time + 1))
    else:
        late = RefitBase.log_probs

        def log_probs(self, data, rows):
            return late(replace(self, times_R=self.times_R - 1), data, rows)

        monkeypatch.setattr(RefitBase, "log_probs", log_probs)
    assert find(
        st.tuples(tables(), st.integers(1, 8)), lambda pair: sees_the_future(*pair, last=None)
    )


@settings(deadline=None)
@given(data=tables(), last=st.integers(1, 5))
def test_rows_are_the_last_known_ones(data, last):
    for time in range(END):
        known = [i for i in range(len(data.label)) if data.known[i] < time and data.label[i] >= 0]
        for number, expected in ((None, known), (last, known[-last:])):
            (found,) = rows_of_refits(data, np.array([time]), number, max_rows=100, seed=0)
            assert found.tolist() == expected


def test_many_rows_are_drawn_and_ascend():
    label, time = np.zeros(100, np.int64), np.arange(100)
    data = LabelledRows(read, label, time, time, 2)
    first, second = rows_of_refits(data, np.array([50, 100]), None, max_rows=60, seed=0)
    assert first.tolist() == list(range(50))
    assert len(second) == 60 == len(set(second.tolist()))
    assert (np.diff(second) > 0).all()


def test_each_row_is_answered_by_the_last_fit_before_it():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(300, 2)).astype(np.float32)
    rows = Features(numbers, np.zeros((300, 0), np.int32))
    label, time = (numbers[:, 0] > 0).astype(np.int64), np.arange(300)
    data = LabelledRows(rows.take, label, time, time, 2)
    first = out_of_fold(BaseConfig(), rows.take, label, 2, time < 100, 0)
    times_R = refit_times(100, 300, 2)
    assert times_R.tolist() == [100, 200]
    bases = [first.base, first.by_fold[0]]
    fitted = refit_base(first, times_R, [np.arange(100), np.arange(200)], lambda _: bases)
    ids = rng.permutation(300)
    found = fitted.log_probs(data, ids)
    before, middle, late = ids < 100, (ids >= 100) & (ids < 200), ids >= 200
    assert found.dtype == np.float32
    assert np.allclose(found[before], first.log_probs(rows.take, ids[before]), atol=1e-6)
    for part, base in ((middle, bases[0]), (late, bases[1])):
        assert np.allclose(found[part], base.log_probs(rows.take(ids[part])), atol=1e-6)


def test_where_nothing_was_known_what_was_there_stays_in_force():
    event = np.array([0, 25, 45])
    data = LabelledRows(read, np.array([0, 1, -1]), event + 4, event, NUM_CLASSES)
    times_R = np.array([2, 27, 40])
    parts = rows_of_refits(data, times_R, None, 10, 0)
    fitted = refit_base(
        Never(), times_R, parts, lambda parts: [Rates(data.label[p]) for p in parts]
    )
    assert fitted.times_R.tolist() == [27, 40]
    assert (fitted.log_probs(data, np.array([1])) == -1).all()


@pytest.mark.parametrize("last", [None, 1000])
def test_memory_is_a_few_bytes_a_row(bytes_per_row, last):
    def draw(num_rows):
        label, time = (np.arange(num_rows) % 4 - 1).astype(np.int16), np.arange(num_rows)
        data = LabelledRows(read, label, time, time, 3)
        times_R = refit_times(num_rows // 2, num_rows, 8)
        return lambda: rows_of_refits(data, times_R, last, max_rows=500, seed=0)

    assert bytes_per_row(draw) < 3
