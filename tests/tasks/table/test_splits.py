"""Splits are disjoint, before the cutoff, and the test covers every bin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raclib.errors import UserError
from raclib.tasks.table.config import SplitConfig
from raclib.tasks.table.splits import make_splits

CONFIG = SplitConfig(
    train_examples=30,
    train_history=40,
    validation_examples=10,
    validation_history=15,
    num_bins=5,
    examples_per_bin=20,
)


@given(seed=st.integers(0, 2**32 - 1), ties=st.integers(1, 50))
def test_parts_before_the_cutoff_are_disjoint_and_never_tested_on(seed, ties):
    time = np.sort(np.random.default_rng(seed).integers(0, 1000 // ties, 300)) * ties
    cutoff = time[200]
    if np.searchsorted(time, cutoff) < 95:
        return
    splits = make_splits(time, cutoff, CONFIG, seed)
    parts = [splits.train, splits.train_history, splits.validation, splits.validation_history]
    assert [len(part) for part in parts] == [30, 40, 10, 15]
    assert len(np.unique(np.concatenate(parts))) == 95
    assert all((time[part] < cutoff).all() and (np.diff(part) > 0).all() for part in parts)
    assert not np.isin(splits.test, np.concatenate([splits.train, splits.validation])).any()
    counts = np.bincount(splits.test_bin, minlength=5)
    assert counts.max() <= 20
    low, high = splits.bin_edges[splits.test_bin], splits.bin_edges[splits.test_bin + 1]
    assert ((time[splits.test] >= low) & (time[splits.test] < high)).all()
    assert (np.diff(splits.test) > 0).all()


def test_the_same_seed_gives_the_same_splits():
    time = np.arange(500)
    first, again, other = (make_splits(time, 400, CONFIG, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.train, again.train)
    np.testing.assert_array_equal(first.test, again.test)
    assert (first.train != other.train).any()


def test_too_few_rows_are_named():
    with pytest.raises(UserError, match=r"need 95 rows before the cutoff, the corpus has 94"):
        make_splits(np.arange(300), 94, CONFIG, 0)
