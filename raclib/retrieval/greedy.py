"""The best row left in each slot: what training compares draws with, and what predictions use."""

from collections.abc import Sequence

import torch
from torch import Tensor

from raclib.retrieval.few import greedy_few
from raclib.retrieval.layout import Layout, tile_size
from raclib.retrieval.precision import full_precision
from raclib.retrieval.problem import FLOOR, Problem
from raclib.retrieval.rollout import TileScorer, put, without
from raclib.retrieval.scan import parts, tile_tops
from raclib.retrieval.table import QuantizedKeys


@full_precision()
def greedy_rows(
    queries: Tensor,
    keys: Tensor | QuantizedKeys,
    lo: Tensor | None = None,
    hi: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """`Draw.greedy` without a draw: scores are made and compared, nothing else.

    Args:
        queries: As in `draw`; so the others.
        keys: [K, d] or [B, K, d].
        lo: int64 [B].
        hi: int64 [B].
        scale: Factor of the logits, above 0 or below; 1 / sqrt(d) if None.

    Returns:
        int64 [B, S], the best row left in each slot, ties to the lowest; -1 where none is left.

    Raises:
        UserError: As `draw`.
    """
    problem = Problem.build(queries, keys, 1.0, lo, hi, scale)
    ordered, order_B = problem.by_interval()
    tile = tile_size(len(problem.keys))
    narrowed, base = ordered.narrowed(tile)
    if not len(narrowed.keys):
        return torch.full(queries.shape[:2], -1, device=queries.device)
    found = [_greedy_part(narrowed.examples(part), tile) for part in parts(narrowed, tile)]
    return whole_rows(found, order_B, base)


def whole_rows(found: Sequence[Tensor], order_B: Tensor, base: int) -> Tensor:
    """Rows [B, S] of a narrowed problem's parts as those of the whole, in the batch's order."""
    rows_BS = torch.cat(list(found))[torch.argsort(order_B)]
    return torch.where(rows_BS < 0, -1, rows_BS + base)


def greedy_rollout(problem: Problem, tops_BSN: Tensor, tile: int) -> Tensor:
    """The best row left in each slot, [B, S], ties to the lowest; overwrites `tops_BSN`."""
    rows_BS = torch.full(tops_BSN.shape[:-1], -1, device=tops_BSN.device)
    scorer = TileScorer(problem, tile)
    for slot in range(rows_BS.shape[1]):
        tile_B = tops_BSN[:, slot].argmax(-1)
        for block, scores_bST in scorer.score(slot, tile_B, rows_BS):
            best_b, at_b = scores_bST[:, 0].max(-1)
            rows_BS[block, slot] = torch.where(best_b > FLOOR, tile_B[block] * tile + at_b, -1)
            put(tops_BSN[block, slot + 1 :], tile_B[block], without(scores_bST, at_b)[1])
    return rows_BS


def _greedy_part(problem: Problem, tile: int) -> Tensor:
    if tile >= len(problem.keys):
        return greedy_few(problem)
    tops_BSN = tile_tops(problem, Layout.cut(len(problem.keys), tile, 1))
    return greedy_rollout(problem, tops_BSN, tile)
