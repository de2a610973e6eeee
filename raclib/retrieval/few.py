"""Draws from so few rows that they are one tile: all scores are held, and made once."""

import math

import torch
from torch import Tensor

from raclib.retrieval.problem import FLOOR, MASKED, Problem, check_finite
from raclib.retrieval.rollout import sample


def draw_few(
    problem: Problem, uniforms_MBS: Tensor, differentiable: bool, with_greedy: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Rows, log_prob, d log_prob / d queries [M, B, ...], entropy [B, S], greedy rows if wanted.

    The slope is zero unless `differentiable`.
    """
    scores_BSK = _score(problem)
    greedy_BS = _greedy(scores_BSK.clone()) if with_greedy else None
    slope_MBSd = scores_BSK.new_zeros(*uniforms_MBS.shape, problem.queries_BSd.shape[-1])
    drawn = []
    for uniforms_BS, slope_BSd in zip(uniforms_MBS, slope_MBSd, strict=True):
        left_BSK = scores_BSK.clone()
        rows_BS, log2_prob_BS, log2_total_BS = _sampled(left_BSK, uniforms_BS)
        if differentiable:
            slope_BSd.copy_(_slope(problem, left_BSK, rows_BS, log2_total_BS))
        drawn.append((rows_BS, (log2_prob_BS * math.log(2)).to(scores_BSK.dtype)))
    rows_MBS, log_prob_MBS = (torch.stack(found) for found in zip(*drawn, strict=True))
    return rows_MBS, log_prob_MBS, slope_MBSd, _entropy(scores_BSK), greedy_BS


def greedy_few(problem: Problem) -> Tensor:
    """The greedy rows alone, [B, S]."""
    scores_BSK = _score(problem)
    check_finite(scores_BSK)
    return _greedy(scores_BSK)


def _score(problem: Problem) -> Tensor:
    """Scores [B, S, K], MASKED outside the intervals."""
    scores_BSK = problem.queries_BSd @ problem.keys.read().mT
    row_K = torch.arange(len(problem.keys), device=scores_BSK.device)
    out_BK = (row_K < problem.lo_B[:, None]) | (row_K >= problem.hi_B[:, None])
    return scores_BSK.masked_fill_(out_BK[:, None], MASKED)


def _greedy(scores_BSK: Tensor) -> Tensor:
    """The best row left in each slot, ties to the lowest; overwrites the scores."""
    rows_BS = torch.full(scores_BSK.shape[:2], -1, device=scores_BSK.device)
    for slot, scores_BK in enumerate(scores_BSK.unbind(1)):
        _mask(scores_BK, rows_BS[:, :slot])
        best_B, at_B = scores_BK.max(-1)
        rows_BS[:, slot] = torch.where(best_B > FLOOR, at_B, -1)
    return rows_BS


def _sampled(scores_BSK: Tensor, uniforms_BS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, log2 of their probabilities and of the total they are of; masks what is drawn before a
    slot in its scores."""
    rows_BS = torch.full(uniforms_BS.shape, -1, device=scores_BSK.device)
    log2_prob_BS, log2_total_BS = uniforms_BS.new_zeros(2, *uniforms_BS.shape)
    for slot, scores_BK in enumerate(scores_BSK.unbind(1)):
        _mask(scores_BK, rows_BS[:, :slot])
        top_B1 = scores_BK.amax(-1, keepdim=True).clamp_min(FLOOR)
        weights_BK = (scores_BK - top_B1).exp2_().double()
        at_B, log2_row_B, total_B = sample(weights_BK, top_B1, uniforms_BS[:, slot])
        log2_total_BS[:, slot] = total_B
        drawn_B = total_B > FLOOR
        rows_BS[:, slot] = torch.where(drawn_B, at_B, -1)
        log2_prob_BS[:, slot] = log2_row_B.where(drawn_B, 0.0)
    return rows_BS, log2_prob_BS, log2_total_BS


def _slope(problem: Problem, left_BSK: Tensor, rows_BS: Tensor, log2_total_BS: Tensor) -> Tensor:
    """The derivative by the queries, as in `gradient`; overwrites the scores left to each slot."""
    keys_Kd = problem.keys.read()
    at_BS = rows_BS.clamp_min(0)
    # The row itself is left out too: at low temperature k_i - E[k] would cancel.
    left_BSK.scatter_(2, at_BS[..., None], MASKED)
    weights_BSK = left_BSK.sub_(log2_total_BS.to(left_BSK.dtype)[..., None]).exp2_()
    own_BSd = problem.keys.gather(at_BS) * weights_BSK.sum(-1, keepdim=True)
    slope_BSd = problem.slope * (own_BSd - weights_BSK @ keys_Kd)
    return slope_BSd.where(rows_BS[..., None] >= 0, 0.0)


def _entropy(scores_BSK: Tensor) -> Tensor:
    """Entropy over the eligible rows, nats, 0 where there are none; overwrites the scores."""
    scores_BSK.sub_(scores_BSK.amax(-1, keepdim=True).clamp_min(FLOOR))
    weights_BSK = scores_BSK.exp2()
    total_BS = weights_BSK.sum(-1).clamp_min(0.5)  # 0 where nothing is eligible, else at least 1
    energy_BS = weights_BSK.mul_(scores_BSK).sum(-1)
    return (total_BS.log2() - energy_BS / total_BS).clamp_min(0) * math.log(2)


def _mask(scores_BK: Tensor, drawn_BJ: Tensor) -> None:
    """Where nothing was drawn (-1) nothing is eligible: masking row 0 changes nothing there."""
    scores_BK.scatter_(1, drawn_BJ.clamp_min(0), MASKED)
