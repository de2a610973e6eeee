"""The two networks of a retrieval-augmented classifier."""

from typing import NamedTuple

from torch import Tensor, nn


class Reading(NamedTuple):
    """An answer, and how much each retrieved row had to do with it.

    Attributes:
        logits_BC: The answer, as the reader itself gives it.
        weight_BS: 0 where a row was hidden. Of a copy reader the share of the answer that the row's
            label is copied with; of a Perceiver the share of its attention that the row got, of
            which no part of the answer can be computed.
    """

    logits_BC: Tensor
    weight_BS: Tensor


class RetrievalClassifier(nn.Module):
    """A query generator and a classifier, under the names that training calls them by.

    Attributes:
        queries: `queries(batch)` gives queries `[B, S, d]`; None for a classifier without context.
        classify: `classify(batch, retrieved, hide_input_B, hide_items_BS)` gives logits `[B, C]`;
            the last three are None, or left out, where nothing is retrieved or hidden. Readers of
            tables and reviews also have `classify.read`, which gives a `Reading`.
    """

    def __init__(self, queries: nn.Module | None, classify: nn.Module) -> None:
        super().__init__()
        self.queries, self.classify = queries, classify
