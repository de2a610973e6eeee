"""Triton kernels: scores, tile statistics and key sums in one pass, none of it [N, K] in memory.

As in FlashAttention (Dao et al. 2022) with the keys for values: a program holds a block of queries
and streams a group of keys past them. Scores are as exact as float32 products: a float32 number is
the sum of three bfloat16 numbers, each of which meets bfloat16 keys on tensor cores without
rounding; int8 keys are bfloat16 numbers too, and keys of other types go by tf32x3.

Shapes: M queries and C keys of a block, D a key's width padded to a power of 2.
"""

from typing import Any

import torch
import triton
import triton.language as tl

MASKED = tl.constexpr(-1e38)
FLOOR = tl.constexpr(-1e30)
NO_ROW = tl.constexpr(2**31 - 1)


@triton.jit
def _dot(a_MJ, b_JN, total_MN, PARTS: tl.constexpr):
    """total + a @ b; `a` is float32, and in PARTS of 8 bits of its 24 where b is bfloat16."""
    if b_JN.dtype == tl.float32:
        total_MN = tl.dot(a_MJ, b_JN, total_MN, input_precision="tf32x3")
    else:
        for _ in tl.static_range(PARTS - 1):
            # Cut rather than rounded: converting back and forth takes longer.
            bits_MJ = a_MJ.to(tl.uint32, bitcast=True) & 0xFFFF0000
            part_MJ = bits_MJ.to(tl.float32, bitcast=True)
            total_MN = tl.dot(part_MJ.to(tl.bfloat16), b_JN, total_MN)
            a_MJ = a_MJ - part_MJ
        total_MN = tl.dot(a_MJ.to(tl.bfloat16), b_JN, total_MN)
    return total_MN


@triton.jit
def _load_queries(queries, query_M, real_M, WIDTH: tl.constexpr, D: tl.constexpr):
    """Queries [M, D], 0 beyond the width."""
    d = tl.arange(0, D)
    at_MD = queries + query_M.to(tl.int64)[:, None] * WIDTH + d[None, :]
    return tl.load(at_MD, mask=real_M[:, None] & (d < WIDTH)[None, :], other=0.0)


@triton.jit
def _load_keys(
    keys,
    row_C,
    num_keys,
    key_stride,
    MASK: tl.constexpr,
    WIDTH: tl.constexpr,
    D: tl.constexpr,
    TYPE: tl.constexpr,
):
    """Keys [C, D] in the type of the products, 0 beyond the width and, if MASK, the last row."""
    d = tl.arange(0, D)
    at_CD = keys + row_C.to(tl.int64)[:, None] * key_stride + d[None, :]
    if MASK:
        real_CD = (row_C < num_keys)[:, None] & (d < WIDTH)[None, :]
        key_CD = tl.load(at_CD, mask=real_CD, other=0)
    elif WIDTH == D:
        key_CD = tl.load(at_CD)
    else:
        key_CD = tl.load(at_CD, mask=(d < WIDTH)[None, :], other=0)
    return key_CD.to(TYPE)


@triton.jit
def _load_scales(scales, row_C, num_keys, MASK: tl.constexpr):
    if MASK:
        scale_C = tl.load(scales + row_C, mask=row_C < num_keys, other=0.0)
    else:
        scale_C = tl.load(scales + row_C)
    return scale_C


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
        key_CD = _load_keys(keys, row_C, num_keys, key_stride, MASK, WIDTH, D, TYPE)
        score_MC = _dot(query_MD, tl.trans(key_CD), tl.zeros([M, C], tl.float32), 3)
        if SCALED:
            scale_C = _load_scales(scales, row_C, num_keys, MASK)
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
            sum_MD = _dot(weight_MC, key_CD, sum_MD * decay_M[:, None], 2)
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
    query_MD = _load_queries(queries, query_M, real_M, WIDTH, D)
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


@triton.jit
def tile_scores_kernel(
    queries,
    lo,
    hi,
    keys,
    scales,
    taken,
    tile_of,
    scores,
    first_slot,
    num_slots,
    num_taken,
    taken_stride,
    num_keys,
    key_stride,
    tile,
    SCALED: tl.constexpr,
    TYPE: tl.constexpr,
    WIDTH: tl.constexpr,
    M: tl.constexpr,
    C: tl.constexpr,
    D: tl.constexpr,
):
    """Program (b, n): scores of example b's slots from `first_slot` on, block n of its tile.

    Args:
        queries: float32 [B, num_slots, WIDTH].
        lo: As in `scan_kernel`; so the next three.
        hi: int64 [B].
        keys: [num_keys, WIDTH].
        scales: float32 [num_keys].
        taken: int64 [B, num_taken], rows to leave out, `taken_stride` apart.
        tile_of: int64 [B].
        scores: float32 [B, num_slots - first_slot, tile], written.
        first_slot: The first slot scored.
        num_slots: Slots of an example.
        num_taken: Rows to leave out.
        taken_stride: Numbers from an example's rows to the next one's.
        num_keys: Rows.
        key_stride: Numbers from a row to the next.
        tile: Rows of a tile.
    """
    example = tl.program_id(0)
    m = tl.arange(0, M)
    real_M = first_slot + m < num_slots
    query_M = example * num_slots + first_slot + m
    query_MD = _load_queries(queries, query_M, real_M, WIDTH, D)

    at_C = tl.program_id(1) * C + tl.arange(0, C)
    row_C = tl.load(tile_of + example).to(tl.int32) * tile + at_C
    key_CD = _load_keys(keys, row_C, num_keys, key_stride, True, WIDTH, D, TYPE)
    score_MC = _dot(query_MD, tl.trans(key_CD), tl.zeros([M, C], tl.float32), 3)
    if SCALED:
        scale_C = _load_scales(scales, row_C, num_keys, True)
        score_MC = score_MC * scale_C[None, :]
    inside_C = (row_C >= tl.load(lo + example)) & (row_C < tl.load(hi + example))
    for j in range(num_taken):
        inside_C = inside_C & (row_C != tl.load(taken + example * taken_stride + j))
    score_MC = tl.where(inside_C[None, :], score_MC, MASKED)
    at_M = example.to(tl.int64) * (num_slots - first_slot) + m
    real_MC = real_M[:, None] & (at_C < tile)[None, :]
    tl.store(scores + at_M[:, None] * tile + at_C[None, :], score_MC, mask=real_MC)


def launch_options(keys: torch.dtype) -> dict[str, Any]:
    """The type in which keys of a type meet queries and weights, and how programs are compiled."""
    # Triton's interpreter, where the tests run without a GPU, has no bfloat16 products.
    if keys in (torch.bfloat16, torch.int8) and not triton.knobs.runtime.interpret:
        # Of 168 registers a thread, three programs fit on a multiprocessor of an H200 at once.
        return {"TYPE": tl.bfloat16, "maxnreg": 168}
    return {"TYPE": tl.float32}
