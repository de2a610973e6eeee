"""What is read of a review, and its label: a rating threshold that changes on one day."""

from dataclasses import dataclass

import numpy as np

from raclib.arrays import Arrays
from raclib.ingest.config import date_to_ms
from raclib.tasks.amazon.config import RuleConfig

NUM_CLASSES = 2  # negative, positive
INPUTS = ("embedding", "helpful_vote", "verified_purchase")


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


@dataclass(frozen=True)
class RatingRule:
    """Labels of rows of the corpus: see `tasks.table.reader.Labelling`."""

    rule: RuleConfig
    fields = ("rating", "time")

    def __call__(self, found: Arrays) -> np.ndarray:
        """Labels of ratings by the rule of their day, int64."""
        return label_reviews(found["rating"], found["time"], self.rule)
