"""One pass over the keys: what every tile of rows holds, without a [B, K] tensor."""

import torch

from raclib.retrieval import fused
from raclib.retrieval.layout import Layout
from raclib.retrieval.problem import FLOOR, Problem
from raclib.retrieval.stats import KeySums, TileStats

MILD = 30.0  # 2**score is as exact as 2**(score - top) where no top is farther from 0


def scan(problem: Problem, layout: Layout, with_sums: bool) -> tuple[TileStats, KeySums | None]:
    """Reads all keys once and returns tile statistics and, on request, key sums by groups."""
    stats = TileStats.empty(problem.queries_BSd, layout.num_tiles)
    sums = KeySums(problem.queries_BSd, layout.num_groups) if with_sums else None
    if fused.fits(problem):
        fused.scan(problem, layout, stats, sums)
    else:
        _stream(problem, layout, stats, sums)
    return stats, sums


def _stream(problem: Problem, layout: Layout, stats: TileStats, sums: KeySums | None) -> None:
    """Reads all scores of a block as few times as can be."""
    buffer = problem.queries_BSd.new_empty(0)
    for start, stop, block, scores_bSC, keys_Cd in problem.scores(layout.chunks()):
        tiles = slice(start // layout.tile, -(-stop // layout.tile))
        scores_bSnT = scores_bSC.unflatten(-1, (tiles.stop - tiles.start, -1))
        top_bSn = scores_bSnT.amax(-1)
        is_mild = bool(top_bSn.abs().amax() <= MILD)
        base_bSn = torch.zeros_like(top_bSn) if is_mild else top_bSn.clamp_min(FLOOR)
        if not is_mild:
            scores_bSnT.sub_(base_bSn[..., None])
        if sums is not None and is_mild:
            weights_bSnT, energy_bSn = scores_bSnT.exp2_(), torch.zeros_like(top_bSn)
        else:
            if len(buffer) < scores_bSC.numel():
                buffer = scores_bSC.new_empty(scores_bSC.numel())
            weights_bSnT = buffer[: scores_bSC.numel()].view_as(scores_bSnT)
            torch.exp2(scores_bSnT, out=weights_bSnT)
            energy_bSn = scores_bSnT.mul_(weights_bSnT).sum(-1)
        total_bSn = weights_bSnT.sum(-1)
        if sums is not None:
            base_bS = base_bSn.amax(-1)
            gain_bSn = (base_bSn - base_bS[..., None]).exp2_()
            if not is_mild:
                weights_bSnT.mul_(gain_bSn[..., None])
            total_bS = (total_bSn * gain_bSn).sum(-1)
            sum_bSd = weights_bSnT.flatten(-2) @ keys_Cd
            sums.add(start // layout.group, block, sum_bSd, total_bS, base_bS)
            if is_mild:  # the sum of score * w is q . (sum of w * key)
                energy_bSn[..., 0] = torch.linalg.vecdot(problem.queries_BSd[block], sum_bSd)
        stats.put(block, tiles, top_bSn, base_bSn, total_bSn, energy_bSn)
