"""The corpus of a configuration: where its reviews come from, and how it is made."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from raclib.corpus import Corpus, Field
from raclib.corpus.corpus import latest_version
from raclib.corpus.files import normalise
from raclib.errors import UserError
from raclib.ingest.prepare import prepare
from raclib.ingest.recipe import Recipe
from raclib.ingest.schema import RowSchema, Source, Tally
from raclib.ingest.sources import FileSource
from raclib.tasks.amazon.config import AmazonConfig, GeneratedConfig
from raclib.tasks.amazon.generated import generate_reviews
from raclib.tasks.amazon.reviews import COLUMNS, read_reviews

SOURCES = ("reviews", "category", "generated")
CATEGORY_URL = (
    "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/review_categories/"
    "{category}.jsonl.gz"
)
SCHEMA = RowSchema(
    noun="review",
    columns=COLUMNS,
    texts=("title", "text"),
    fields={
        "rating": (Field("float32"), "rating"),
        "helpful_vote": (Field("float32"), "helpful_vote"),
        "verified_purchase": (Field("int8"), "verified_purchase"),
        "time": (Field("int64"), "timestamp"),
    },
)


def prepare_reviews(config: AmazonConfig) -> Corpus:
    """The corpus of a configuration; made from its reviews unless it is there.

    Fields: `embedding` float16 [D], `key` float16 [d], `rating` and `helpful_vote` float32,
    `verified_purchase` int8 and `time` int64, the review's timestamp. See `ingest.prepare`.
    """
    recipe = Recipe(
        corpus_uri=config.corpus_uri,
        storage_path=config.storage_path,
        source=_find_source(config),
        schema=SCHEMA,
        cutoff=config.rule.cutoff,
        cutoff_name="rule.cutoff",
        rows_per_shard=config.rows_per_shard,
        encoder=config.encoder,
        key=config.key,
    )
    return prepare(recipe)


def _find_source(config: AmazonConfig) -> Source | None:
    """The source, or None where none is named and none is needed: the corpus is there."""
    is_named = any(getattr(config, name) is not None for name in SOURCES)
    is_needed = not latest_version(normalise(config.corpus_uri))
    return choose_source(config) if is_named or is_needed else None


def choose_source(config: AmazonConfig) -> Source:
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

    def describe(self) -> dict[str, Any]:
        """The generator's configuration."""
        return {"generated": asdict(self.config)}

    def fetch(self, folder: str) -> "GeneratedSource":
        """Itself: there is nothing to fetch."""
        return self

    def batches(self, tally: Tally) -> Iterator[pa.Table]:
        """Generated reviews."""
        return generate_reviews(self.config, tally)
