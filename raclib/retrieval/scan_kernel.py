"""The pass over all keys as a Triton kernel: tile statistics and key sums, no [N, K] in memory.

As in FlashAttention (Dao et al. 2022) with the keys for values: a program holds a block of queries
and streams a group of keys past them. Shapes are as in `tile_kernel`.
"""

import triton
import triton.language as tl

from raclib.retrieval.tile_kernel import MASKED, dot, load_keys, load_queries, load_scales

FLOOR = tl.constexpr(-1e30)
NO_ROW = tl.constexpr(2**31 - 1)


@triton.jit
def _scan_rows(
    start,
    stop,
    query_MD,
    lo_M,
    hi_M,
    keys,
    scales,
    taken_M,
    num_taken,
    num_keys,
    key_stride,
    MASK: tl.constexpr,
    STATS: tl.constexpr,
    SUMS: tl.constexpr,
    SCALED: tl.constexpr,
    TYPE: tl.constexpr,
    WIDTH: tl.constexpr,
    M: tl.constexpr,
    C: tl.constexpr,
    D: tl.constexpr,
):
    """Top, sum of w, sum of w * (score - top) and sum of w * key, w = 2**(score - top)."""
    top_M = tl.full([M], FLOOR, tl.float32)
    total_M = tl.zeros([M], tl.float32)
    energy_M = tl.zeros([M], tl.float32)
    sum_MD = tl.zeros([M, D], tl.float32)
    for at in range(start, stop, C):
        row_C = at + tl.arange(0, C)
        key_CD = load_keys(keys, row_C, num_keys, key_stride, MASK, WIDTH, D, TYPE)
        score_MC = dot(query_MD, tl.trans(key_CD), tl.zeros([M, C], tl.float32), 3)
        if SCALED:
            scale_C = load_scales(scales, row_C, num_keys, MASK)
            score_MC = score_MC * scale_C[None, :]
        if MASK:
            inside_MC = (row_C[None, :] >= lo_M[:, None]) & (row_C[None, :] < hi_M[:, None])
            for j in range(num_taken):
                inside_MC = inside_MC & (row_C[None, :] != tl.load(taken_M + j)[:, None])
            score_MC = tl.where(inside_MC, score_MC, MASKED)
        new_M = tl.maximum(top_M, tl.max(score_MC, 1))
        fall_M = top_M - new_M
        decay_M = tl.exp2(fall_M)
        score_MC = score_MC - new_M[:, None]
        weight_MC = tl.exp2(score_MC)
        if STATS:
            energy_M = (energy_M + fall_M * total_M) * decay_M + tl.sum(weight_MC * score_MC, 1)
        total_M = total_M * decay_M + tl.sum(weight_MC, 1)
        if SUMS:
            if SCALED:
                weight_MC = weight_MC * scale_C[None, :]
            sum_MD = dot(weight_MC, key_CD, sum_MD * decay_M[:, None], 2)
        top_M = new_M
    return top_M, total_M, energy_M, sum_MD


@triton.jit
def scan_kernel(
    queries,
    lo,
    hi,
    keys,
    scales,
    taken,
    work_query,
    work_group,
    tile_tops,
    tile_sums,
    tile_energies,
    group_sums,
    group_totals,
    group_tops,
    num_queries,
    num_slots,
    num_taken,
    num_keys,
    key_stride,
    tile,
    group_rows,
    piece_rows,
    STATS: tl.constexpr,
    SUMS: tl.constexpr,
    SCALED: tl.constexpr,
    TAKEN: tl.constexpr,
    TYPE: tl.constexpr,
    WIDTH: tl.constexpr,
    M: tl.constexpr,
    C: tl.constexpr,
    D: tl.constexpr,
):
    """Program w: queries work_query[w] (-1 for none) over the rows of group work_group[w].

    Args:
        queries: float32 [N, WIDTH], `num_slots` an example.
        lo: int64 [B], first eligible row of each example.
        hi: int64 [B], one past the last.
        keys: [num_keys, WIDTH], rows `key_stride` apart.
        scales: float32 [num_keys], if SCALED.
        taken: int64 [N, num_taken], rows to leave out; -1 for none.
        work_query: int32 [W, M].
        work_group: int32 [W].
        tile_tops: float32 [N, tiles], written if STATS, as `TileStats`; so the next two.
        tile_sums: float32 [N, tiles].
        tile_energies: float32 [N, tiles].
        group_sums: float32 [G, N, WIDTH], written if SUMS, as `KeySums`; so the next two.
        group_totals: float32 [G, N].
        group_tops: float32 [G, N].
        num_queries: N.
        num_slots: Queries of an example.
        num_taken: Rows to leave out of each query's.
        num_keys: Rows.
        key_stride: Numbers from a row to the next.
        tile: Rows of a tile.
        group_rows: Rows of a group, whole tiles.
        piece_rows: Rows summed in one go: tensor cores round sums towards 0, so long ones drift.
    """
    d = tl.arange(0, D)
    query_M = tl.load(work_query + tl.program_id(0) * M + tl.arange(0, M))
    group = tl.load(work_group + tl.program_id(0))
    real_M = query_M >= 0
    query_M = tl.maximum(query_M, 0)
    lo_M = tl.load(lo + query_M // num_slots).to(tl.int32)
    hi_M = tl.load(hi + query_M // num_slots).to(tl.int32)
    query_MD = load_queries(queries, query_M, real_M, WIDTH, D)
    taken_M = taken + query_M * num_taken
    if TAKEN > 0:
        j = tl.arange(0, TAKEN)
        real_MJ = real_M[:, None] & (j < num_taken)[None, :]
        taken_MJ = tl.load(taken_M[:, None] + j[None, :], mask=real_MJ, other=-1).to(tl.int32)
    first = tl.maximum(tl.min(tl.where(real_M, lo_M, NO_ROW), 0), group * group_rows)
    stop = tl.minimum(tl.max(tl.where(real_M, hi_M, 0), 0), (group + 1) * group_rows)
    stop = tl.minimum(stop, num_keys)  # an empty interval may lie beyond the last row
    all_lo = tl.max(tl.where(real_M, lo_M, 0), 0)
    all_hi = tl.min(tl.where(real_M, hi_M, NO_ROW), 0)
    num_tiles = tl.cdiv(num_keys, tile)
    group_top_M = tl.full([M], FLOOR, tl.float32)
    group_total_M = tl.zeros([M], tl.float32)
    group_sum_MD = tl.zeros([M, D], tl.float32)
    for number in range(first // tile, tl.cdiv(stop, tile)):
        top_M = tl.full([M], FLOOR, tl.float32)
        total_M = tl.zeros([M], tl.float32)
        energy_M = tl.zeros([M], tl.float32)
        tile_stop = tl.minimum((number + 1) * tile, num_keys)
        for start in range(number * tile, tile_stop, piece_rows):
            piece_stop = tl.minimum(start + piece_rows, tile_stop)
            whole = (start >= all_lo) & (piece_stop <= all_hi) & ((piece_stop - start) % C == 0)
            if TAKEN > 0:
                held_MJ = (taken_MJ >= start) & (taken_MJ < piece_stop)
                whole = whole & (tl.sum(held_MJ.to(tl.int32)) == 0)
            if whole:
                part_top_M, part_M, part_energy_M, part_MD = _scan_rows(
                    start, piece_stop, query_MD, lo_M, hi_M, keys, scales, taken_M, num_taken,
                    num_keys, key_stride, False, STATS, SUMS, SCALED, TYPE, WIDTH, M, C, D,
                )  # fmt: skip
            else:
                part_top_M, part_M, part_energy_M, part_MD = _scan_rows(
                    start, piece_stop, query_MD, lo_M, hi_M, keys, scales, taken_M, num_taken,
                    num_keys, key_stride, True, STATS, SUMS, SCALED, TYPE, WIDTH, M, C, D,
                )  # fmt: skip
            if STATS:
                new_M = tl.maximum(top_M, part_top_M)
                fall_M, part_fall_M = top_M - new_M, part_top_M - new_M
                decay_M, gain_M = tl.exp2(fall_M), tl.exp2(part_fall_M)
                energy_M = (energy_M + fall_M * total_M) * decay_M
                energy_M += (part_energy_M + part_fall_M * part_M) * gain_M
                total_M = total_M * decay_M + part_M * gain_M
                top_M = new_M
            if SUMS:
                new_M = tl.maximum(group_top_M, part_top_M)
                decay_M, gain_M = tl.exp2(group_top_M - new_M), tl.exp2(part_top_M - new_M)
                group_total_M = group_total_M * decay_M + part_M * gain_M
                group_sum_MD = group_sum_MD * decay_M[:, None] + part_MD * gain_M[:, None]
                group_top_M = new_M
        if STATS:
            at_M = query_M.to(tl.int64) * num_tiles + number
            tl.store(tile_tops + at_M, tl.where(total_M > 0, top_M, MASKED), mask=real_M)
            tl.store(tile_sums + at_M, total_M, mask=real_M)
            tl.store(tile_energies + at_M, energy_M, mask=real_M)
    if SUMS:
        at_M = group.to(tl.int64) * num_queries + query_M
        at_MD = at_M[:, None] * WIDTH + d[None, :]
        tl.store(group_tops + at_M, group_top_M, mask=real_M)
        tl.store(group_totals + at_M, group_total_M, mask=real_M)
        tl.store(group_sums + at_MD, group_sum_MD, mask=real_M[:, None] & (d < WIDTH)[None, :])
