"""The derivative of each draw's log-probability by its query, from sums of keys.

With frozen keys d log p(i) / d q = scale / temperature * (k_i - E_p[k]), p over the rows left to
the slot. At low temperature p(i) is nearly 1 and that difference cancels, so row i is left out of
the sums like the rows drawn before it: k_i - E_p[k] = (Z k_i - sum_n w_n k_n) / (Z + w_i), both
sums over the other rows, Z = sum_n w_n. The pass that scored the keys has summed them by groups of
rows; only groups that hold one of the rows to leave out are summed again.
"""

import torch
from torch import Tensor

from raclib.retrieval import fused
from raclib.retrieval.layout import Layout
from raclib.retrieval.problem import FLOOR, MASKED, Problem
from raclib.retrieval.product import product
from raclib.retrieval.rollout import Rollout
from raclib.retrieval.stats import KeySums

WIDE_CHUNK = 2**14  # rows scored at once: few queries drew from the same group


def with_gradient(value_BS: Tensor, queries_BSd: Tensor, slope_BSd: Tensor) -> Tensor:
    """`value_BS` with the derivative `slope_BSd` by the queries."""
    change_BSd = queries_BSd - queries_BSd.detach()  # 0, and its derivative 1
    return value_BS + (change_BSd * slope_BSd).sum(-1)


def log_prob_slope(
    problem: Problem, layout: Layout, sums: KeySums | None, rollout: Rollout
) -> Tensor:
    """d log_prob / d queries [B, S, d], 0 where nothing was drawn.

    Args:
        problem: What was drawn from.
        layout: Groups of rows, as in `sums`; a single one where examples have keys of their own.
        sums: Key sums over all eligible rows, overwritten; None where examples have keys of their
            own.
        rollout: What was drawn.
    """
    drawn_BSJ = _drawn_so_far(rollout.rows_BS)
    if sums is None:
        sums = _sum_others(problem, layout, 0, drawn_BSJ)
    else:
        _leave_out(problem, layout, sums, drawn_BSJ)
    share_GBS = (sums.tops_GBS - rollout.log2_total_BS).exp2_().to(problem.queries_BSd.dtype)
    others_BSd = sums.sums_GBSd.mul_(share_GBS[..., None]).sum(0)
    weight_BS = torch.linalg.vecdot(share_GBS, sums.totals_GBS, dim=0)
    own_BSd = problem.keys.gather(rollout.rows_BS.clamp_min(0))
    slope_BSd = problem.slope * (weight_BS[..., None] * own_BSd - others_BSd)
    return slope_BSd.where(rollout.rows_BS[..., None] >= 0, 0.0)


def _drawn_so_far(rows_BS: Tensor) -> Tensor:
    """Rows drawn up to and in each slot, [B, S, S], -1 elsewhere."""
    slots = rows_BS.shape[1]
    later_SJ = torch.ones(slots, slots, dtype=torch.bool, device=rows_BS.device).triu(1)
    return rows_BS[:, None].expand(-1, slots, -1).masked_fill(later_SJ, -1)


def _leave_out(problem: Problem, layout: Layout, sums: KeySums, drawn_BSJ: Tensor) -> None:
    """Sums again what holds drawn rows: pairs of a query and a group."""
    if fused.fits(problem):
        fused.leave_out(problem, layout, sums, drawn_BSJ)
        return
    group_BSJ = torch.where(drawn_BSJ < 0, -1, drawn_BSJ // layout.group)
    for group in range(layout.num_groups):
        example_P, slot_P = (group_BSJ == group).any(-1).nonzero(as_tuple=True)
        if not len(example_P):
            continue
        part = problem.shared_by(example_P, slot_P)
        others = _sum_others(part, layout, group, drawn_BSJ[example_P, slot_P][:, None])
        sums.tops_GBS[group, example_P, slot_P] = others.tops_GBS[0, :, 0]
        sums.totals_GBS[group, example_P, slot_P] = others.totals_GBS[0, :, 0]
        sums.sums_GBSd[group, example_P, slot_P] = others.sums_GBSd[0, :, 0]


def _sum_others(problem: Problem, layout: Layout, group: int, drawn_BSJ: Tensor) -> KeySums:
    """Sums over the eligible rows of a group that were not drawn."""
    sums = KeySums(problem.queries_BSd, 1)
    for start, _, block, scores_bSC, keys_Cd in problem.scores(layout.chunks(group, WIDE_CHUNK)):
        _exclude(scores_bSC, drawn_BSJ[block] - start)
        top_bS = scores_bSC.amax(-1).clamp_min_(FLOOR)
        weights_bSC = scores_bSC.sub_(top_bS[..., None]).exp2_()
        sums.add(0, block, product(weights_bSC, keys_Cd.mT), weights_bSC.sum(-1), top_bS)
    return sums


def _exclude(scores_bSC: Tensor, column_bSJ: Tensor) -> None:
    """Masks the columns named; those outside the scores are ignored."""
    inside_bSJ = (column_bSJ >= 0) & (column_bSJ < scores_bSC.shape[-1])
    example_P, slot_P, _ = inside_bSJ.nonzero(as_tuple=True)
    scores_bSC[example_P, slot_P, column_bSJ[inside_bSJ]] = MASKED
