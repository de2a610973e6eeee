"""What a model answers, and the rows of the corpus that decided it."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Answers(NamedTuple):
    """Answers to N rows, with E rows of the corpus each as evidence.

    Attributes:
        probabilities_NC: Of the classes, float32.
        base_NC: What the base classifier alone says, float32; None where the model reads none.
        rows_NE: Ids of rows of the corpus by falling weight, int64; -1 where there are fewer.
        weights_NE: How much each had to do with the answer, float32; 0 where there is none. Of a
            copy reader the probability that the answer has from the row's label: all weights of
            one label, over all rows that were read, are a part of its probability, and the rest is
            the base classifier's. Of a Perceiver the share of its attention: how much of the
            answer a row decided cannot be told.
        version: That of the corpus.
    """

    probabilities_NC: np.ndarray
    base_NC: np.ndarray | None
    rows_NE: np.ndarray
    weights_NE: np.ndarray
    version: int


def join(parts: list[Answers]) -> Answers:
    """Answers to rows that follow one another, by the same model."""
    bases = [part.base_NC for part in parts if part.base_NC is not None]
    return Answers(
        np.concatenate([part.probabilities_NC for part in parts]),
        np.concatenate(bases) if bases else None,
        np.concatenate([part.rows_NE for part in parts]),
        np.concatenate([part.weights_NE for part in parts]),
        parts[0].version,
    )


def heaviest(rows_BS: Tensor, weight_BS: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The rows of most weight, `[B, count]` each; -1 and 0 where there are fewer.

    A row that was found twice, such as for being near and new, has the sum of its weights.

    Args:
        rows_BS: int64, -1 for none.
        weight_BS: float32, 0 there.
        count: How many.
    """
    sorted_BS, order_BS = rows_BS.sort(dim=1)
    is_first_BS = torch.ones_like(sorted_BS, dtype=torch.bool)
    is_first_BS[:, 1:] = sorted_BS[:, 1:] != sorted_BS[:, :-1]
    place_BS = is_first_BS.cumsum(1) - 1
    different_BS = torch.full_like(rows_BS, -1).scatter(1, place_BS, sorted_BS)
    total_BS = torch.zeros_like(weight_BS).scatter_add(1, place_BS, weight_BS.gather(1, order_BS))
    total_BS = total_BS.masked_fill(different_BS < 0, -torch.inf)
    top_BE, at_BE = total_BS.topk(min(count, rows_BS.shape[1]), dim=1)
    more = (0, count - top_BE.shape[1])
    rows_BE = torch.nn.functional.pad(different_BS.gather(1, at_BE), more, value=-1)
    return rows_BE, torch.nn.functional.pad(top_BE, more).masked_fill(rows_BE < 0, 0.0)
