"""The label of a review: a rating threshold that changes on one day."""

import numpy as np

from raclib.tasks.amazon.config import RuleConfig, date_to_ms

NUM_CLASSES = 2  # negative, positive


def label_reviews(rating: np.ndarray, time: np.ndarray, rule: RuleConfig) -> np.ndarray:
    """1 where a review is positive under the rule of its own day, else 0; int64, any shape.

    Args:
        rating: Stars, any float or integer type.
        time: Milliseconds since 1970, int64, of the same shape.
        rule: Thresholds before and from the cutoff on.
    """
    before = time < date_to_ms(rule.cutoff)
    threshold = np.where(before, rule.threshold_before, rule.threshold_after)
    return (rating > threshold).astype(np.int64)
