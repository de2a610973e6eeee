"""Queries as a learned residual to cosine similarity."""

import math

import torch
from torch import Tensor, nn


class SimilarityResidual(nn.Module):
    """`alpha q_theta + (1 - alpha) q_similarity`, alpha in (0, 1) learned (the paper's B.3.2).

    Args:
        initial_alpha: Weight of the learned part at the first step.
    """

    def __init__(self, initial_alpha: float) -> None:
        super().__init__()
        self.alpha_logit = nn.Parameter(torch.tensor(math.log(initial_alpha / (1 - initial_alpha))))

    @property
    def alpha(self) -> Tensor:
        """Weight of the learned part."""
        return self.alpha_logit.sigmoid()

    def forward(self, queries_BSd: Tensor, similarity_Bd: Tensor) -> Tensor:
        """Mixes learned queries with the key of the input itself."""
        return self.alpha * queries_BSd + (1 - self.alpha) * similarity_Bd.unsqueeze(1)
