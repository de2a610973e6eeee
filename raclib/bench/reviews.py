"""Reviews of random numbers, and a training step of given sizes that reads them."""

from dataclasses import dataclass

import numpy as np
import torch

from raclib.arrays import Arrays
from raclib.batch import Batch
from raclib.bench.made import make_once
from raclib.corpus import Corpus, Field
from raclib.retrieval.estimators import build_estimator
from raclib.tasks.amazon.config import AmazonConfig, ModelConfig
from raclib.tasks.amazon.corpus import NARROW
from raclib.tasks.amazon.labels import NUM_CLASSES
from raclib.tasks.amazon.models import build_model
from raclib.tasks.table.config import TableRetrievalConfig
from raclib.tasks.table.history import fresh_statistics
from raclib.training.optimizer import ScheduledAdamW
from raclib.training.step import History, RetrievalStep
from raclib.training.timer import Timer

ROWS_PER_SHARD = 100_000


@dataclass(frozen=True)
class Case:
    """Sizes of a step."""

    batch: int
    num_keys: int
    slots: int
    key_dim: int
    row_dim: int


def make_reviews(shape: tuple[int, ...], row_dim: int, device: torch.device) -> Batch:
    """Random reviews of that leading shape."""
    return {
        "embedding": torch.randn(*shape, row_dim, device=device, dtype=torch.float16),
        "label": torch.randint(NUM_CLASSES, shape, device=device),
        "helpful_vote": torch.rand(shape, device=device),
        "verified_purchase": torch.randint(2, shape, device=device, dtype=torch.int8),
    }


def make_step(
    case: Case, kind: type[RetrievalStep], history: History, timer: Timer, device: torch.device
) -> tuple[RetrievalStep, ScheduledAdamW]:
    """A step on full rows of reviews, with a small Perceiver of fresh weights, and its optimiser.

    Args:
        case: Its sizes.
        kind: How it draws.
        history: What it retrieves.
        timer: Told where its time goes.
        device: Where it runs.
    """
    retrieval = TableRetrievalConfig(num_draws=case.slots, retrieve="row", max_temperature=1.0)
    config = AmazonConfig(model=ModelConfig(64, 8, 1, 4, 8, 16.0), retrieval=retrieval)
    statistics = fresh_statistics({"embedding": case.row_dim, "helpful_vote": 1})
    model = build_model(config, statistics, case.key_dim, NUM_CLASSES, with_context=True)
    estimator = build_estimator("greedy", 1)
    step = kind(model, history, estimator, retrieval, timer).to(device)
    return step, ScheduledAdamW(model, config.train, 1)


def make_review_corpus(uri: str, num_rows: int, row_dim: int, key_dim: int) -> Corpus:
    """A corpus of random reviews with keys of length 1, written unless it is there already."""
    fields = {"embedding": Field("float16", (row_dim,)), "key": Field("float16", (key_dim,))}

    def make(rng: np.random.Generator, num: int) -> Arrays:
        key_Nd = rng.standard_normal((num, key_dim), np.float32)
        return {
            "embedding": rng.standard_normal((num, row_dim), np.float32).astype(np.float16),
            "key": (key_Nd / np.linalg.norm(key_Nd, axis=1, keepdims=True)).astype(np.float16),
            "rating": rng.integers(1, 6, num).astype(np.float32),
            "helpful_vote": rng.random(num, np.float32),
            "verified_purchase": rng.integers(0, 2, num).astype(np.int8),
        }

    return make_once(uri, fields | NARROW, num_rows, ROWS_PER_SHARD, make)
