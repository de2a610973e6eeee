"""A model trained on reviews, with their corpus as its memory."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Self

import numpy as np
import pyarrow as pa

from raclib.arrays import Arrays
from raclib.corpus import Corpus
from raclib.corpus.mounts import choose_mount
from raclib.corpus.reader import ShardReader
from raclib.errors import UserError
from raclib.ingest.base_scores import BASE, load_base
from raclib.ingest.config import date_to_ms
from raclib.ingest.encoders import Encoder, build_encoder
from raclib.ingest.keys import KEY_FIT, KeyTransform
from raclib.ingest.rows import ROWS
from raclib.ingest.unify import conform
from raclib.models.base import FittedBase
from raclib.models.classifier import RetrievalClassifier
from raclib.serving.predictor import Predictor
from raclib.tasks.amazon.base import ReviewFeatures, review_features
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.corpus import TEXTS
from raclib.tasks.amazon.labels import NUM_CLASSES, RatingRule
from raclib.tasks.amazon.models import INPUTS, build_model
from raclib.tasks.amazon.reviews import check_times
from raclib.tasks.table.history import fresh_statistics
from raclib.tasks.table.reader import TableReader

CLASSES = ("negative", "positive")
COLUMNS = pa.schema(
    {
        "title": pa.string(),
        "text": pa.string(),
        "timestamp": pa.int64(),
        "helpful_vote": pa.int64(),
        "verified_purchase": pa.bool_(),
    }
)
"""What is read of a review; `timestamp` in ms since 1970."""


@dataclass(frozen=True)
class ReviewRows:
    """Reads reviews: see `rows.ServedRows`.

    Attributes:
        corpus: The version.
        config: Of the run.
        encoder: Embeds new reviews.
        transform: Makes their keys.
        key_base: The base classifier whose answers are part of keys; None where they are not.
        shards: Reads rows of the corpus.
    """

    corpus: Corpus
    config: AmazonConfig
    encoder: Encoder
    transform: KeyTransform
    key_base: FittedBase | None
    shards: ShardReader

    @classmethod
    def of(cls, corpus: Corpus, config: AmazonConfig) -> Self:
        """Those of a version; raises UserError if part of it is missing or damaged."""
        transform = KeyTransform.of(corpus)
        base = load_base(corpus, corpus.provenance[KEY_FIT][BASE]) if transform.base_dim else None
        shards = ShardReader(choose_mount(corpus, "auto"))
        return cls(corpus, config, build_encoder(config.encoder, "cpu"), transform, base, shards)

    @property
    def inputs(self) -> list[str]:
        """Columns of a review."""
        return COLUMNS.names

    @property
    def classes(self) -> tuple[str, ...]:
        """Under the rule of a review's day."""
        return CLASSES

    @property
    def time(self) -> str:
        """Column with the time of a review."""
        return "timestamp"

    @property
    def has_dates(self) -> bool:
        """Times are moments."""
        return True

    @property
    def cutoff(self) -> int:
        """The day on which the rule changes, ms since 1970."""
        return date_to_ms(self.config.rule.cutoff)

    @cached_property
    def reader(self) -> TableReader:
        """Reads rows of the corpus, without servers."""
        fetch = partial(self.shards.take, self.corpus)
        return TableReader(fetch, INPUTS, RatingRule(self.config.rule))

    @cached_property
    def features(self) -> ReviewFeatures:
        """Reads what a base classifier sees of rows of the corpus."""
        return ReviewFeatures(self.corpus)

    def usable(self, rows: pa.Table) -> np.ndarray:
        """Which reviews have a time, bool `[N]`."""
        return rows[self.time].is_valid().to_numpy()

    def encode(self, rows: pa.Table) -> Arrays:
        """What a model reads of reviews.

        Raises:
            UserError: if a column is missing, a value does not fit or is missing, or a timestamp is
                in another unit.
        """
        given = _conform(rows)
        time = given["timestamp"].to_numpy()
        check_times(time)
        texts = {name: given[name].to_pylist() for name in TEXTS}
        # As the corpus holds them, so that a stored review and a new one are treated alike.
        found = {
            "embedding": self.encoder.encode(texts).astype(np.float16),
            "helpful_vote": given["helpful_vote"].to_numpy().astype(np.float32),
            "verified_purchase": given["verified_purchase"].to_numpy().astype(np.int8),
        }
        inputs = found
        if self.key_base is not None:
            scores = self.key_base.compress(self.log_probs(found, self.key_base))
            inputs = {**found, BASE: scores}
        key = self.transform.transform(inputs, time).astype(np.float16)
        return {**found, "key": key, "time": time}

    def log_probs(self, rows: Arrays, base: FittedBase) -> np.ndarray:
        """A base classifier's answers to encoded reviews, float32 `[N, C]`."""
        return base.log_probs(review_features(rows))

    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights; mean and deviation come with the trained ones."""
        statistics = fresh_statistics({"embedding": self.encoder.dim, "helpful_vote": 1})
        sizes = self.transform.dim, NUM_CLASSES
        return build_model(self.config, statistics, *sizes, with_context)


class ReviewPredictor(Predictor):
    """Predicts reviews, as they come in files, by a version of their corpus.

    See `Predictor`; its configuration is an `AmazonConfig`.
    """

    config: AmazonConfig

    def read_rows(self, corpus: Corpus, earlier: ReviewRows | None) -> ReviewRows:
        """What reads rows of a version, and new ones."""
        if earlier is None:
            return ReviewRows.of(corpus, self.config)
        what = earlier.encoder, earlier.transform, earlier.key_base, earlier.shards
        return ReviewRows(corpus, self.config, *what)


def _conform(rows: pa.Table) -> pa.Table:
    for name in COLUMNS.names:
        if name not in rows.column_names:
            needed = ", ".join(COLUMNS.names)
            raise UserError(f"{ROWS}: no column is called {name!r}; needed are {needed}")
    given = rows.select(COLUMNS.names)
    arrays = [column.combine_chunks() for column in given.columns]
    batch = pa.RecordBatch.from_arrays(arrays, names=COLUMNS.names)
    found = pa.table(conform(batch, COLUMNS, ROWS))
    for name in COLUMNS.names:
        if found[name].null_count:
            raise UserError(f"{ROWS}: column {name!r}: a value is missing; give one")
    return found
