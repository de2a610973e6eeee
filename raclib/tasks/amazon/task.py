"""The Amazon task as training sees it: examples, histories, a model."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from raclib.batch import Batch, Split, to_tensors
from raclib.corpus import Corpus, CorpusClient
from raclib.errors import UserError
from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.keys import KeySet
from raclib.tasks.amazon.config import AmazonConfig, date_to_ms
from raclib.tasks.amazon.data import ReviewHistory, input_statistics
from raclib.tasks.amazon.labels import NUM_CLASSES
from raclib.tasks.amazon.models import build_model
from raclib.tasks.amazon.reader import ReviewReader
from raclib.tasks.amazon.shared_keys import load_shared
from raclib.tasks.amazon.splits import make_splits
from raclib.tasks.examples import Order, stream_examples


class AmazonTask:
    """Reviews to predict and reviews to retrieve. Picklable: sent to every worker.

    Attributes:
        splits: Row ids of examples and histories.
    """

    num_classes = NUM_CLASSES

    def __init__(self, config: AmazonConfig, corpus: Corpus, client: CorpusClient) -> None:
        self.config, self.corpus = config, corpus
        self.client = client
        fetch = partial(client.fetch, timeout=config.train.fetch_timeout_s)
        self.reader = ReviewReader(fetch, config)
        cutoff = date_to_ms(config.rule.cutoff)
        self.splits = make_splits(corpus.read("time"), cutoff, config.split, config.seed)
        self.statistics = input_statistics(self.reader, self.splits.train, config.seed)
        self.order = Order(
            self.splits.train, config.train.batch_size, config.train.num_epochs, config.seed
        )
        if not self.order.num_steps:
            raise UserError(
                f"train.batch_size: {config.train.batch_size} is above split.train_examples "
                f"({config.split.train_examples}); make it smaller"
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

    def history(self, split: Split, device: torch.device) -> ReviewHistory:
        """What the examples of a split may retrieve; loads the keys to the device."""
        rows = None if split == "test" else getattr(self.splits, f"{split}_history")
        dtype = getattr(torch, self.config.retrieval.key_dtype)
        if device.type == "cpu" and self.config.num_workers > 1:
            keys = load_shared(self.corpus, rows, dtype, self.client.mount)
        else:
            keys = KeySet.load(self.corpus, rows=rows, device=device, dtype=dtype)
        return ReviewHistory(keys, self.reader, self.config)

    def diagnostics(
        self, model: RetrievalClassifier, temperature: float, device: torch.device
    ) -> dict[str, float]:
        """What this worker's client has fetched so far, and the learned alpha."""
        found = {f"fetch/{name}": value for name, value in self.client.stats().items()}
        residual = getattr(model.queries, "residual", None)
        return found if residual is None else {**found, "alpha": residual.alpha.item()}

    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights."""
        (key_dim,) = self.corpus.fields["key"].shape
        return build_model(self.config, self.statistics, key_dim, self.num_classes, with_context)
