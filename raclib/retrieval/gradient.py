"""The mean key of each draw, which is all that the gradient of its log-probability needs.

With frozen keys d log p(i) / d q = scale / temperature * (k_i - E_p[k]), p over the rows left to
the slot. The pass that scored the keys has summed them by groups of rows; only groups that lost a
row to an earlier slot are summed again, without it.
"""

import torch
from torch import Tensor

from raclib.retrieval.problem import FLOOR, MASKED, Problem
from raclib.retrieval.rollout import Rollout
from raclib.retrieval.scan import KeySums, Layout


def with_gradient(value_BS: Tensor, queries_BSd: Tensor, slope_BSd: Tensor) -> Tensor:
    """`value_BS` with the derivative `slope_BSd` by the queries."""
    change_BSd = queries_BSd - queries_BSd.detach()  # 0, and its derivative 1
    return value_BS + (change_BSd * slope_BSd).sum(-1)


def mean_keys(problem: Problem, layout: Layout, sums: KeySums, rollout: Rollout) -> Tensor:
    """E_p[k] of each slot, [B, S, d]; overwrites `sums`. Meaningless where nothing was drawn."""
    earlier_BSJ = _earlier_rows(rollout.rows_BS)
    lost_BSJ = torch.where(earlier_BSJ < 0, -1, earlier_BSJ // layout.group)
    for group in range(layout.num_groups):
        lost_BS = (lost_BSJ == group).any(-1)
        if lost_BS.any():
            _sum_again(problem, layout, sums, group, lost_BS, earlier_BSJ)
    share_GBS = (sums.tops_GBS - rollout.log2_total_BS).exp2_().to(sums.sums_GBSd.dtype)
    return torch.einsum("gbs,gbsd->bsd", share_GBS, sums.sums_GBSd)


def _earlier_rows(rows_BS: Tensor) -> Tensor:
    """Rows drawn in the slots before each slot, [B, S, S], -1 elsewhere."""
    slots = rows_BS.shape[1]
    later_SJ = torch.ones(slots, slots, dtype=torch.bool, device=rows_BS.device).triu()
    return rows_BS[:, None].expand(-1, slots, -1).masked_fill(later_SJ, -1)


def _sum_again(
    problem: Problem,
    layout: Layout,
    sums: KeySums,
    group: int,
    lost_BS: Tensor,
    earlier_BSJ: Tensor,
) -> None:
    """Replaces the sums of a group by those over the rows left to each slot that lost one."""
    part, excluded_bsJ = problem, earlier_BSJ
    if not problem.keys.per_example:
        example_P, slot_P = lost_BS.nonzero(as_tuple=True)
        part = problem.shared_by(example_P, slot_P)
        excluded_bsJ = earlier_BSJ[example_P, slot_P][:, None]
    again = KeySums(part.queries_BSd, 1)
    for start, stop in layout.chunks(group):
        for block, scores_bsC, keys_Cd in part.scores(start, stop):
            _exclude(scores_bsC, excluded_bsJ[block] - start)
            top_bs = scores_bsC.amax(-1).clamp_min_(FLOOR)
            again.add(0, block, scores_bsC.sub_(top_bs[..., None]).exp2_(), top_bs, keys_Cd)
    if problem.keys.per_example:
        sums.tops_GBS[group], sums.sums_GBSd[group] = again.tops_GBS[0], again.sums_GBSd[0]
    else:
        sums.tops_GBS[group, example_P, slot_P] = again.tops_GBS[0, :, 0]
        sums.sums_GBSd[group, example_P, slot_P] = again.sums_GBSd[0, :, 0]


def _exclude(scores_bsC: Tensor, column_bsJ: Tensor) -> None:
    """Masks the columns named; those outside the scores are ignored."""
    inside_bsJ = (column_bsJ >= 0) & (column_bsJ < scores_bsC.shape[-1])
    example_P, slot_P, _ = inside_bsJ.nonzero(as_tuple=True)
    scores_bsC[example_P, slot_P, column_bsJ[inside_bsJ]] = MASKED
