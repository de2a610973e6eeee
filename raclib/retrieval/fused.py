"""The passes over shared keys as GPU kernels; `Problem.scores` streams what does not fit them."""

from importlib.util import find_spec

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from raclib.retrieval.layout import MAX_GROUPS, Layout
from raclib.retrieval.problem import Problem
from raclib.retrieval.stats import KeySums, TileStats

if HAS_TRITON := find_spec("triton") is not None:
    from raclib.retrieval.scan_kernel import scan_kernel
    from raclib.retrieval.tile_kernel import launch_options, tile_scores_kernel

DEVICES = {"cuda"}
MAX_WIDTH, MAX_SLOTS = 128, 64  # what shared memory holds
MAX_KEYS = 2**30  # rows, and the ends of groups of them, are counted in int32
# Rows summed in one go by tensor cores, which round sums towards 0: long ones would drift.
PIECE = 2**13
PIECE_LEFT_OUT = 2**10  # and where rows are left out: pieces that hold none of them are faster
BLOCK_QUERIES, BLOCK_KEYS = 64, 64  # of a program


def fits(problem: Problem) -> bool:
    """Whether the kernels can do it: shared, not too wide keys on a GPU; Triton installed."""
    values = problem.keys.values
    return (
        values.device.type in DEVICES
        and HAS_TRITON
        and not problem.keys.per_example
        and problem.keys.dtype == torch.float32
        and values.shape[1] <= MAX_WIDTH
        and problem.queries_BSd.shape[1] <= MAX_SLOTS
        and values.stride(1) == 1
        and len(values) <= MAX_KEYS
    )


def scan(problem: Problem, layout: Layout, stats: TileStats, sums: KeySums | None) -> None:
    """Fills the statistics of all tiles and the key sums of all groups."""
    # Programs share out groups whether or not sums are wanted.
    layout = Layout.cut(layout.num_keys, layout.tile, MAX_GROUPS)
    device = problem.lo_B.device
    batch, slots, _ = problem.queries_BSd.shape
    query_N = torch.arange(batch * slots, dtype=torch.int32, device=device)
    padded_N = F.pad(query_N, (0, -len(query_N) % BLOCK_QUERIES), value=-1)
    group_G = torch.arange(layout.num_groups, dtype=torch.int32, device=device)
    group_W = group_G.repeat_interleave(len(padded_N) // BLOCK_QUERIES)
    _launch_scan(problem, layout, padded_N.repeat(len(group_G)), group_W, stats, sums, None)


def leave_out(problem: Problem, layout: Layout, sums: KeySums, drawn_BSJ: Tensor) -> None:
    """Sums again, without the rows drawn, each group of a query's that holds one of them."""
    drawn_NJ = drawn_BSJ.flatten(0, 1)
    group_NJ = torch.where(drawn_NJ < 0, -1, drawn_NJ // layout.group)
    again_NJ = (group_NJ[:, :, None] == group_NJ[:, None]).tril(-1).any(-1)
    query_P, j_P = ((group_NJ >= 0) & ~again_NJ).nonzero(as_tuple=True)
    if len(query_P):
        query_W, group_W = _by_group(query_P, group_NJ[query_P, j_P])
        _launch_scan(problem, layout, query_W, group_W, None, sums, drawn_NJ)


def _by_group(query_P: Tensor, group_P: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of a query and a group as blocks of queries of one group, padded by -1."""
    group_P, order_P = torch.sort(group_P, stable=True)
    counts_G = torch.bincount(group_P)
    blocks_G = -(-counts_G // BLOCK_QUERIES)
    first_G = (blocks_G.cumsum(0) - blocks_G) * BLOCK_QUERIES - (counts_G.cumsum(0) - counts_G)
    group_W = torch.arange(len(counts_G), dtype=torch.int32, device=group_P.device)
    group_W = group_W.repeat_interleave(blocks_G)
    query_W = torch.full_like(group_W, -1).repeat_interleave(BLOCK_QUERIES)
    place_P = first_G[group_P] + torch.arange(len(group_P), device=group_P.device)
    query_W[place_P] = query_P[order_P].int()
    return query_W, group_W


def _launch_scan(
    problem: Problem,
    layout: Layout,
    query_W: Tensor,
    group_W: Tensor,
    stats: TileStats | None,
    sums: KeySums | None,
    taken_NJ: Tensor | None,
) -> None:
    batch, slots, width = problem.queries_BSd.shape
    values, scales, absent = problem.keys.values, problem.keys.scales, problem.queries_BSd
    num_taken = 0 if taken_NJ is None else taken_NJ.shape[1]
    # The kernel takes the tensors of `TileStats` and `KeySums` in the order of their attributes.
    with torch.cuda.device_of(values):
        scan_kernel[(len(group_W),)](
            problem.queries_BSd,
            problem.lo_B,
            problem.hi_B,
            values,
            absent if scales is None else scales,
            absent if taken_NJ is None else taken_NJ,
            query_W,
            group_W,
            *((absent,) * 3 if stats is None else vars(stats).values()),
            *((absent,) * 3 if sums is None else vars(sums).values()),
            batch * slots,
            slots,
            num_taken,
            layout.num_keys,
            values.stride(0),
            layout.tile,
            layout.group,
            PIECE if taken_NJ is None else PIECE_LEFT_OUT,
            STATS=stats is not None,
            SUMS=sums is not None,
            SCALED=scales is not None,
            TAKEN=_power_of_2(num_taken) if num_taken else 0,
            WIDTH=width,
            M=BLOCK_QUERIES,
            C=BLOCK_KEYS,
            D=_padded(width),
            **launch_options(values.dtype),
        )


def tile_scores(problem: Problem, tile: int, tile_B: Tensor, slot: int, taken_BJ: Tensor) -> Tensor:
    """Scores [B, S - slot, T] of a tile of each example's, for the slots from `slot` on."""
    batch, slots, width = problem.queries_BSd.shape
    values, scales = problem.keys.values, problem.keys.scales
    scores_BST = problem.queries_BSd.new_empty(batch, slots - slot, tile)
    with torch.cuda.device_of(values):
        tile_scores_kernel[(batch, -(-tile // BLOCK_KEYS))](
            problem.queries_BSd,
            problem.lo_B,
            problem.hi_B,
            values,
            problem.queries_BSd if scales is None else scales,
            taken_BJ,
            tile_B,
            scores_BST,
            slot,
            slots,
            taken_BJ.shape[1],
            taken_BJ.stride(0),
            len(problem.keys),
            values.stride(0),
            tile,
            SCALED=scales is not None,
            WIDTH=width,
            M=_padded(slots - slot),
            C=BLOCK_KEYS,
            D=_padded(width),
            TYPE=launch_options(values.dtype)["TYPE"],
        )
    return scores_BST


def _power_of_2(number: int) -> int:
    """The next one, from `number` on."""
    return 1 << (number - 1).bit_length()


def _padded(number: int) -> int:
    """The next size that tensor cores take."""
    return max(16, _power_of_2(number))
