"""Sequential draws without replacement, from tile statistics.

A slot draws a tile by what it holds, scores that tile again and draws a row in it: two uniforms a
draw. Then the row leaves: its tile is summed again without it for the slots to come. Nothing is
subtracted, because at a low temperature the row may hold all but 1e-7 of the mass and the
difference would be noise.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from raclib.retrieval import fused
from raclib.retrieval.problem import FLOOR, MASKED, Problem, room
from raclib.retrieval.stats import TileStats

HELD_NUMBERS = 2**21  # keys copied and scores held at once: 8 MB in float32


@dataclass(frozen=True)
class Rollout:
    """One row a slot.

    Attributes:
        rows_BS: int64, -1 where no eligible row is left.
        log_prob_BS: float64, log-probability among the rows left; 0 at -1.
        log2_total_BS: float64, log2 of the sum of 2**score over the rows left.
    """

    rows_BS: Tensor
    log_prob_BS: Tensor
    log2_total_BS: Tensor


def sampled_rollout(problem: Problem, stats: TileStats, tile: int, uniforms_BS2: Tensor) -> Rollout:
    """Draws each slot from the softmax over the rows left; overwrites `stats`."""
    shape = problem.queries_BSd.shape[:-1]
    rows_BS = torch.full(shape, -1, device=problem.lo_B.device)
    log2_prob_BS, log2_total_BS = uniforms_BS2.new_zeros(2, *shape)
    scorer = TileScorer(problem, tile)
    for slot in range(shape[1]):
        tops_BN, sums_BN = stats.tops_BSN[:, slot], stats.sums_BSN[:, slot]
        share_BN, top_B1 = _shares(tops_BN)
        tile_B, log2_tile_B, total_B = sample(share_BN * sums_BN, top_B1, uniforms_BS2[:, slot, 0])
        log2_total_BS[:, slot] = total_B
        for block, scores_bST in scorer.score(slot, tile_B, rows_BS):
            uniform_b = uniforms_BS2[block, slot, 1]
            at_b, log2_row_b, row_total_b = sample(*_shares(scores_bST[:, 0]), uniform_b)
            drawn_b = row_total_b > FLOOR
            rows_BS[block, slot] = torch.where(drawn_b, tile_B[block] * tile + at_b, -1)
            log2_prob_BS[block, slot] = (log2_tile_B[block] + log2_row_b).where(drawn_b, 0.0)
            left_bST, top_bS = without(scores_bST, at_b)
            put(stats.tops_BSN[block, slot + 1 :], tile_B[block], top_bS)
            sum_bS = (left_bST - top_bS.clamp_min(FLOOR)[..., None]).exp2_().sum(-1)
            put(stats.sums_BSN[block, slot + 1 :], tile_B[block], sum_bS)
    return Rollout(rows_BS, log2_prob_BS * math.log(2), log2_total_BS)


class TileScorer:
    """Scores of one tile an example, less the rows drawn."""

    def __init__(self, problem: Problem, tile: int) -> None:
        self.problem, self.tile = problem, tile
        self.fused = fused.fits(problem)

    def score(self, slot: int, tile_B: Tensor, rows_BS: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yields examples and scores [b, S - slot, T] of their tiles for this slot and later."""
        _, slots, width = self.problem.queries_BSd.shape
        held = slots - slot + (0 if self.fused else width)
        step = max(room(HELD_NUMBERS, tile_B.device) // (self.tile * held), 1)
        for start in range(0, len(tile_B), step):
            block = slice(start, min(start + step, len(tile_B)))
            yield block, self._fresh(block, slot, tile_B[block], rows_BS[block, :slot])

    def _fresh(self, block: slice, slot: int, tile_b: Tensor, drawn_bJ: Tensor) -> Tensor:
        problem = self.problem.examples(block)
        if self.fused:
            return fused.tile_scores(problem, self.tile, tile_b, slot, drawn_bJ)
        row_bT = tile_b[:, None] * self.tile + torch.arange(self.tile, device=tile_b.device)
        keys_bTd = problem.keys.gather(row_bT.clamp(max=len(problem.keys) - 1))
        scores_bST = problem.queries_BSd[:, slot:] @ keys_bTd.mT
        out_bT = (row_bT < problem.lo_B[:, None]) | (row_bT >= problem.hi_B[:, None])
        for drawn_b in drawn_bJ.unbind(1):
            out_bT |= row_bT == drawn_b[:, None]
        return scores_bST.masked_fill_(out_bT[:, None], MASKED)


def sample(weights_BN: Tensor, top_B1: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draws n with probability ~ weights; returns n, log2 of it, log2 of the total of weights
    times 2**top.

    Weights are float64: a float32 prefix sum loses rows beyond 2**24 of them.
    """
    prefix_BN = weights_BN.cumsum(-1)
    total_B1 = prefix_BN[:, -1:]
    # Below the total, so that the first prefix above the target ends a weight that is not 0.
    below_B1 = torch.nextafter(total_B1, torch.zeros_like(total_B1))
    target_B1 = torch.minimum(uniform_B[:, None] * total_B1, below_B1)
    index_B1 = torch.searchsorted(prefix_BN, target_B1, right=True).clamp_(
        max=prefix_BN.shape[-1] - 1
    )
    log2_prob_B1 = (weights_BN.gather(-1, index_B1) / total_B1).log2_()
    log2_total_B1 = (total_B1.log2() + top_B1).clamp_min(2 * FLOOR)
    return index_B1[:, 0], log2_prob_B1[:, 0], log2_total_B1[:, 0]


def _shares(scores_BN: Tensor) -> tuple[Tensor, Tensor]:
    """2**(score - top) in float64, 0 where MASKED, and the top [B, 1]."""
    top_B1 = scores_BN.amax(-1, keepdim=True).clamp_min(FLOOR)
    return (scores_BN - top_B1).double().exp2_(), top_B1


def without(scores_bST: Tensor, at_b: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of the later slots, less the row just drawn, and their largest."""
    left_bST = scores_bST[:, 1:]
    left_bST.scatter_(2, at_b[:, None, None].expand(-1, left_bST.shape[1], 1), MASKED)
    return left_bST, left_bST.amax(-1)


def put(held_bSN: Tensor, tile_b: Tensor, value_bS: Tensor) -> None:
    """Writes the new figure of each example's tile for the later slots."""
    held_bSN.scatter_(2, tile_b[:, None, None].expand(*value_bS.shape, 1), value_bS[..., None])
