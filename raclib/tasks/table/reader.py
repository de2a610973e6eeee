"""Rows of the corpus as arrays with their labels; sent to reading processes, so without torch."""

from collections.abc import Callable

import numpy as np

from raclib.arrays import Arrays
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.labels import label_reviews

Fetch = Callable[[np.ndarray, tuple[str, ...]], Arrays]

INPUT_FIELDS = ("embedding", "helpful_vote", "verified_purchase")
LABEL_FIELDS = ("rating", "time")


class ReviewReader:
    """Fetches rows of the corpus and derives their labels. Small and picklable.

    Args:
        fetch: Gives fields of row ids, as `CorpusClient.fetch` does.
        config: Labelling rule.
    """

    def __init__(self, fetch: Fetch, config: AmazonConfig) -> None:
        self.fetch, self.rule = fetch, config.rule

    def examples(self, rows: np.ndarray) -> Arrays:
        """Inputs, key, time and label of rows to predict, arrays `[N, ...]`."""
        return self.read(rows, (*INPUT_FIELDS, "key", *LABEL_FIELDS))

    def read(self, rows: np.ndarray, fields: tuple[str, ...]) -> Arrays:
        """The fields of rows, with `label` derived from rating and time."""
        found = self.fetch(rows, fields)
        found["label"] = label_reviews(found.pop("rating"), found["time"], self.rule)
        return found
