"""Scores out of fold: nothing that is fitted saw the row's label, nor one that was not known."""

import pickle

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from raclib.errors import UserError
from raclib.models.base import BaseConfig, Features, out_of_fold

SMALL = {"width": 8, "max_epochs": 2, "max_rounds": 4, "num_folds": 3}


def make_features(num_rows: int, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    categories = rng.integers(0, 4, (num_rows, 1)).astype(np.int32)
    return Features(rng.standard_normal((num_rows, 3)).astype(np.float32), categories, (4,))


def scores(config: BaseConfig, rows: Features, label, num_classes: int, known) -> tuple:
    """Everything that comes of a fit, as bytes, and the scores."""
    fitted = out_of_fold(config, rows.take, label, num_classes, known, seed=0)
    files = [base.to_bytes() for base in (fitted.base, *fitted.by_fold)]
    return files, fitted.log_probs(rows.take, np.arange(len(label)))


@pytest.mark.parametrize("kind", ["linear", "mlp", "lightgbm"])
# A counterexample says enough; shrinking it would fit for minutes.
@settings(max_examples=5, deadline=None, phases=[Phase.generate])
@given(
    seed=st.integers(0, 10**6),
    num_classes=st.integers(2, 6),
    share=st.floats(0.4, 0.9),
    garble=st.sampled_from(["permute", "new", "none"]),
)
def test_labels_that_were_not_known_change_nothing(kind, seed, num_classes, share, garble):
    rng = np.random.default_rng(seed)
    rows, config = make_features(60, seed), BaseConfig(kind=kind, **SMALL)
    label = rng.integers(-1, num_classes, 60)
    # Not only a prefix: rows of unknown label may lie anywhere.
    known = rng.random(60) < share
    sentinel = label.copy()
    hidden = np.flatnonzero(~known)
    if garble == "permute":
        sentinel[hidden] = rng.permutation(label[hidden])
    else:
        sentinel[hidden] = num_classes - 1 if garble == "new" else -1
    first = scores(config, rows, label, num_classes, known)
    second = scores(config, rows, sentinel, num_classes, known)
    assert first[0] == second[0]
    assert first[1].tobytes() == second[1].tobytes()


def test_the_later_half_is_scored_by_the_earlier_half_alone():
    rows, rng = make_features(60, 1), np.random.default_rng(1)
    label, known = rng.integers(0, 2, 60), np.arange(60) < 45
    config = BaseConfig(unseen="earlier", **SMALL)
    fitted = out_of_fold(config, rows.take, label, 2, known, 0)
    assert len(fitted.by_fold) == 4
    assert (fitted.fold_N[22:45] == 3).all()
    assert set(fitted.fold_N[:22]) == {0, 1, 2}
    before = scores(config, rows, label, 2, known)[1]
    # Labels of the later half are seen by the classifier of the rows after the cutoff alone.
    changed = label.copy()
    changed[22:45] = 1 - label[22:45]
    after = scores(config, rows, changed, 2, known)[1]
    assert np.array_equal(after[:45], before[:45])
    assert not np.array_equal(after[45:], before[45:])
    # A row of the earlier half says nothing of itself, and something of the later ones.
    changed = label.copy()
    changed[5] = 1 - label[5]
    after = scores(config, rows, changed, 2, known)[1]
    assert np.array_equal(after[5], before[5])
    assert not np.array_equal(after[22:45], before[22:45])


@pytest.mark.parametrize("kind", ["linear", "lightgbm"])
def test_no_row_is_scored_by_a_fit_that_saw_its_label(kind):
    rows, rng = make_features(60, 1), np.random.default_rng(1)
    label, known = rng.integers(0, 2, 60), np.arange(60) < 45
    config = BaseConfig(kind=kind, **SMALL)
    before = scores(config, rows, label, 2, known)[1]
    for row in (0, 17, 44):
        changed = label.copy()
        changed[row] = 1 - label[row]
        after = scores(config, rows, changed, 2, known)[1]
        assert np.array_equal(after[row], before[row])
        assert not np.array_equal(after, before)


def test_rows_are_scored_in_any_order_and_piece():
    rows, rng = make_features(20_000, 0), np.random.default_rng(0)
    label = rng.integers(-1, 3, 20_000)
    seen: list[int] = []

    def read(ids: np.ndarray) -> Features:
        seen.append(len(ids))
        return rows.take(ids)

    config = BaseConfig(max_rows=500, num_folds=2)
    fitted = out_of_fold(config, read, label, 3, np.arange(20_000) < 15_000, 0)
    assert seen == [500] * 3
    ids = rng.permutation(20_000)
    found = fitted.log_probs(read, ids)
    assert max(seen) <= 8192
    again = pickle.loads(pickle.dumps(fitted)).log_probs(rows.take, np.arange(20_000))
    assert np.allclose(found, again[ids], atol=1e-6)
    late = np.arange(15_000, 20_000)
    expected = fitted.base.log_probs(rows.take(late))
    assert np.allclose(again[late], expected, atol=1e-6)
    assert (fitted.fold_N[label < 0] == -1).all()
    assert (fitted.fold_N[late] == -1).all()
    assert np.allclose(again[label < 0], fitted.base.log_probs(rows.take(label < 0)), atol=1e-6)


def test_folds_are_even_and_seeded():
    rows, label, known = make_features(103, 0), np.zeros(103, np.int64), np.ones(103, bool)
    label[::2] = 1
    fold_N = out_of_fold(BaseConfig(), rows.take, label, 2, known, 0).fold_N
    assert sorted(np.bincount(fold_N).tolist()) == [20, 20, 21, 21, 21]
    assert not np.array_equal(
        fold_N, out_of_fold(BaseConfig(), rows.take, label, 2, known, 1).fold_N
    )


def test_column_is_scored_as_it_is():
    score = np.random.default_rng(0).random(50).astype(np.float32)
    none = np.zeros((50, 0), np.float32), np.zeros((50, 0), np.int32)
    rows = Features(*none, score=score)
    label, known = (score > 0.5).astype(np.int64), np.arange(50) < 30
    fitted = out_of_fold(BaseConfig(kind="column"), rows.take, label, 2, known, 0)
    found = np.exp(fitted.log_probs(rows.take, np.arange(50)))[:, 1]
    assert np.allclose(found, score, atol=1e-5)


def test_too_few_known_rows():
    rows, known = make_features(20, 0), np.arange(20) < 6
    label = np.where(np.arange(20) < 3, -1, 1)
    with pytest.raises(UserError, match="5 folds of 3 rows whose label was known"):
        out_of_fold(BaseConfig(), rows.take, label, 2, known, 0)


def test_memory_is_a_few_bytes_a_row(bytes_per_row):
    config = BaseConfig(max_rows=500)

    def read(rows):
        numbers = (rows[:, None] % 7).astype(np.float32)
        return Features(numbers, np.empty((len(rows), 0), np.int32))

    def fit(num_rows):
        label, known = (np.arange(num_rows) % 2).astype(np.int16), np.arange(num_rows) % 5 > 0
        return lambda: out_of_fold(config, read, label, 2, known, 0)

    # The folds, which rows are used, and which of a fold.
    assert bytes_per_row(fit) < 8
