"""What a run on any table can be told, beside what every run can."""

from dataclasses import dataclass, field
from typing import Literal

from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitInterval,
    PositiveFloat,
    PositiveInt,
)

from raclib.corpus.urls import refuse_credentials
from raclib.errors import UserError
from raclib.ingest.columns import ColumnsConfig
from raclib.ingest.config import EncoderConfig, KeyConfig
from raclib.ingest.times import TimeUnit
from raclib.models.base import BaseConfig
from raclib.models.config import PerceiverConfig
from raclib.run.config import (
    EvaluateConfig,
    RetrievalConfig,
    RunSettings,
    TrackingConfig,
    TrainConfig,
    refuse_empty,
)


@dataclass
class SplitConfig:
    """Which rows are learned from, retrieved from and tested on."""

    train_examples: PositiveInt = 100_000
    """Rows before the cutoff that models learn to predict."""
    train_history: PositiveInt | None = 1_900_000
    """Other rows before the cutoff, retrieved from in training; null for all rows before it."""
    validation_examples: PositiveInt = 20_000
    """Other rows before the cutoff, predicted for validation."""
    validation_history: PositiveInt | None = 1_900_000
    """Other rows before the cutoff, retrieved from in validation; null for all before it."""
    window: PositiveInt = 1_900_000
    """Rows are drawn from the last this many that are strictly earlier than the example."""
    num_bins: PositiveInt = 100
    """Equal time bins over the whole span, for the test."""
    examples_per_bin: PositiveInt = 10_000
    """Test examples drawn from a bin, at most."""


@dataclass
class TableRetrievalConfig(RetrievalConfig):
    """The draw, what is read of a drawn row, and how keys are held."""

    retrieve: Literal["label", "row"] = "label"
    """What the classifier sees of a drawn row: its label alone, or its inputs too."""
    key_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Type in which keys are held on the device."""
    nearest: list[PositiveInt] = field(default_factory=list)
    """Nearest rows that are looked up beside those drawn, of each stratum of age."""
    strata: list[PositiveInt] = field(default_factory=list)
    """Where each stratum ends, in labels known before the example; rising."""
    newest: NonNegativeInt = 0
    """Rows whose labels became known last, looked up too."""

    @property
    def num_looked(self) -> int:
        """Rows that are looked up for an example without a draw."""
        return sum(self.nearest) + self.newest

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.nearest) != len(self.strata) or sorted(set(self.strata)) != self.strata:
            raise UserError(
                f"retrieval.strata: {self.strata} must rise and be as many as retrieval.nearest, "
                f"{self.nearest}; give both"
            )


@dataclass
class TableTrainConfig(TrainConfig):
    """The optimiser, its schedule, the passes over the examples."""

    num_epochs: PositiveInt | None = 100
    """Passes over the training examples; null for as many as make 1,000 steps."""
    fetch_timeout_s: PositiveFloat = 120.0
    """Seconds after which a fetch of rows gives up."""
    changed_share: ClosedUnitInterval = 0.0
    """Share of the examples of a batch that are learned under a simulated change of the labelling
    rule, so that recent rows are trusted where they contradict what was learned."""


@dataclass
class TableEvaluateConfig(EvaluateConfig):
    """The comparison over time."""

    num_recent_labels: list[PositiveInt] = field(default_factory=lambda: [100, 300, 1000, 3000])
    """Labels of whose frequencies the line `recent rates` consists. Of this and the three below
    what has the least log-loss on rows known before the cutoff."""
    num_neighbours: list[PositiveInt] = field(default_factory=lambda: [5, 25, 100])
    """Neighbours of the nearest-neighbour vote on the frozen keys."""
    neighbour_windows: list[PositiveInt] = field(
        default_factory=lambda: [1000, 4000, 16_000, 64_000, 256_000]
    )
    """Rows known last among which neighbours are looked for."""
    num_recent_rows: list[PositiveInt] = field(default_factory=lambda: [2000, 8000])
    """Rows known last that the line `refit, recent rows` is fitted on."""
    num_refits: PositiveInt = 10
    """Times at which the base classifier is fitted again: the cutoff, and equal steps from there to
    the end."""
    rivals: list[Literal["adaptive_forest", "boosted_trees", "tabr"]] = field(default_factory=list)
    """Classifiers of other libraries to compare with, left out where a table is too wide:
    adaptive_forest, which learns row by row (`pip install raclib[river]`); boosted_trees, fitted
    again as the base classifier is (`pip install raclib[boosted]`); tabr, fitted once on 4,000 rows
    (`pip install raclib[tabr]`)."""

    def __post_init__(self) -> None:
        chosen = ("num_recent_labels", "num_neighbours", "neighbour_windows", "num_recent_rows")
        refuse_empty(**{f"evaluate.{name}": getattr(self, name) for name in chosen})


@dataclass
class TableSettings(RunSettings):
    """What every run on a table is told, whatever the table."""

    corpus: str | None = None
    """Folder or URI of the corpus; made if it is not there.
    Default: <storage_path>/corpora/<name>."""
    rows_per_shard: PositiveInt = 100_000
    """Rows of a corpus shard."""
    num_servers: PositiveInt | None = None
    """Actors that serve the corpus; by default one a node."""
    replicas: PositiveInt = 1
    """Servers that hold each shard; with 2 a lost node's rows come from another at once."""
    mount: Literal["auto", "mmap", "hydrate", "range"] = "auto"
    """How servers get at shards: mmap, where every node sees the corpus; hydrate, each node copies
    its shards to its own storage, once; range, wide rows are read where they lie."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    base: BaseConfig = field(default_factory=lambda: BaseConfig(kind="perceiver"))
    reader: Literal["copy", "perceiver"] = "perceiver"
    """What reads the retrieved rows. copy: a vote of their labels, weighed by what was learned,
    mixed with the base classifier's answer; perceiver: the paper's network."""
    key: KeyConfig = field(default_factory=KeyConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    retrieval: TableRetrievalConfig = field(default_factory=TableRetrievalConfig)
    train: TableTrainConfig = field(default_factory=TableTrainConfig)
    evaluate: TableEvaluateConfig = field(default_factory=TableEvaluateConfig)

    @property
    def corpus_uri(self) -> str:
        """Where the corpus is, or will be."""
        return self.corpus or f"{self.storage_path}/corpora/{self.name}"

    @property
    def reads_context(self) -> bool:
        """Whether more is read of rows than the labels, or inputs, of those drawn."""
        changes = self.train.changed_share > 0
        return self.reader == "copy" or self.retrieval.num_looked > 0 or changes

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_credentials(self.corpus_uri, "corpus")
        if self.reader == "copy" and self.base.kind == "perceiver":
            raise UserError(
                "base.kind: perceiver has no answers before it is trained, and the reader copy "
                "starts from them; choose another base, or the reader perceiver"
            )


@dataclass
class TableSplitConfig(SplitConfig):
    """Which rows are learned from, retrieved from and tested on."""

    train_examples: PositiveInt | None = None
    """Rows known before the cutoff that models learn to predict; by default 40 % of them, 8,000 at
    most."""
    train_history: PositiveInt | None = None
    """Other rows before the cutoff, retrieved from in training; null for all rows before it."""
    validation_examples: PositiveInt | None = None
    """Other rows known before the cutoff, predicted for validation; by default 10 % of them, 1,000
    at most."""
    validation_history: PositiveInt | None = None
    """Other rows before the cutoff, retrieved from in validation; null for all before it."""
    window: PositiveInt = 4_000
    """Rows are drawn from the last this many whose label was known before the example happened."""
    num_bins: PositiveInt = 20
    """Equal time bins over the whole span, for the test."""
    examples_per_bin: PositiveInt = 400
    """Test examples drawn from a bin, at most."""

    def of(self, num_known: int) -> SplitConfig:
        """Sizes in numbers, for a table of which so many labels were known before the cutoff."""
        train = self.train_examples or max(1, min(int(0.4 * num_known), 8_000))
        validation = self.validation_examples or max(1, min(int(0.1 * num_known), 1_000))
        histories = self.train_history, self.validation_history
        sizes = train, histories[0], validation, histories[1]
        return SplitConfig(*sizes, self.window, self.num_bins, self.examples_per_bin)


@dataclass
class TableKeyConfig(KeyConfig):
    """The small frozen key of a row, on which retrieval works."""

    kind: Literal["first", "pca", "random", "supervised"] = "supervised"
    """pca and random: a projection of all columns, fitted on rows known before the cutoff only;
    supervised: pca, and a map fitted so that rows of one label are near; first: the first
    dimensions of all columns."""
    dim: PositiveInt = 128
    """Dimensions of that projection, at most; fewer where the table is narrower."""
    entity_weight: NonNegativeFloat = 0.25
    """Length of the part of an id, in units of the projection's; 0 for none. At 1.5 rows of one id
    are nearer than rows that are alike otherwise."""
    base_weight: NonNegativeFloat = 1.0
    """Root mean square distance of a part for the base classifier's answers, where supervised keys
    have 1 otherwise; 0 for no such part. The corpus gets a version with these keys once the base is
    fitted; none where it is trained with the model (base.kind perceiver)."""


@dataclass
class TablePerceiverConfig(PerceiverConfig):
    """The Perceiver stages of the query generator and of the classifier."""

    width: PositiveInt = 64
    """Width of tokens and latents."""
    num_latents: PositiveInt = 8
    """Learned latents of a stage."""
    num_self_attention: PositiveInt = 1
    """Self-attention blocks after the one cross-attention block of a stage."""
    num_heads: PositiveInt = 4
    """Attention heads; must divide the width."""


@dataclass
class TableDrawConfig(TableRetrievalConfig):
    """The draw, what is read of a drawn row, and how keys are held."""

    num_draws: NonNegativeInt = 0
    """Rows drawn for an example (kappa)."""
    nearest: list[PositiveInt] = field(default_factory=lambda: [16, 32, 32, 32, 32])
    """Nearest rows that are looked up beside those drawn, of each stratum of age."""
    strata: list[PositiveInt] = field(default_factory=lambda: [125, 500, 2_000, 8_000, 32_000])
    """Where each stratum ends, in labels known before the example; rising."""
    newest: NonNegativeInt = 16
    """Rows whose labels became known last, looked up too."""
    max_temperature: PositiveFloat = 0.05
    """Softmax temperature of the draw at the first step; decays exponentially ..."""
    min_temperature: PositiveFloat = 0.01
    """... to this at the last step."""
    initial_alpha: OpenUnitInterval = 0.1
    """Value of the learned alpha at the first step."""


@dataclass
class TableFitConfig(TableTrainConfig):
    """The optimiser, its schedule, the passes over the examples."""

    num_epochs: PositiveInt | None = None
    """Passes over the training examples; by default as many as make 1,000 steps."""
    batch_size: PositiveInt = 128
    """Examples a step, over all workers together."""
    learning_rate: PositiveFloat = 3e-3
    """Base learning rate of AdamW."""
    weight_decay: NonNegativeFloat = 1e-3
    """AdamW's weight decay."""
    retrieval_lr_factor: PositiveFloat = 1.0
    """Learning rate of the query generator, in units of the base rate."""
    changed_share: ClosedUnitInterval = 0.3
    """Share of the examples of a batch that are learned under a simulated change of the labelling
    rule, so that recent rows are trusted where they contradict what was learned."""


@dataclass
class TableConfig(TableSettings):
    """One run on a table of your own: from its files to a compared result."""

    name: str = "table"
    """Name of the run. The same name and storage_path continue an interrupted run."""
    data: str | list[str] | None = None
    """The table: Parquet, CSV, JSON lines, Arrow or Feather files, plain, gzip, bz2 or zstd. Paths,
    folders, globs, fsspec URIs or http(s) URLs, one or many."""
    time: str = "time"
    """Column with the time at which a row happened: it decides which rows may be retrieved for
    it."""
    label: str = "label"
    """Column to predict: booleans, integers or strings, two to a thousand classes."""
    label_time: str | None = None
    """Column with the time at which the label was known: from then on a row may be retrieved. By
    default it is known at once."""
    time_unit: TimeUnit | None = None
    """What times that are plain numbers count; row: the order of the rows. Timestamps, dates and
    ISO text need none."""
    cutoff: str = "0.4"
    """What is fitted sees only labels known before this: a date (UTC), or the share of the rows
    that is from then on."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    strict: bool = False
    """Stop at a row whose times cannot be read, and where a column all but gives the label away."""
    predict_unlabelled: bool = False
    """Predict the rows without a label too, into <storage_path>/<name>/unlabelled.parquet."""
    base: BaseConfig = field(default_factory=lambda: BaseConfig(kind="auto"))
    reader: Literal["copy", "perceiver"] = "copy"
    """What reads the retrieved rows. copy: a vote of their labels, weighed by what was learned,
    mixed with the base classifier's answer; perceiver: the paper's network."""
    key: TableKeyConfig = field(default_factory=TableKeyConfig)
    split: TableSplitConfig = field(default_factory=TableSplitConfig)
    model: TablePerceiverConfig = field(default_factory=TablePerceiverConfig)
    retrieval: TableDrawConfig = field(default_factory=TableDrawConfig)
    train: TableFitConfig = field(default_factory=TableFitConfig)
    tracking: TrackingConfig = field(default_factory=lambda: TrackingConfig(experiment="tables"))
