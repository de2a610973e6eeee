"""The corpus of a configuration: where its reviews come from, and how it is made."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from raclib.arrays import Arrays
from raclib.corpus import Corpus, Field
from raclib.corpus.files import normalise
from raclib.errors import UserError
from raclib.ingest.config import date_to_ms
from raclib.ingest.embedding import LINE, TextEmbedder
from raclib.ingest.encoders import check_encoder, describe_encoder
from raclib.ingest.keys import KeyTransform, describe_keys
from raclib.ingest.precomputed import PrecomputedEmbeddings, describe_precomputed
from raclib.ingest.prepare import prepare
from raclib.ingest.sources import FileSource
from raclib.ingest.staging import Layout, Staging
from raclib.ingest.tally import Tally
from raclib.tasks.amazon.config import AmazonConfig, GeneratedConfig
from raclib.tasks.amazon.generated import generate_reviews
from raclib.tasks.amazon.labels import RatingRule
from raclib.tasks.amazon.reviews import COLUMNS, read_reviews

SOURCES = ("reviews", "category", "generated")
CATEGORY_URL = (
    "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/review_categories/"
    "{category}.jsonl.gz"
)
TEXTS = ("title", "text")
NARROW = {
    "rating": Field("float32"),
    "helpful_vote": Field("float32"),
    "verified_purchase": Field("int8"),
}


def prepare_reviews(config: AmazonConfig) -> Corpus:
    """The corpus of a configuration; made from its reviews unless it is there.

    Fields: `embedding` float16 [D], `key` float16 [d], `rating` and `helpful_vote` float32,
    `verified_purchase` int8 and `time` int64, the review's timestamp. See `ingest.prepare`.
    """
    return prepare(ReviewRecipe(config))


@dataclass(frozen=True)
class ReviewEncoder:
    """A review's fields: see `ingest.schema.RowEncoder`."""

    text: TextEmbedder

    @property
    def columns(self) -> list[str]:
        """All but the time."""
        return [*TEXTS, LINE, *NARROW]

    @property
    def batch_rows(self) -> int:
        """Reviews at a time."""
        return 4 * self.text.config.batch_size

    @property
    def has_weights(self) -> bool:
        """Whether a network embeds."""
        return self.text.has_weights

    @property
    def is_local(self) -> bool:
        """Whether embeddings were made before."""
        return self.text.config.precomputed is not None

    @property
    def revision(self) -> str:
        """Version of the encoder."""
        return self.text.load().revision

    @property
    def fields(self) -> dict[str, Field]:
        """Embedding, and what the review says of itself."""
        return {"embedding": Field("float16", (self.text.load().dim,)), **NARROW}

    def encode(self, rows: pa.Table, device: str) -> Arrays:
        """The fields of reviews."""
        narrow = {name: rows[name].to_numpy() for name in NARROW}
        return {"embedding": self.text.embed(rows, device), **narrow}


class ReviewRecipe:
    """How a configuration makes a corpus of reviews: see `ingest.schema.Recipe`."""

    noun, cutoff_name, columns, time = "review", "rule.cutoff", COLUMNS, "timestamp"

    def __init__(self, config: AmazonConfig) -> None:
        file = config.encoder.precomputed
        # Workers run in folders of their own.
        self.encoder = replace(config.encoder, precomputed=normalise(file) if file else None)
        self.config = replace(config, storage_path=normalise(config.storage_path))
        self.corpus_uri, self.rows_per_shard = config.corpus_uri, config.rows_per_shard
        self.cutoff = date_to_ms(config.rule.cutoff)

    @property
    def _downloads(self) -> str:
        return f"{self.config.storage_path}/downloads"

    def describe(self, is_published: bool) -> dict[str, Any]:
        """Encoder, keys, cutoff, files of reviews and of embeddings."""
        request = {
            "encoder": describe_encoder(self.encoder),
            "key": describe_keys(self.config.key),
            "cutoff": self.config.rule.cutoff,
            **describe_precomputed(self.encoder, self._downloads, is_published),
        }
        if self.config.key.kind == "supervised":
            request["rule"] = asdict(self.config.rule)
        if not is_published or any(getattr(self.config, name) is not None for name in SOURCES):
            source = choose_source(self.config)
            request["reviews"] = source.describe(self._downloads, is_published)
        if not is_published:
            check_encoder(self.encoder)
        return request

    def found(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def fetch(self) -> "FileSource | GeneratedSource":
        """The reviews."""
        return choose_source(self.config).fetch(self._downloads)

    def check(self, layout: Layout) -> None:
        """There must be an embedding for each line."""
        if file := self.encoder.precomputed:
            PrecomputedEmbeddings(file).check(layout.num_lines, self.encoder, "reviews")

    def fit_encoder(self, staging: Staging, layout: Layout) -> ReviewEncoder:
        """The encoder; nothing of it is fitted."""
        return ReviewEncoder(TextEmbedder(self.encoder, TEXTS))

    def fit_keys(self, sample: Arrays, layout: Layout) -> KeyTransform:
        """Keys of the embedding alone."""
        label = RatingRule(self.config.rule)(sample)
        return KeyTransform.fit(self.config.key, sample, layout.first, self.cutoff, label)


def choose_source(config: AmazonConfig) -> "FileSource | GeneratedSource":
    """The one source a configuration names.

    Raises:
        UserError: if it names none, or more than one.
    """
    given = [name for name in SOURCES if getattr(config, name) is not None]
    if len(given) != 1:
        raise UserError(
            f"reviews, category, generated: {' and '.join(given) or 'none'} given; give "
            "exactly one (switch another off with null: --generated null)"
        )
    if config.generated is not None:
        return GeneratedSource(config.generated)
    read = partial(read_reviews, strict=config.strict)
    if config.category is not None:
        return FileSource.of([category_url(config.category)], read)
    uris = [config.reviews] if isinstance(config.reviews, str) else config.reviews
    if not uris:
        raise UserError("reviews: an empty list; give at least one file")
    return FileSource.of(uris, read)


def category_url(category: str) -> str:
    """Address of a category of the published Amazon Reviews '23."""
    if not category.replace("_", "").isalnum():
        raise UserError(f"category: {category!r}; give a name such as Electronics or All_Beauty")
    return CATEGORY_URL.format(category=category)


@dataclass(frozen=True)
class GeneratedSource:
    """Reviews made by a program."""

    config: GeneratedConfig

    def describe(self, folder: str, is_published: bool) -> dict[str, Any]:
        """The generator's configuration."""
        return {"generated": asdict(self.config)}

    def fetch(self, folder: str) -> "GeneratedSource":
        """Itself: there is nothing to fetch."""
        return self

    def batches(self, tally: Tally) -> Iterator[pa.Table]:
        """Generated reviews."""
        return generate_reviews(self.config, tally)
