"""Predictions by greedy retrieval, the zero-temperature limit used after training."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from raclib.batch import Batch
from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.greedy import greedy_rows
from raclib.run.config import RetrievalConfig
from raclib.training.step import History, join


class Found(NamedTuple):
    """What was retrieved for examples.

    Attributes:
        values: Contents of rows, `[B, S, ...]`.
        hide_input_B: Whether the classifier sees the example itself.
        rows_BS: Which rows, by their place among the keys of the history; -1 where there are fewer.
    """

    values: Batch
    hide_input_B: Tensor
    rows_BS: Tensor


class Predictions(NamedTuple):
    """What a model says of the examples of a split, and what is true.

    Attributes:
        probability: Of each of the C classes, float32 `[N, C]`.
        label: int64 `[N]`.
    """

    probability: np.ndarray
    label: np.ndarray


@torch.no_grad()
def predict(
    model: RetrievalClassifier, history: History | None, batch: Batch, config: RetrievalConfig
) -> Tensor:
    """Probabilities of the classes, `[B, C]` float32, by a model that stays in training mode.

    Args:
        model: Query generator and classifier.
        history: What may be retrieved; None for the classifier without context.
        batch: Examples, as `Task.load` gives them.
        config: Whether the classifier sees its input.
    """
    model.eval()
    probability_BC = classify_greedy(model, history, batch, config).softmax(dim=1)
    model.train()
    return probability_BC


def classify_greedy(
    model: RetrievalClassifier, history: History | None, batch: Batch, config: RetrievalConfig
) -> Tensor:
    """Logits `[B, C]` given the rows of highest logit, slot by slot; nothing is dropped.

    Only an input that training never showed the classifier (`input_dropout` 1) stays hidden.
    """
    if history is None:
        return model.classify(batch)
    found = retrieve_greedy(model, history, batch, config)
    return model.classify(batch, found.values, found.hide_input_B, found.rows_BS < 0)


def retrieve_greedy(
    model: RetrievalClassifier, history: History, batch: Batch, config: RetrievalConfig
) -> Found:
    """The rows of highest logit, slot by slot, and then those that are looked up."""
    looked_BN = history.look(batch)
    rows_MBX = join(_greedy_rows(model, history, batch, looked_BN), looked_BN)
    values = {name: values[0] for name, values in history.fetch(batch, rows_MBX).items()}
    hidden = torch.full(looked_BN.shape[:1], config.input_dropout >= 1, device=looked_BN.device)
    return Found(values, hidden, rows_MBX[0])


def _greedy_rows(
    model: RetrievalClassifier, history: History, batch: Batch, looked_BN: Tensor
) -> Tensor:
    """The rows of highest logit, `[1, B, S]`; none where the model has no queries."""
    if model.queries is None:
        return looked_BN.new_empty(1, len(looked_BN), 0)
    queries_BSd = model.queries(batch)
    keys, lo_B, hi_B = history.select(batch)
    return greedy_rows(queries_BSd, keys, lo_B, hi_B).unsqueeze(0)
