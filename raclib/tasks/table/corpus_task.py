"""Rows of a corpus as training sees them: examples and histories."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from typing import Self

import numpy as np
import torch
from torch import Tensor

from raclib.arrays import Arrays
from raclib.batch import Batch, Split, to_tensors
from raclib.corpus import Corpus, CorpusClient
from raclib.corpus.beginning import Beginning
from raclib.corpus.faults import FullError
from raclib.corpus.manifest import TIME
from raclib.corpus.reader import take_from
from raclib.errors import UserError
from raclib.ingest.key_shards import EVENT_TIME
from raclib.ingest.keys import KeyTransform
from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.keys import KeySet
from raclib.retrieval.shared_keys import load_shared
from raclib.tasks.table.base import BaseScores
from raclib.tasks.table.config import SplitConfig, TableSettings
from raclib.tasks.table.context import Context
from raclib.tasks.table.history import TableHistory, input_statistics, make_history
from raclib.tasks.table.labels import read_labels
from raclib.tasks.table.reader import BaseAnswers, Labelling, TableReader
from raclib.tasks.table.splits import make_splits
from raclib.training.examples import Order, stream_examples
from raclib.training.rule_changes import RuleChanges

DEFAULT_STEPS = 1000


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
        num_before: Rows whose label was known before the cutoff, the first of the corpus.
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
        self.num_before = corpus.num_before(cutoff)
        what = self.num_before, self.read_event_times(), split or config.split, config.seed
        self.splits = make_splits(*what, late_only=config.base.unseen == "earlier")
        self.statistics = input_statistics(
            self.reader, self.splits.train, standardized, config.seed
        )
        if self.reads_base:
            assert base is not None
            self.reader = replace(self.reader, base=self._answers(base))
        size = config.train.batch_size
        if len(self.splits.train) < size:
            raise UserError(
                f"train.batch_size: {size} is above split.train_examples "
                f"({len(self.splits.train)}); make it smaller"
            )
        epochs = config.train.num_epochs or -(-DEFAULT_STEPS // (len(self.splits.train) // size))
        self.order = Order(self.splits.train, size, epochs, config.seed)

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
        """Row ids of the examples of a split, int64, once each; those of the test by time bin."""
        return getattr(self.splits, split)

    def history(self, split: Split, device: torch.device) -> TableHistory:
        """What the examples of a split may retrieve; loads the keys to the device."""
        rows = None if split == "test" else getattr(self.splits, f"{split}_history")
        corpus: Corpus | Beginning = self.corpus
        if rows is None and split != "test":
            corpus = Beginning(self.corpus, self.num_before)
        keys = self._load_keys(corpus, rows, device)
        history = make_history(self.corpus, keys, self.reader, self.config, self.cutoff)
        if history.context is not None:
            self._remember(split, history.context)
        return history

    def _load_keys(
        self, corpus: Corpus | Beginning, rows: np.ndarray | None, device: torch.device
    ) -> KeySet:
        dtype = getattr(torch, self.config.retrieval.key_dtype)
        if device.type == "cpu":
            # Training, each validation and the test map one file, in page cache, of all processes.
            with suppress(FullError):
                return load_shared(corpus, rows, dtype, self.client.mount)
        return KeySet.load(corpus, rows=rows, device=device, dtype=dtype)

    @property
    def reads_base(self) -> bool:
        """Whether the reader starts from the answers of the base classifier."""
        return self.config.reader == "copy"

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

    def _remember(self, split: Split, context: Context) -> None:
        """Looks the rows of a split's examples up, once: a split is predicted many times."""
        rows = np.sort(self.examples(split))  # test rows are in the order of their own times
        if split not in self._found:
            found = self.read_rows(rows, ("key", self.event))
            own_Xd = torch.from_numpy(found["key"])
            self._found[split] = context.search(own_Xd, found[self.event]).cpu()
        context.remember(rows, self._found[split])

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
        """When each row of the corpus happened, ms since 1970, int64; mapped."""
        return self.corpus.read_mapped(self.event)

    def read_rows(self, rows: np.ndarray, fields: tuple[str, ...]) -> Arrays:
        """Fields of rows by id and their `label`, `[N, ...]`, read without servers."""
        return replace(self.reader, fetch=take_from(self.corpus)).read(rows, fields)

    def read_labels(self) -> np.ndarray:
        """The label of each row of the corpus, int16."""
        return read_labels(self.corpus, self.reader.labelling)

    @property
    def key_dim(self) -> int:
        """Width of a key."""
        (dim,) = self.corpus.fields["key"].shape
        return dim

    def with_base(self, rows: np.ndarray, log_probs_XC: np.ndarray) -> Self:
        """The same with other answers of the base classifier, and without servers.

        Args:
            rows: Ids of the only rows that can be examples then, int64 `[X]`.
            log_probs_XC: What the base says of them.
        """
        order = np.argsort(rows)
        answers = BaseAnswers(rows[order], log_probs_XC[order])
        other = copy(self)
        other.reader = replace(self.reader, fetch=take_from(self.corpus), base=answers)
        return other

    @abstractmethod
    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights."""
