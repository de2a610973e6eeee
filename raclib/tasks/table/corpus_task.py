"""Rows of a corpus as training sees them: examples and histories."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from raclib.batch import Batch, Split, to_tensors
from raclib.corpus import Corpus, CorpusClient
from raclib.corpus.manifest import TIME
from raclib.errors import UserError
from raclib.ingest.key_shards import EVENT_TIME
from raclib.ingest.keys import KeyTransform
from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.keys import KeySet
from raclib.retrieval.shared_keys import load_shared
from raclib.retrieval.table import QuantizedKeys
from raclib.tasks.table.base import BaseScores
from raclib.tasks.table.config import SplitConfig, TableSettings
from raclib.tasks.table.context import Context, age_unit, strata_of, with_copy_reader
from raclib.tasks.table.history import TableHistory, input_statistics
from raclib.tasks.table.reader import BaseAnswers, Labelling, TableReader
from raclib.tasks.table.splits import make_splits
from raclib.training.examples import Order, stream_examples
from raclib.training.rule_changes import RuleChanges


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
        base: Answers of the base classifier, for the reader copy.

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
        base: BaseScores | None = None,
    ) -> None:
        self.config, self.corpus, self.client = config, corpus, client
        self._found: dict[Split, Tensor] = {}
        fetch = partial(client.fetch, timeout=config.train.fetch_timeout_s)
        self.event = EVENT_TIME if EVENT_TIME in corpus.fields else TIME
        self.reader = TableReader(fetch, inputs, labelling, self.event)
        self.cutoff = cutoff
        times = corpus.read(TIME), self.read_event_times()
        self.splits = make_splits(*times, cutoff, split or config.split, config.seed)
        self.statistics = input_statistics(
            self.reader, self.splits.train, standardized, config.seed
        )
        if config.reader == "copy":
            assert base is not None
            self.reader = replace(self.reader, base=self._answers(base))
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
        context = self._context(split, keys) if self._reads_context else None
        return TableHistory(keys, self.reader, self.config.split.window, with_inputs, context)

    @cached_property
    def base_part(self) -> slice:
        """Where the base classifier's scores lie in a key; an empty slice if they do not."""
        return KeyTransform.of(self.corpus).parts["base"]

    @property
    def changes(self) -> RuleChanges | None:
        """Simulated rule changes of training."""
        share = self.config.train.changed_share
        if not share:
            return None
        return RuleChanges(share, self.num_classes, self.key_dim, self.base_part)

    @property
    def _reads_context(self) -> bool:
        """Whether more is asked of rows than the labels of those drawn."""
        config = self.config
        return bool(
            config.reader == "copy" or config.retrieval.num_looked or config.train.changed_share
        )

    def _context(self, split: Split, keys: KeySet) -> Context:
        rows = slice(None) if keys.rows_K is None else keys.rows_K.cpu().numpy()
        events = self.read_event_times()
        unit = age_unit(self.corpus.read(TIME), self.cutoff)
        strata = strata_of(self.config.retrieval)
        context = Context(strata, keys, self.read_labels()[rows], events[rows], unit)
        if split not in self._found:  # a split is predicted many times
            mine = self.examples(split)
            own = KeySet.load(self.corpus, rows=mine).keys
            assert not isinstance(own, QuantizedKeys)
            self._found[split] = context.search(own, events[mine]).cpu()
        context.remember(self.examples(split), self._found[split])
        return context

    def _answers(self, base: BaseScores) -> BaseAnswers:
        splits = self.splits
        rows = np.unique(np.concatenate([splits.train, splits.validation, splits.test]))
        return BaseAnswers(rows, base.log_probs(rows))

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

    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights."""
        perceivers = self.build_perceivers(with_context)
        if not with_context or self.config.reader == "perceiver":
            return perceivers
        sizes = self.num_classes, self.key_dim
        return with_copy_reader(perceivers, self.config.retrieval, *sizes)

    @abstractmethod
    def build_perceivers(self, with_context: bool) -> RetrievalClassifier:
        """The paper's networks, over the task's own tokens, with fresh weights."""
