"""Optional terms on where the queries point (arXiv 2604.07027, B.3.2); no [B, K] tensor is held.

`keys`, `temperature`, `lo`, `hi` and `scale` are those of `draw`.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from raclib.retrieval.gradient import with_gradient
from raclib.retrieval.moments import softmax_moments
from raclib.retrieval.precision import full_precision
from raclib.retrieval.problem import Problem
from raclib.retrieval.table import QuantizedKeys


@full_precision()
def draw_entropy(
    queries: Tensor,
    keys: Tensor | QuantizedKeys,
    temperature: float = 1.0,
    lo: Tensor | None = None,
    hi: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Entropy of each slot's distribution over all eligible rows, [B, S] nats, differentiable.

    Subtract a multiple from the loss to keep the draw from collapsing early.
    """
    problem = Problem.build(queries, keys, temperature, lo, hi, scale)
    moments = softmax_moments(problem)
    return with_gradient(moments.entropy, queries, -problem.slope * moments.covariance)


@full_precision()
def overlap(
    queries: Tensor,
    keys: Tensor | QuantizedKeys,
    rows: Tensor,
    temperature: float = 1.0,
    lo: Tensor | None = None,
    hi: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Mean probability that a query gives to the row another slot picked: add it for diverse rows.

    Args:
        queries: Float [B, S, d].
        keys: As in `draw`.
        rows: int64 [B, S], eligible rows drawn for these queries; -1 counts as no mass.
        temperature: As in `draw`.
        lo: As in `draw`.
        hi: As in `draw`.
        scale: As in `draw`.

    Returns:
        A scalar, differentiable in the queries; 0 for one slot.
    """
    problem = Problem.build(queries, keys, temperature, lo, hi, scale)
    moments = softmax_moments(problem)
    log_total_BS = with_gradient(moments.log_total, queries, problem.slope * moments.mean)
    picked_BSd = problem.keys.gather(rows.clamp_min(0))
    logits_BSJ = problem.slope * (queries.to(picked_BSd.dtype) @ picked_BSd.mT)
    slots = rows.shape[1]
    same_SJ = torch.eye(slots, dtype=torch.bool, device=rows.device)
    log_mass_BSJ = logits_BSJ - log_total_BS[..., None]
    mass_BSJ = log_mass_BSJ.masked_fill(same_SJ | (rows < 0)[:, None], -torch.inf).exp()
    return mass_BSJ.sum() / max(len(rows) * slots * (slots - 1), 1)


def dissimilarity(queries: Tensor, similarity: Tensor) -> Tensor:
    """Mean of 1 - cos between queries [B, S, d] and each example's similarity query [B, d]."""
    return 1 - F.cosine_similarity(queries, similarity[:, None], dim=-1).mean()
