"""One pass over the keys: what every tile of rows holds, without a [B, K] tensor."""

from raclib.retrieval import fused
from raclib.retrieval.layout import Layout
from raclib.retrieval.problem import Problem
from raclib.retrieval.stats import KeySums, TileStats


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
    buffer = problem.queries_BSd.new_empty(0)
    for start, stop, block, scores_bSC, keys_Cd in problem.scores(layout.chunks()):
        tiles = slice(start // layout.tile, -(-stop // layout.tile))
        scores_bSnT = scores_bSC.unflatten(-1, (tiles.stop - tiles.start, -1))
        if len(buffer) < scores_bSC.numel():
            buffer = scores_bSC.new_empty(scores_bSC.numel())
        weights_bSnT = buffer[: scores_bSC.numel()].view_as(scores_bSnT)
        top_bSn = stats.fill(block, tiles, scores_bSnT, weights_bSnT)
        if sums is not None:
            top_bS = top_bSn.amax(-1)
            gain_bSn = (top_bSn - top_bS[..., None]).exp2_()
            total_bS = (gain_bSn * stats.sums_BSN[block, :, tiles]).sum(-1)
            weights_bSC = weights_bSnT.mul_(gain_bSn[..., None]).view_as(scores_bSC)
            sums.add(start // layout.group, block, weights_bSC, total_bS, top_bS, keys_Cd)
