"""What a base classifier sees of reviews."""

from typing import Any

import numpy as np

from raclib.corpus import Corpus
from raclib.corpus.mounts import choose_mount
from raclib.corpus.reader import ShardReader
from raclib.ingest.base_scores import checksum_of
from raclib.models.base import Features
from raclib.tasks.amazon.models import INPUTS


class ReviewFeatures:
    """Reads the inputs of reviews: embedding, helpful votes, whether the purchase was verified.

    Args:
        corpus: A corpus of reviews.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self._shards = ShardReader(choose_mount(corpus, "auto"))

    def __reduce__(self) -> tuple[Any, ...]:
        return ReviewFeatures, (self.corpus,)

    @property
    def checksum(self) -> str:
        """Differs where features do."""
        return checksum_of(self.corpus, INPUTS)

    def __call__(self, rows: np.ndarray) -> Features:
        """Features of reviews by id."""
        found = self._shards.take(self.corpus, rows, INPUTS)
        # Votes are counts with a long tail.
        votes_N = np.log1p(np.maximum(found["helpful_vote"], 0))
        numbers = np.stack([votes_N, found["verified_purchase"].astype(np.float32)], axis=1)
        none = np.empty((len(rows), 0), np.int32)
        return Features(numbers.astype(np.float32), none, embedding=found["embedding"])
