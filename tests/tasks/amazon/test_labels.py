"""The dated rule."""

import numpy as np

from raclib.ingest.config import date_to_ms
from raclib.tasks.amazon.config import RuleConfig
from raclib.tasks.amazon.labels import label_reviews


def test_the_threshold_changes_on_the_day():
    rule = RuleConfig(cutoff="2014-01-01", threshold_before=3, threshold_after=1)
    cutoff = date_to_ms("2014-01-01")
    rating = np.array([1, 2, 3, 4, 5], np.float32)
    np.testing.assert_array_equal(
        label_reviews(rating, np.full(5, cutoff - 1), rule), [0, 0, 0, 1, 1]
    )
    np.testing.assert_array_equal(label_reviews(rating, np.full(5, cutoff), rule), [0, 1, 1, 1, 1])
