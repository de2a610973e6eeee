"""What a training came to is read as it was kept."""

import numpy as np
import torch

from raclib.training.fitted import Fitted, find_fitted
from raclib.training.predict import Predictions


def test_predictions_of_many_classes_come_back(tmp_path):
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(40), 30).astype(np.float32)
    test = Predictions(probability, rng.integers(0, 40, 30))
    Fitted(test, {"head.weight": torch.randn(3, 2)}).save(str(tmp_path))
    found = find_fitted(str(tmp_path))
    np.testing.assert_array_equal(found.test.probability, probability)
    assert found.test.probability.dtype == np.float32
    np.testing.assert_array_equal(found.test.label, test.label)


def test_probabilities_of_one_class_of_two_are_read_as_of_both(tmp_path):
    probability = torch.tensor([0.25, 1.0, 0.0])
    state = {"test": {"probability": probability, "label": torch.tensor([0, 1, 1])}, "weights": {}}
    torch.save(state, tmp_path / "fitted.pt")
    found = find_fitted(str(tmp_path)).test.probability
    np.testing.assert_array_equal(found, np.array([[0.75, 0.25], [0, 1], [1, 0]], np.float32))
    assert found.dtype == np.float32


def test_a_run_that_has_not_ended_has_none(tmp_path):
    assert find_fitted(str(tmp_path)) is None
