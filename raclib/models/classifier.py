"""The two networks of a retrieval-augmented classifier."""

from torch import nn


class RetrievalClassifier(nn.Module):
    """A query generator and a classifier, under the names that training calls them by.

    Attributes:
        queries: `queries(batch)` gives queries `[B, S, d]`; None for a classifier without context.
        classify: `classify(batch, retrieved, hide_input_B, hide_items_BS)` gives logits `[B, C]`;
            the last three are None, or left out, where nothing is retrieved or hidden.
    """

    def __init__(self, queries: nn.Module | None, classify: nn.Module) -> None:
        super().__init__()
        self.queries, self.classify = queries, classify
