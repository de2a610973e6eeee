"""Splits are disjoint, known before the cutoff, and the test covers every bin."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.errors import UserError
from raclib.tasks.table.config import SplitConfig, TableSplitConfig
from raclib.tasks.table.splits import make_splits

CONFIG = SplitConfig(
    train_examples=30,
    train_history=40,
    validation_examples=10,
    validation_history=15,
    num_bins=5,
    examples_per_bin=20,
)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    ties=st.integers(1, 50),
    delay=st.sampled_from([0, 10, 300]),
    split=st.sampled_from([CONFIG, TableSplitConfig(num_bins=5, examples_per_bin=20).of(100)]),
)
def test_parts_are_known_before_the_cutoff_disjoint_and_never_tested_on(seed, ties, delay, split):
    rng = np.random.default_rng(seed)
    event = rng.integers(0, 1000 // ties, 300) * ties
    time = event + rng.integers(0, delay + 1, 300)
    order = np.argsort(time, kind="stable")
    time, event = time[order], event[order]
    cutoff = int(time[200])
    num_before = int(np.searchsorted(time, cutoff))
    if num_before < 95:
        return
    splits = make_splits(num_before, event, split, seed)
    examples = [splits.train, splits.validation]
    histories = [splits.train_history, splits.validation_history]
    if split is not CONFIG:  # all rows before the cutoff
        assert histories == [None, None]
        histories = []
    assert [len(part) for part in examples] == [split.train_examples, split.validation_examples]
    assert all((time[part] < cutoff).all() for part in (*examples, *histories))
    assert all((np.diff(part) > 0).all() for part in (*examples, *histories))
    if split is CONFIG:
        assert [len(part) for part in histories] == [40, 15]
        assert len(np.unique(np.concatenate([*examples, *histories]))) == 95
    assert not np.isin(splits.test, np.concatenate(examples)).any()
    assert len(np.unique(splits.test)) == len(splits.test)
    low, high = splits.bin_edges[splits.test_bin], splits.bin_edges[splits.test_bin + 1]
    assert ((event[splits.test] >= low) & (event[splits.test] < high)).all()
    rest = np.setdiff1d(np.arange(300), np.concatenate(examples))
    there, _ = np.histogram(event[rest], splits.bin_edges)
    np.testing.assert_array_equal(np.bincount(splits.test_bin, minlength=5), np.minimum(there, 20))


def test_the_same_seed_gives_the_same_splits():
    time = np.arange(500)
    first, again, other = (make_splits(400, time, CONFIG, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.train, again.train)
    np.testing.assert_array_equal(first.test, again.test)
    assert (first.train != other.train).any()


def test_too_few_rows_are_named():
    with pytest.raises(UserError, match=r"need 95 rows before the cutoff, the corpus has 94"):
        make_splits(94, np.arange(300), CONFIG, 0)


@pytest.mark.parametrize(
    ("num_known", "train", "validation"),
    [(2, 1, 1), (1800, 720, 180), (100_000, 8000, 1000)],
)
def test_sizes_are_shares_of_what_was_known_unless_they_are_told(num_known, train, validation):
    sizes = TableSplitConfig().of(num_known)
    assert (sizes.train_examples, sizes.validation_examples) == (train, validation)
    assert sizes.train_history is None is sizes.validation_history
    told = TableSplitConfig(train_examples=5, train_history=6, validation_examples=7).of(num_known)
    assert (told.train_examples, told.train_history, told.validation_examples) == (5, 6, 7)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), num_train=st.integers(1, 100))
def test_only_the_later_half_is_learned_from_where_that_is_wanted(seed, num_train):
    time = np.arange(300)
    config = replace(CONFIG, train_examples=num_train)
    late = make_splits(200, time, config, seed, late_only=True)
    assert len(late.train) == num_train
    assert late.train.min() >= 100
    assert not np.isin(late.validation, late.train).any()
    assert not np.isin(late.test, np.concatenate([late.train, late.validation])).any()


def test_a_half_that_is_too_small_is_named():
    config = replace(CONFIG, train_examples=101)
    with pytest.raises(UserError, match=r"split\.train_examples: 101 is above the 100 rows"):
        make_splits(200, np.arange(300), config, 0, late_only=True)


def test_memory_is_a_few_bytes_a_row(bytes_per_row):
    config = replace(CONFIG, train_history=None, validation_history=None, num_bins=20)

    def split(num_rows):
        event = np.arange(num_rows)
        return lambda: make_splits(num_rows // 2, event, config, 0)

    # The rows of a bin, their times and order, and which rows are candidates and in the bin.
    assert 1 < bytes_per_row(split, (2**22, 2**23)) < 8


def test_all_rows_before_the_cutoff_are_no_list_of_them():
    config = replace(CONFIG, train_history=None)
    splits = make_splits(200, np.arange(300), config, 0)
    assert splits.train_history is None and len(splits.validation_history) == 15
