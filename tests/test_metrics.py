"""Scores against scikit-learn, intervals against known coverage."""

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given
from hypothesis import strategies as st

from raclib.metrics import SCORES, intervals, score


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.500001, 0.9, 1.0])),
        min_size=2,
        max_size=60,
    )
)
def test_scores_equal_scikit_learn(pairs):
    label, probability = (np.array(part) for part in zip(*pairs, strict=True))
    found = score(label, probability)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(label, probability > 0.5))
    assert found["log_loss"] == pytest.approx(
        reference.log_loss(label, probability.clip(1e-7, 1 - 1e-7), labels=[0, 1])
    )
    if len(np.unique(label)) == 2:
        assert found["auroc"] == pytest.approx(reference.roc_auc_score(label, probability))
        assert found["balanced_accuracy"] == pytest.approx(
            reference.balanced_accuracy_score(label, probability > 0.5)
        )
    else:
        assert np.isnan(found["auroc"])
        assert np.isnan(found["balanced_accuracy"])


def test_scores_work_along_the_last_axis():
    rng = np.random.default_rng(0)
    label, probability = rng.integers(0, 2, (3, 50)), rng.random((3, 50))
    together = score(label, probability)
    for name in SCORES:
        alone = [score(label[i], probability[i])[name] for i in range(3)]
        np.testing.assert_allclose(together[name], alone)


def test_calibration_error_is_the_gap_between_claim_and_frequency():
    label = np.array([1] * 6 + [0] * 4 + [1] * 2 + [0] * 8)
    probability = np.array([0.95] * 10 + [0.25] * 10)
    assert score(label, probability)["calibration_error"] == pytest.approx((0.35 + 0.05) / 2)


def test_intervals_cover_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        label = (rng.random(150) < 0.7).astype(int)
        low, high = intervals(label, np.full(150, 0.9), 200, trial)["accuracy"]
        hits += low <= 0.7 <= high
    assert 178 <= hits <= 199


def test_one_example_has_no_interval():
    limits = intervals(np.array([1]), np.array([0.3]), 50, 0)
    assert set(limits) == set(SCORES)
    assert np.isnan(limits["accuracy"]).all()
