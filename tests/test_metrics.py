"""Scores against scikit-learn, intervals against known coverage and a plain bootstrap."""

import tracemalloc
import warnings

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import bootstrap

from raclib import metrics
from raclib.metrics import SCORES, intervals, score


def both(probability):
    """The probabilities of two classes, of that of label 1."""
    return np.stack([1 - probability, probability], axis=1)


@st.composite
def examples(draw):
    """Labels of up to six classes, of which some may be missing, and probabilities with ties."""
    num, num_classes = draw(st.integers(2, 40)), draw(st.integers(2, 6))
    label = draw(arrays.arrays(np.int64, num, elements=st.integers(0, num_classes - 1)))
    parts = arrays.arrays(np.int64, (num, num_classes), elements=st.integers(0, 4))
    counts = draw(parts) + 1e-9
    return label, counts / counts.sum(axis=1, keepdims=True)


@settings(deadline=None)
@given(examples())
def test_scores_equal_scikit_learn(pair):
    label, probability = pair
    classes = np.arange(probability.shape[1])
    found, chosen = score(label, probability), probability.argmax(axis=1)
    assert tuple(found) == SCORES
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(label, chosen))
    clipped = probability.clip(1e-7, 1 - 1e-7)
    losses = -np.log(clipped[np.arange(len(label)), label])
    assert found["log_loss"] == pytest.approx(losses.mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of clipped rows, which do not quite sum to 1
        expected = reference.log_loss(label, clipped, labels=classes)
    assert found["log_loss"] == pytest.approx(expected, abs=1e-5)
    occurring = np.unique(label)
    if len(occurring) == 1:
        assert np.isnan([found["auroc"], found["balanced_accuracy"]]).all()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of predicted classes that do not occur
        expected = reference.balanced_accuracy_score(label, chosen)
    assert found["balanced_accuracy"] == pytest.approx(expected)
    if len(classes) == 2:
        positive = probability[:, 1]
        precision = reference.average_precision_score(label, positive)
        assert found["auroc"] == pytest.approx(reference.roc_auc_score(label, positive))
        assert found["average_precision"] == pytest.approx(precision)
    else:
        each = [reference.roc_auc_score(label == c, probability[:, c]) for c in occurring]
        assert found["auroc"] == pytest.approx(np.mean(each))
        assert np.isnan(found["average_precision"])


def test_macro_auroc_is_scikit_learns_where_all_classes_occur():
    rng = np.random.default_rng(0)
    label, probability = np.arange(500) % 7, rng.dirichlet(np.ones(7), 500)
    expected = reference.roc_auc_score(label, probability, multi_class="ovr", average="macro")
    assert score(label, probability)["auroc"] == pytest.approx(expected)


def test_a_class_that_was_never_expected_costs_a_finite_loss():
    found = score(np.array([0, 2, 1]), np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32))
    assert found["log_loss"] == pytest.approx(-np.log(1e-7) / 3, rel=1e-5)
    assert found["balanced_accuracy"] == pytest.approx(2 / 3)


def test_calibration_error_is_the_gap_between_claim_and_frequency():
    label = np.array([1] * 6 + [0] * 4 + [1] * 2 + [0] * 8)
    probability = both(np.array([0.95] * 10 + [0.25] * 10))
    assert score(label, probability)["calibration_error"] == pytest.approx((0.35 + 0.05) / 2)


def test_calibration_error_of_many_classes_is_that_of_the_chosen_one():
    probability = np.array([[0.75, 0.15, 0.1]] * 10 + [[0.2, 0.35, 0.45]] * 10)
    label = np.array([0] * 5 + [1] * 5 + [2] * 6 + [0] * 4)
    found = score(label, probability)["calibration_error"]
    assert found == pytest.approx((0.25 + 0.15) / 2)


def resampled(label, probability, num_samples, seed):
    """Each score of plain bootstrap samples: by scipy, which copies labels and probabilities."""

    def statistic(label, *probability):
        found = score(label.astype(int), np.stack(probability, axis=1))
        return np.array(list(found.values()))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bootstrap(
            (label, *probability.T),
            statistic,
            n_resamples=num_samples,
            paired=True,
            vectorized=False,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("at_once", [1, 700, 2**20])
def test_intervals_are_those_of_scores_of_samples(monkeypatch, num_classes, at_once):
    monkeypatch.setattr(metrics, "WEIGHTS_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    # Some samples lack one of the rarer classes.
    label = np.minimum(rng.geometric(0.5, 60) - 1, num_classes - 1)
    probability = rng.dirichlet(np.ones(num_classes), 60).round(1)
    found = intervals(label, probability, 40, 3)
    expected = resampled(label, probability, 40, 3)
    np.testing.assert_allclose(list(found.values()), np.transpose(expected))


def test_intervals_cover_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        label = (rng.random(150) < 0.7).astype(int)
        low, high = intervals(label, both(np.full(150, 0.9)), 200, trial)["accuracy"]
        hits += low <= 0.7 <= high
    assert 178 <= hits <= 199


def test_intervals_hold_no_copy_of_the_probabilities_a_sample():
    rng = np.random.default_rng(0)
    label, probability = rng.integers(0, 40, 10_000), rng.dirichlet(np.ones(40), 10_000)
    tracemalloc.start()
    intervals(label, probability, 200, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * probability.nbytes  # of 200 samples


def test_one_example_has_no_interval():
    limits = intervals(np.array([1]), np.array([[0.7, 0.3]]), 50, 0)
    assert set(limits) == set(SCORES)
    assert np.isnan(limits["accuracy"]).all()


@settings(deadline=None)
@given(examples())
def test_balanced_accuracy_at_the_prior_is_that_of_ratios(pair):
    label, probability = pair
    num_classes = probability.shape[1]
    prior = np.arange(1, num_classes + 1) / sum(range(1, num_classes + 1))
    found = score(label, probability, prior)
    ratio = probability / prior
    expected = score(label, ratio / ratio.sum(axis=1, keepdims=True))["balanced_accuracy"]
    assert found["balanced_at_prior"] == pytest.approx(expected, nan_ok=True)
    uniform = score(label, probability, np.full(num_classes, 1 / num_classes))
    assert uniform["balanced_at_prior"] == pytest.approx(uniform["balanced_accuracy"], nan_ok=True)
    assert np.isnan(score(label, probability)["balanced_at_prior"])


def test_at_the_prior_a_rare_class_is_no_accident_of_the_threshold():
    """A scorer that is sure of its class in units of the rates is right; by probability it never
    names the rare one."""
    rng = np.random.default_rng(0)
    prior = np.array([0.95, 0.05])
    label = (rng.random(2000) < prior[1]).astype(int)
    evidence = np.where(label == 1, 4.0, 0.25)  # likelihood of class 1 in units of class 0's
    odds = evidence * prior[1] / prior[0]
    probability = both(odds / (1 + odds))
    assert score(label, probability, prior)["balanced_accuracy"] == 0.5
    assert score(label, probability, prior)["balanced_at_prior"] == 1
    low, high = intervals(label, probability, 50, 0, prior)["balanced_at_prior"]
    assert low == high == 1
