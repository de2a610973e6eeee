"""One pass over the keys: what every tile of rows holds, without a [B, K] tensor."""

import torch
from torch import Tensor

from raclib.retrieval import fused
from raclib.retrieval.layout import MAX_GROUPS, Layout
from raclib.retrieval.problem import FLOOR, MASKED, Problem, Scored, check_finite, room
from raclib.retrieval.product import product
from raclib.retrieval.stats import KeySums, TileStats

STATS_NUMBERS = 2**21  # of each tile statistic, for the examples scanned together
SUMS_NUMBERS = 2**23  # of the key sums by groups, likewise
MILD = 30.0  # 2**score is as exact as 2**(score - top) where no top is farther from 0


def parts(problem: Problem, tile: int) -> list[slice]:
    """Examples scanned together: as many as bounded memory allows."""
    batch, slots, width = problem.queries_BSd.shape
    num_tiles = -(-len(problem.keys) // tile)
    stats = tile if num_tiles == 1 else num_tiles  # the scores of an only tile are kept
    sums = 1 if problem.keys.per_example else min(num_tiles, MAX_GROUPS)
    device = problem.lo_B.device
    most_stats, most_sums = room(STATS_NUMBERS, device), room(SUMS_NUMBERS, device)
    step = max(min(most_stats // stats, most_sums // (sums * width)) // slots, 1)
    return [slice(start, min(start + step, batch)) for start in range(0, batch, step)]


def scan(problem: Problem, layout: Layout, with_sums: bool) -> tuple[TileStats, KeySums | None]:
    """Reads all keys once and returns tile statistics and, on request, key sums by groups."""
    stats = TileStats.empty(problem.queries_BSd, layout.num_tiles)
    sums = KeySums(problem.queries_BSd, layout.num_groups) if with_sums else None
    if fused.fits(problem):
        fused.scan(problem, layout, stats, sums)
    else:
        _stream(problem, layout, stats, sums)
    return stats, sums


def tile_tops(problem: Problem, layout: Layout) -> Tensor:
    """The largest scores alone, [B, S, N], as `TileStats` holds them: reads all keys once.

    Raises:
        UserError: A score is not finite.
    """
    if fused.fits(problem):
        stats, _ = scan(problem, layout, with_sums=False)
        check_finite(stats.entropy())  # a kernel's maximum passes over NaN, its sums do not
        return stats.tops_BSN
    shape = (*problem.queries_BSd.shape[:-1], layout.num_tiles)
    tops_BSN = problem.queries_BSd.new_full(shape, MASKED)
    for scored in problem.scores(layout.chunks()):
        tiles, scores_bSnT = _by_tile(layout, scored)
        tops_BSN[scored.examples, :, tiles] = scores_bSnT.amax(-1)
        del scored, scores_bSnT  # lest two blocks be held at once
    check_finite(tops_BSN)
    return tops_BSN


def _by_tile(layout: Layout, scored: Scored) -> tuple[slice, Tensor]:
    """The tiles that were scored, and the scores by tiles."""
    tiles = slice(scored.start // layout.tile, -(-scored.stop // layout.tile))
    return tiles, scored.scores_bSC.unflatten(-1, (tiles.stop - tiles.start, -1))


def _stream(problem: Problem, layout: Layout, stats: TileStats, sums: KeySums | None) -> None:
    for scored in problem.scores(layout.chunks()):
        _add(problem, layout, scored, stats, sums)
        del scored  # lest two blocks be held at once


def _add(
    problem: Problem, layout: Layout, scored: Scored, stats: TileStats, sums: KeySums | None
) -> None:
    """Reads all scores of a block as few times as can be."""
    block = scored.examples
    tiles, scores_bSnT = _by_tile(layout, scored)
    top_bSn = scores_bSnT.amax(-1)
    is_mild = bool(top_bSn.abs().amax() <= MILD)
    base_bSn = torch.zeros_like(top_bSn) if is_mild else top_bSn.clamp_min(FLOOR)
    if not is_mild:
        scores_bSnT.sub_(base_bSn[..., None])
    if sums is not None and is_mild:
        weights_bSnT, energy_bSn = scores_bSnT.exp2_(), torch.zeros_like(top_bSn)
    else:
        weights_bSnT = scores_bSnT.exp2()
        energy_bSn = scores_bSnT.mul_(weights_bSnT).sum(-1)
    total_bSn = weights_bSnT.sum(-1)
    if sums is not None:
        base_bS = base_bSn.amax(-1)
        gain_bSn = (base_bSn - base_bS[..., None]).exp2_()
        if not is_mild:
            weights_bSnT.mul_(gain_bSn[..., None])
        total_bS = (total_bSn * gain_bSn).sum(-1)
        sum_bSd = product(weights_bSnT.flatten(-2), scored.keys_Cd.mT)
        sums.add(scored.start // layout.group, block, sum_bSd, total_bS, base_bS)
        if is_mild:  # the sum of score * w is q . (sum of w * key)
            energy_bSn[..., 0] = torch.linalg.vecdot(problem.queries_BSd[block], sum_bSd)
    stats.put(block, tiles, top_bSn, base_bSn, total_bSn, energy_bSn)
