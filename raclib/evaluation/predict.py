"""Predictions by greedy retrieval, the zero-temperature limit used after training."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from raclib.batch import Batch, to_tensors
from raclib.config import RetrievalConfig
from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.draw import draw
from raclib.training.step import History
from raclib.training.task import Task


@torch.no_grad()
def predict(
    model: RetrievalClassifier,
    history: History | None,
    task: Task,
    rows: np.ndarray,
    device: torch.device,
    progress: Callable[[int], object] = int,
) -> Tensor:
    """Probability of label 1 for rows to predict.

    Args:
        model: Query generator and classifier.
        history: What may be retrieved; None for the classifier without context.
        task: Reads the rows.
        rows: Row ids `[N]`; in time order, so that a batch shares most of its window.
        device: Where the model is.
        progress: Told the number of rows of every batch done.

    Returns:
        Probabilities `[N]`, float32, on the device.
    """
    model.eval()
    probabilities = [torch.empty(0, device=device)]
    batch_size = task.config.evaluate.batch_size
    for part in np.split(rows, range(batch_size, len(rows), batch_size)):
        batch = to_tensors(task.read(part), device)
        logits_BC = classify_greedy(model, history, batch, task.config.retrieval)
        probabilities.append(logits_BC.softmax(dim=1)[:, 1])
        progress(len(part))
    model.train()
    return torch.cat(probabilities)


def classify_greedy(
    model: RetrievalClassifier, history: History | None, batch: Batch, config: RetrievalConfig
) -> Tensor:
    """Logits `[B, C]` given the rows of highest logit, slot by slot; nothing is dropped.

    Only an input that training never showed the classifier (`input_dropout` 1) stays hidden.
    """
    if history is None:
        return model.classify(batch)
    assert model.queries is not None
    queries_BSd = model.queries(batch)
    keys, lo_B, hi_B = history.select(batch)
    unused_BS2 = torch.zeros(*queries_BSd.shape[:2], 2, dtype=torch.float64, device=lo_B.device)
    rows_BS = draw(queries_BSd, keys, lo=lo_B, hi=hi_B, uniforms=unused_BS2).greedy
    retrieved = history.fetch(batch, rows_BS.unsqueeze(0))
    found = {name: values[0] for name, values in retrieved.items()}
    hide_input_B = torch.full_like(lo_B, config.input_dropout >= 1, dtype=torch.bool)
    return model.classify(batch, found, hide_input_B, rows_BS < 0)
