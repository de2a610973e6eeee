"""The Amazon task as training sees it: examples, histories, a model."""

from functools import partial
from typing import Literal

import numpy as np
import torch

from raclib.batch import Arrays
from raclib.config import AmazonConfig, date_to_ms
from raclib.corpus import Corpus, CorpusClient
from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.keys import KeySet
from raclib.tasks.amazon.data import ReviewHistory, ReviewReader, input_statistics
from raclib.tasks.amazon.models import build_model
from raclib.tasks.amazon.splits import make_splits

Split = Literal["train", "validation", "test"]


class AmazonTask:
    """Reviews to predict and reviews to retrieve. Picklable: sent to every worker.

    Attributes:
        splits: Row ids of examples and histories.
    """

    def __init__(self, config: AmazonConfig, corpus: Corpus, client: CorpusClient) -> None:
        self.config, self.corpus = config, corpus
        self.client = client
        fetch = partial(client.fetch, timeout=config.train.fetch_timeout_s)
        self.reader = ReviewReader(fetch, config)
        cutoff = date_to_ms(config.rule.cutoff)
        self.splits = make_splits(corpus.read("time"), cutoff, config.split, config.seed)
        self.statistics = input_statistics(self.reader, self.splits.train, config.seed)

    def read(self, rows: np.ndarray) -> Arrays:
        """Inputs and labels of examples, arrays `[N, ...]`."""
        return self.reader.examples(rows)

    def examples(self, split: Split) -> np.ndarray:
        """Row ids of the examples of a split, int64, sorted."""
        return getattr(self.splits, split)

    def history(self, split: Split, device: torch.device) -> ReviewHistory:
        """What the examples of a split may retrieve; loads the keys to the device."""
        rows = None if split == "test" else getattr(self.splits, f"{split}_history")
        dtype = getattr(torch, self.config.retrieval.key_dtype)
        keys = KeySet.load(self.corpus, rows=rows, device=device, dtype=dtype)
        return ReviewHistory(keys, self.reader, self.config)

    def diagnostics(self, model: RetrievalClassifier) -> dict[str, float]:
        """What this worker's client has fetched so far, and the learned alpha."""
        found = {f"fetch/{name}": value for name, value in self.client.stats().items()}
        residual = getattr(model.queries, "residual", None)
        return found if residual is None else {**found, "alpha": residual.alpha.item()}

    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights."""
        (key_dim,) = self.corpus.fields["key"].shape
        return build_model(self.config, self.statistics, key_dim, with_context)
