"""Base classifiers: sound answers for every class, the same after saving."""

import subprocess
import sys

import numpy as np
import pytest

from raclib.errors import UserError
from raclib.models.base import BaseConfig, Features, FittedBase, fit_base

SMALL = {"width": 32, "max_epochs": 3, "max_rounds": 10}
FITTED = ["linear", "mlp", "lightgbm"]


def make_rows(num_rows: int, num_classes: int, seed: int = 0) -> tuple[Features, np.ndarray]:
    """Rows of every kind of input whose class can be told from each."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, num_classes, num_rows)
    numbers = rng.standard_normal((num_rows, 4)).astype(np.float32)
    numbers[:, 0] += 2 * (label % 2)
    numbers[:, 3] = 0
    categories = rng.integers(0, 6, (num_rows, 2)).astype(np.int32)
    categories[:, 1] = 1 + label % 5
    embedding = rng.standard_normal((num_rows, 8)).astype(np.float16)
    embedding[:, 2] += label
    score = rng.dirichlet(np.ones(num_classes), num_rows).astype(np.float32)
    return Features(numbers, categories, (6, 9), embedding, score), label


def fit(kind: str, rows: Features, label: np.ndarray, num_classes: int, **options) -> FittedBase:
    config = BaseConfig(kind=kind, **{**SMALL, **options})
    return fit_base(config, rows, label, num_classes, seed=0)


def check(log_probs: np.ndarray, num_rows: int, num_classes: int) -> None:
    assert log_probs.shape == (num_rows, num_classes)
    assert log_probs.dtype == np.float32
    assert np.isfinite(log_probs).all()
    assert np.exp(log_probs).min() > 0
    assert np.allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("kind", FITTED)
@pytest.mark.parametrize("num_classes", [2, 5])
def test_learns(kind, num_classes):
    rows, label = make_rows(800, num_classes)
    fitted = fit(kind, rows.take(slice(600)), label[:600], num_classes, max_epochs=10)
    log_probs = fitted.log_probs(rows.take(slice(600, None)))
    check(log_probs, 200, num_classes)
    assert (log_probs.argmax(axis=1) == label[600:]).mean() > 0.85


@pytest.mark.parametrize("kind", [*FITTED, "column"])
def test_saved_and_loaded_is_the_same(kind):
    rows, label = make_rows(300, 70)
    fitted = fit(kind, rows, label, 70)
    again = FittedBase.from_bytes(fitted.to_bytes(), "base")
    found, expected = again.log_probs(rows), fitted.log_probs(rows)
    assert np.array_equal(found, expected)
    assert np.array_equal(again.compress(found), fitted.compress(expected))
    assert again.to_bytes() == fitted.to_bytes()


@pytest.mark.parametrize("kind", FITTED)
def test_same_seed_same_answers(kind):
    rows, label = make_rows(400, 3)
    state = np.random.get_state()[1].copy()
    first, second = (fit(kind, rows, label, 3).log_probs(rows) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(np.random.get_state()[1], state)


def test_classes_may_be_permuted():
    rows, label = make_rows(600, 5)
    order = np.array([3, 0, 4, 2, 1])
    plain = np.exp(fit("linear", rows, label, 5).log_probs(rows))
    permuted = np.exp(fit("linear", rows, order[label], 5).log_probs(rows))
    assert np.allclose(permuted[:, order], plain, atol=0.01)
    assert not np.allclose(permuted, plain, atol=0.5)


@pytest.mark.parametrize("kind", FITTED)
def test_new_categories_are_read_as_unknown(kind):
    rows, label = make_rows(400, 3)
    fitted = fit(kind, rows, label, 3)
    new, unknown = rows.categories.copy(), rows.categories.copy()
    new[:, 1], unknown[:, 1] = 10**6, 0
    parts = (rows.embedding, rows.score)
    found = fitted.log_probs(Features(rows.numbers, new, (6, 10**6 + 1), *parts))
    check(found, 400, 3)
    assert np.array_equal(found, fitted.log_probs(Features(rows.numbers, unknown, (6, 9), *parts)))
    # A code of the vocabulary that no row of the fit had.
    unseen = rows.categories.copy()
    unseen[:, 1] = 8
    check(fitted.log_probs(Features(rows.numbers, unseen, (6, 9), *parts)), 400, 3)


@pytest.mark.parametrize("kind", FITTED)
def test_a_class_that_the_fit_did_not_see(kind):
    rows, label = make_rows(800, 40)
    rows, label = rows.take(np.flatnonzero(label != 7)), label[label != 7]
    fitted = fit(kind, rows, label, 40)
    log_probs = fitted.log_probs(rows)
    check(log_probs, len(label), 40)
    assert np.allclose(log_probs[:, 7], np.log(1e-3), atol=1e-2)
    assert np.array_equal(fitted.compress(log_probs), log_probs.astype(np.float16))


@pytest.mark.parametrize("kind", [*FITTED, "column"])
def test_a_thousand_classes_of_few_rows(kind):
    rows, label = make_rows(60, 1000)
    fitted = fit(kind, rows, label, 1000)
    log_probs = fitted.log_probs(rows)
    check(log_probs, 60, 1000)
    field = fitted.compress(log_probs)
    assert (field.dtype, field.shape) == (np.float16, (60, fitted.field_dim))
    assert fitted.field_dim == 64
    assert np.isfinite(field).all()


@pytest.mark.parametrize("kind", [*FITTED, "column"])
@pytest.mark.parametrize("label", [[1], [0, 1], [1, 1, 1]])
def test_hardly_any_rows(kind, label):
    rows, _ = make_rows(len(label), 2)
    log_probs = fit(kind, rows, np.array(label), 2).log_probs(rows)
    check(log_probs, len(label), 2)
    if kind != "column" and 0 not in label:
        assert np.allclose(np.exp(log_probs[:, 0]), 1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", FITTED)
@pytest.mark.parametrize("part", ["numbers", "categories", "embedding"])
def test_any_part_may_be_all_there_is(kind, part):
    rows, label = make_rows(300, 2)
    features = Features(
        rows.numbers if part == "numbers" else rows.numbers[:, :0],
        rows.categories if part == "categories" else rows.categories[:, :0],
        rows.sizes if part == "categories" else (),
        rows.embedding if part == "embedding" else None,
    )
    fitted = fit(kind, features, label, 2)
    again = FittedBase.from_bytes(fitted.to_bytes(), "base")
    check(again.log_probs(features), 300, 2)


def test_projection_keeps_distances_and_is_that_of_every_refit():
    rows, label = make_rows(400, 100)
    first, second = fit("linear", rows, label, 100), fit("mlp", rows, label[::-1], 100)
    assert np.array_equal(first.projection_CF, second.projection_CF)
    log_probs = first.log_probs(rows)
    centred = log_probs - log_probs.mean(axis=1, keepdims=True)
    field = first.compress(log_probs).astype(np.float32)
    pairs = np.random.default_rng(0).permutation(400).reshape(2, 200)
    before = np.linalg.norm(centred[pairs[0]] - centred[pairs[1]], axis=1)
    after = np.linalg.norm(field[pairs[0]] - field[pairs[1]], axis=1)
    assert np.abs(after / before - 1).mean() < 0.2


def test_column_is_taken_as_it_is():
    score = np.array([[0.2, 0.8], [0.0, 1.0], [2e-4, 1 - 2e-4]], np.float32)
    none = np.zeros((3, 0), np.float32), np.zeros((3, 0), np.int32), ()
    wide = Features(*none, score=score)
    fitted = fit("column", wide, np.array([0, 0, 0]), 2)
    found = np.exp(fitted.log_probs(wide))
    assert np.allclose(found, score, atol=1e-5)
    assert found[1, 0] > 0
    narrow = Features(*none, score=score[:, 1])
    assert np.allclose(fitted.log_probs(narrow), fitted.log_probs(wide), atol=1e-3)


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (None, "column needs a score"),
        (np.array([[0.1, 0.9], [np.nan, 1.0]]), "1 of 2 rows are no probabilities"),
        (np.array([[-3.0, 5.0], [0.5, 0.5]]), "1 of 2 rows are no probabilities"),
        (np.ones((2, 3)), r"shape \(2, 3\); give probabilities of 2 classes"),
    ],
)
def test_wrong_score(score, said):
    rows = Features(np.zeros((2, 0), np.float32), np.zeros((2, 0), np.int32), score=score)
    fitted = fit("column", rows, np.array([0, 1]), 2)
    with pytest.raises(UserError, match=said):
        fitted.log_probs(rows)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"lengths \[2, 3\]"):
        Features(np.zeros((2, 1), np.float32), np.zeros((3, 0), np.int32))
    with pytest.raises(ValueError, match="1 categories, but 2 sizes"):
        Features(np.zeros((2, 1), np.float32), np.zeros((2, 1), np.int32), (3, 4))
    with pytest.raises(UserError, match=r"base\.num_folds: 1"):
        BaseConfig(num_folds=1)
    rows, label = make_rows(10, 2)
    with pytest.raises(ValueError, match="'perceiver' is not fitted here"):
        fit("perceiver", rows, label, 2)


@pytest.mark.parametrize("data", [b"", b"x", b"PK\x03\x04rubbish", None])
def test_damaged_file(data):
    rows, label = make_rows(50, 2)
    whole = fit("column", rows, label, 2).to_bytes()
    with pytest.raises(UserError, match=r"base\.npz: damaged"):
        FittedBase.from_bytes(whole[:-200] if data is None else data, "base.npz")


def test_missing_lightgbm_is_one_line(monkeypatch):
    rows, label = make_rows(50, 2)
    saved = fit("lightgbm", rows, label, 2).to_bytes()
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    for action in (
        lambda: fit("lightgbm", rows, label, 2),
        lambda: FittedBase.from_bytes(saved, "base"),
    ):
        with pytest.raises(UserError, match=r"pip install raclib\[boosted\]") as caught:
            action()
        assert "\n" not in str(caught.value)


def test_importing_loads_no_kind():
    code = "import sys, raclib.models.base; print({'lightgbm', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
