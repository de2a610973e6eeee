"""Rows of a corpus as training sees them: examples and histories."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from raclib.batch import Batch, Split, to_tensors
from raclib.corpus import Corpus, CorpusClient
from raclib.corpus.manifest import TIME
from raclib.errors import UserError
from raclib.ingest.key_shards import EVENT_TIME
from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.keys import KeySet
from raclib.retrieval.shared_keys import load_shared
from raclib.tasks.table.config import SplitConfig, TableSettings
from raclib.tasks.table.history import TableHistory, input_statistics
from raclib.tasks.table.reader import Labelling, TableReader
from raclib.tasks.table.splits import make_splits
from raclib.training.examples import Order, stream_examples


class CorpusTask(ABC):
    """Rows to predict and rows to retrieve. Picklable: sent to every worker.

    Args:
        config: What the run is told.
        corpus: The rows.
        client: Fetches them.
        labelling: Makes their labels.
        inputs: Fields that the model reads.
        standardized: Those of them whose mean and deviation it asks for.
        cutoff: ms since 1970; labels of training and validation rows were known earlier.
        split: Sizes of the splits; those of the configuration by default.

    Attributes:
        num_classes: Number of classes.
        splits: Row ids of examples and histories.
        statistics: Mean and deviation of the `standardized` over training examples.
    """

    num_classes: int

    def __init__(
        self,
        config: TableSettings,
        corpus: Corpus,
        client: CorpusClient,
        labelling: Labelling,
        inputs: tuple[str, ...],
        standardized: tuple[str, ...],
        cutoff: int,
        split: SplitConfig | None = None,
    ) -> None:
        self.config, self.corpus, self.client = config, corpus, client
        fetch = partial(client.fetch, timeout=config.train.fetch_timeout_s)
        self.event = EVENT_TIME if EVENT_TIME in corpus.fields else TIME
        self.reader = TableReader(fetch, inputs, labelling, self.event)
        self.cutoff = cutoff
        times = corpus.read(TIME), self.read_event_times()
        self.splits = make_splits(*times, cutoff, split or config.split, config.seed)
        self.statistics = input_statistics(
            self.reader, self.splits.train, standardized, config.seed
        )
        self.order = Order(
            self.splits.train, config.train.batch_size, config.train.num_epochs, config.seed
        )
        if not self.order.num_steps:
            raise UserError(
                f"train.batch_size: {config.train.batch_size} is above split.train_examples "
                f"({len(self.splits.train)}); make it smaller"
            )

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.order.num_steps

    def stream(
        self, start_step: int, rank: int, num_workers: int, device: torch.device
    ) -> Iterator[Batch]:
        """This worker's part of the batch of every step, read ahead by Ray Data."""
        read = self.reader.examples
        for arrays in stream_examples(self.order, read, start_step, rank, num_workers):
            yield to_tensors(arrays, device)

    def load(self, split: Split, rows: np.ndarray, device: torch.device) -> Batch:
        """Inputs and labels of examples."""
        return to_tensors(self.reader.examples(rows), device)

    def examples(self, split: Split) -> np.ndarray:
        """Row ids of the examples of a split, int64, sorted."""
        return getattr(self.splits, split)

    def history(self, split: Split, device: torch.device) -> TableHistory:
        """What the examples of a split may retrieve; loads the keys to the device."""
        rows = None if split == "test" else getattr(self.splits, f"{split}_history")
        dtype = getattr(torch, self.config.retrieval.key_dtype)
        if device.type == "cpu" and self.config.num_workers > 1:
            keys = load_shared(self.corpus, rows, dtype, self.client.mount)
        else:
            keys = KeySet.load(self.corpus, rows=rows, device=device, dtype=dtype)
        with_inputs = self.config.retrieval.retrieve == "row"
        return TableHistory(keys, self.reader, self.config.split.window, with_inputs)

    def diagnostics(
        self, model: RetrievalClassifier, temperature: float, device: torch.device
    ) -> dict[str, float]:
        """What this worker's client has fetched so far, and the learned alpha."""
        found = {f"fetch/{name}": value for name, value in self.client.stats().items()}
        residual = getattr(model.queries, "residual", None)
        return found if residual is None else {**found, "alpha": residual.alpha.item()}

    def read_event_times(self) -> np.ndarray:
        """When each row of the corpus happened, ms since 1970, int64."""
        return self.corpus.read(self.event)

    def read_labels(self) -> np.ndarray:
        """The label of each row of the corpus, int64."""
        labelling = self.reader.labelling
        return labelling({name: self.corpus.read(name) for name in labelling.fields})

    @property
    def key_dim(self) -> int:
        """Width of a key."""
        (dim,) = self.corpus.fields["key"].shape
        return dim

    @abstractmethod
    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights."""
