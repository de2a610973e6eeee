"""The best keys of each query within its interval, exactly: a streamed search."""

from typing import NamedTuple

import torch
from torch import Tensor

from raclib.retrieval.precision import full_precision

TILE = 8192
QUERIES_AT_ONCE = 256


class Nearest(NamedTuple):
    """Keys in falling order of their scores.

    Attributes:
        rows_BN: int64; -1 where fewer than N keys are eligible.
        scores_BN: float32; -inf there.
    """

    rows_BN: Tensor
    scores_BN: Tensor


def distance_bias(keys_Kd: Tensor) -> Tensor:
    """Minus half the squared length of each key, float32 `[K]`: see `nearest`."""
    pieces = (keys_bd.float().square().sum(1) for keys_bd in keys_Kd.split(TILE))
    return torch.cat([torch.zeros(0, device=keys_Kd.device), *pieces]) / -2


@full_precision()
@torch.no_grad()
def nearest(
    queries_Bd: Tensor,
    keys_Kd: Tensor,
    count: int,
    lo_B: Tensor,
    hi_B: Tensor,
    bias_K: Tensor | None = None,
) -> Nearest:
    """The `count` keys of highest score with each query; nothing of size B x K is held.

    Queries are taken in the order of their intervals, so that those that are looked at together
    scan little more than each of them has to.

    Args:
        queries_Bd: float32.
        keys_Kd: Any float type; widened a tile at a time.
        count: N.
        lo_B, hi_B: int64, the keys [lo, hi) that are eligible for each query.
        bias_K: float32, added to the product with a key: -inf leaves a key out, and
            `distance_bias` makes the best keys the nearest ones.
    """
    rows_BN = torch.full((len(queries_Bd), count), -1, device=keys_Kd.device)
    scores_BN = torch.full(rows_BN.shape, -torch.inf, device=keys_Kd.device)
    for part_b in hi_B.argsort().split(QUERIES_AT_ONCE):
        best = Nearest(rows_BN[part_b], scores_BN[part_b])
        lo_b, hi_b = lo_B[part_b], hi_B[part_b]
        for start in range(int(lo_b.min()), int(hi_b.max()), TILE):
            ids_T = torch.arange(start, min(start + TILE, int(hi_b.max())), device=keys_Kd.device)
            tile = slice(start, start + len(ids_T))
            scores_bT = queries_Bd[part_b] @ keys_Kd[tile].to(queries_Bd.dtype).T
            if bias_K is not None:
                scores_bT += bias_K[tile]
            scores_bT.masked_fill_((ids_T < lo_b[:, None]) | (ids_T >= hi_b[:, None]), -torch.inf)
            best = _merge(best, scores_bT, ids_T)
        rows_BN[part_b], scores_BN[part_b] = best
    return Nearest(rows_BN.masked_fill_(scores_BN == -torch.inf, -1), scores_BN)


def _merge(best: Nearest, scores_bT: Tensor, ids_T: Tensor) -> Nearest:
    """The best of what was found and of a tile."""
    count = best.rows_BN.shape[1]
    top_bM, at_bM = scores_bT.topk(min(count, len(ids_T)), dim=1)
    scores_bX = torch.cat([best.scores_BN, top_bM], dim=1)
    scores_bN, at_bN = scores_bX.topk(count, dim=1)
    return Nearest(torch.cat([best.rows_BN, ids_T[at_bM]], dim=1).gather(1, at_bN), scores_bN)
