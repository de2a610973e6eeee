"""Rates and temperatures at the points that the paper names."""

from itertools import pairwise

import pytest

from raclib.run.config import RetrievalConfig, TrainConfig
from raclib.training.schedules import learning_rate_factor, temperature


def test_warm_up_is_linear_and_the_cosine_ends_at_a_tenth():
    factors = [learning_rate_factor(step, 1000, TrainConfig()) for step in range(1001)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[49] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(1.0) == factors[100]
    assert factors[550] == pytest.approx(0.55)
    assert factors[1000] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in pairwise(factors[100:]))


def test_temperature_decays_exponentially():
    config = RetrievalConfig(max_temperature=0.01, min_temperature=0.001)
    assert temperature(0, config) == pytest.approx(0.01)
    assert temperature(0.5, config) == pytest.approx(0.01 * 10**-0.5)
    assert temperature(1, config) == pytest.approx(0.001)
