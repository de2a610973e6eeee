"""What a run on any table can be told, beside what every run can."""

from dataclasses import dataclass, field
from typing import Literal

from jsonargparse.typing import PositiveFloat, PositiveInt

from raclib.ingest.config import EncoderConfig, KeyConfig
from raclib.run.config import EvaluateConfig, RetrievalConfig, RunSettings, TrainConfig


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
class TableRetrievalConfig(RetrievalConfig):
    """The draw, what is read of a drawn row, and how keys are held."""

    retrieve: Literal["label", "row"] = "label"
    """What the classifier sees of a drawn row: its label alone, or its inputs too."""
    key_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Type in which keys are held on the device."""


@dataclass
class TableTrainConfig(TrainConfig):
    """The optimiser, its schedule, the passes over the examples."""

    num_epochs: PositiveInt = 100
    """Passes over the training examples."""
    fetch_timeout_s: PositiveFloat = 120.0
    """Seconds after which a fetch of rows gives up."""


@dataclass
class TableEvaluateConfig(EvaluateConfig):
    """The comparison over time."""

    num_neighbours: PositiveInt = 25
    """Neighbours of the nearest-neighbour vote on the frozen keys."""
    num_recent_labels: PositiveInt = 1000
    """Labels of which the majority line takes the majority."""


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
    key: KeyConfig = field(default_factory=KeyConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    retrieval: TableRetrievalConfig = field(default_factory=TableRetrievalConfig)
    train: TableTrainConfig = field(default_factory=TableTrainConfig)
    evaluate: TableEvaluateConfig = field(default_factory=TableEvaluateConfig)

    @property
    def corpus_uri(self) -> str:
        """Where the corpus is, or will be."""
        return self.corpus or f"{self.storage_path}/corpora/{self.name}"
