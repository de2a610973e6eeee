"""What full rows add to the weights of a copy reader."""

import torch
from torch import Tensor, nn

from raclib.batch import Batch

HIDDEN = 64


class RowReading(nn.Module):
    """Weighs retrieved rows by their inputs too, not by key and age alone.

    With e an encoding of inputs, row i of inputs x_i gets

        t(e(x) - e(x_i)) - s |e(x) - e(x_i)|^2

    added to the logit of its weight: the transformed difference and the similarity of TabR
    (Gorishniy et al. 2023, arXiv 2307.14338), whose label embedding is the copied label here. Both
    are 0 at first (s, and the last layer of the network t), so a reader of full rows starts as one
    of labels. Classes have no name in it, so it cannot become a classifier of its own, which would
    keep the rule of its training.

    Args:
        tokens: Makes tokens `[..., T, width]` of inputs.
        width: Width of a token.
    """

    def __init__(self, tokens: nn.Module, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.encode = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, HIDDEN, bias=False))
        self.difference = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.GELU())
        self.score = nn.Linear(HIDDEN, 1, bias=False)
        nn.init.zeros_(self.score.weight)
        self.similarity = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch, retrieved: Batch) -> Tensor:
        """What is added to the logits of the weights, `[B, S]`.

        Args:
            batch: Inputs, `[B, ...]`.
            retrieved: Inputs of rows, `[B, S, ...]`.
        """
        difference_BSH = self._encode(batch)[:, None] - self._encode(retrieved)
        distance_BS = difference_BSH.square().mean(-1)
        return self.score(self.difference(difference_BSH))[..., 0] - self.similarity * distance_BS

    def _encode(self, rows: Batch) -> Tensor:
        return self.encode(self.tokens(rows).mean(dim=-2))
