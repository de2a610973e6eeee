"""The base classifier of reviews: what it sees, and its answers as a field of the corpus."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from raclib.arrays import Arrays
from raclib.corpus import Corpus
from raclib.corpus.mounts import choose_mount
from raclib.corpus.reader import ShardReader
from raclib.ingest.base_scores import add_base, checksum_of
from raclib.ingest.config import date_to_ms
from raclib.models.base import Features
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.labels import INPUTS, NUM_CLASSES, RatingRule
from raclib.tasks.amazon.rekey import rekey_reviews
from raclib.tasks.table.base import BaseScores
from raclib.tasks.table.labels import read_labels
from raclib.tasks.table.rekey import with_base_part


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
        return review_features(self._shards.take(self.corpus, rows, INPUTS))


def review_features(found: Arrays) -> Features:
    """Reviews, as the corpus holds them, as a base classifier sees them."""
    # Votes are counts with a long tail.
    votes_N = np.log1p(np.maximum(found["helpful_vote"], 0))
    numbers = np.stack([votes_N, found["verified_purchase"].astype(np.float32)], axis=1)
    none = np.empty((len(votes_N), 0), np.int32)
    return Features(numbers.astype(np.float32), none, embedding=found["embedding"])


def prepare_review_base(config: AmazonConfig, corpus: Corpus) -> tuple[Corpus, BaseScores | None]:
    """A version of the corpus with the scores of the base classifier; None for the paper's own.

    With `key.base_weight` they are part of its keys too.
    """

    def rekey(corpus: Corpus, weight: float, until: int | None) -> Corpus:
        return rekey_reviews(corpus, replace(config.key, base_weight=weight), config.rule, until)

    if config.base.kind == "perceiver":
        return with_base_part(corpus, config.key.base_weight, rekey), None
    read, rule = ReviewFeatures(corpus), RatingRule(config.rule)
    what = read_labels(corpus, rule), NUM_CLASSES, date_to_ms(config.rule.cutoff)
    extended, fitted = add_base(corpus, config.base, read, *what, {"rule": asdict(config.rule)})
    extended = with_base_part(extended, config.key.base_weight, rekey)
    return extended, BaseScores(fitted, ReviewFeatures(extended))
