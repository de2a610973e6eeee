"""Everything a run of the Amazon task can be told, beside what every run on a table can."""

from dataclasses import dataclass, field

from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from raclib.ingest.config import EncoderConfig, date_to_ms
from raclib.models.config import PerceiverConfig
from raclib.tasks.table.config import TableSettings


@dataclass
class GeneratedConfig:
    """Reviews made by a seeded program, not by people: for trying things out without data."""

    num_reviews: PositiveInt = 24_000
    """Number of generated reviews."""
    seed: NonNegativeInt = 0
    """Seed of the generator."""
    start: str = "2010-01-01"
    """Date of the first generated review."""
    end: str = "2018-01-01"
    """Date before which the last generated review lies."""


@dataclass
class RuleConfig:
    """A review is positive when its rating is above a threshold that changes on one day."""

    cutoff: str = "2014-01-01"
    """Date (UTC) on which the threshold changes; models and keys are fitted on rows before it."""
    threshold_before: PositiveFloat = 3.0
    """A rating above this is positive before the cutoff."""
    threshold_after: PositiveFloat = 1.0
    """A rating above this is positive from the cutoff on."""

    def __post_init__(self) -> None:
        date_to_ms(self.cutoff)


@dataclass
class ReviewEncoderConfig(EncoderConfig):
    """What turns a review's title and text into an embedding."""

    prompt: str = "Embed the Amazon review for sentiment classification."
    """Instruction for models that take one (sentence_transformers only)."""


@dataclass
class ModelConfig(PerceiverConfig):
    """The Perceiver stages of the query generator and of the classifier, and their tokens."""

    fourier_bands: PositiveInt = 48
    """Frequency bands of the Fourier embedding of helpful_vote."""
    fourier_max_frequency: PositiveFloat = 64.0
    """Highest frequency of that embedding, in cycles per two standard deviations."""


@dataclass
class AmazonConfig(TableSettings):
    """One run of the Amazon reviews task, from reviews to a compared result."""

    name: str = "amazon"
    """Name of the run. The same name and storage_path continue an interrupted run."""
    reviews: str | list[str] | None = None
    """Reviews in the Reviews '23 schema (JSON lines, plain, gzip, bz2 or zstd): paths, folders,
    globs, fsspec URIs or http(s) URLs."""
    category: str | None = None
    """A category of the published Amazon Reviews '23 to download, e.g. Electronics."""
    generated: GeneratedConfig | None = None
    """Generate reviews instead of reading them."""
    strict: bool = False
    """Stop at the first malformed review instead of skipping and counting it."""
    rule: RuleConfig = field(default_factory=RuleConfig)
    encoder: ReviewEncoderConfig = field(default_factory=ReviewEncoderConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
