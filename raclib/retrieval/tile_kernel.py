"""Products of float32 numbers with keys in Triton kernels, and the kernel that scores tiles.

Scores are as exact as float32 products: a float32 number is the sum of three bfloat16 numbers, each
of which meets bfloat16 keys on tensor cores without rounding; int8 keys are bfloat16 numbers too,
and keys of other types go by tf32x3.

Shapes: M queries and C keys of a block, D a key's width padded to a power of 2.
"""

from typing import Any

import torch
import triton
import triton.language as tl

MASKED = tl.constexpr(-1e38)


def launch_options(keys: torch.dtype) -> dict[str, Any]:
    """The type in which keys of a type meet queries and weights, and how programs are compiled."""
    # Triton's interpreter, where the tests run without a GPU, has no bfloat16 products.
    if keys in (torch.bfloat16, torch.int8) and not triton.knobs.runtime.interpret:
        # Of 168 registers a thread, three programs fit on a multiprocessor of an H200 at once.
        return {"TYPE": tl.bfloat16, "maxnreg": 168}
    return {"TYPE": tl.float32}


@triton.jit
def dot(a_MJ, b_JN, total_MN, PARTS: tl.constexpr):
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
def load_queries(queries, query_M, real_M, WIDTH: tl.constexpr, D: tl.constexpr):
    """Queries [M, D], 0 beyond the width."""
    d = tl.arange(0, D)
    at_MD = queries + query_M.to(tl.int64)[:, None] * WIDTH + d[None, :]
    return tl.load(at_MD, mask=real_M[:, None] & (d < WIDTH)[None, :], other=0.0)


@triton.jit
def load_keys(
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
def load_scales(scales, row_C, num_keys, MASK: tl.constexpr):
    """Scales [C], 0 beyond the last row if MASK."""
    if MASK:
        scale_C = tl.load(scales + row_C, mask=row_C < num_keys, other=0.0)
    else:
        scale_C = tl.load(scales + row_C)
    return scale_C


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
    query_MD = load_queries(queries, query_M, real_M, WIDTH, D)

    at_C = tl.program_id(1) * C + tl.arange(0, C)
    row_C = tl.load(tile_of + example).to(tl.int32) * tile + at_C
    key_CD = load_keys(keys, row_C, num_keys, key_stride, True, WIDTH, D, TYPE)
    score_MC = dot(query_MD, tl.trans(key_CD), tl.zeros([M, C], tl.float32), 3)
    if SCALED:
        scale_C = load_scales(scales, row_C, num_keys, True)
        score_MC = score_MC * scale_C[None, :]
    inside_C = (row_C >= tl.load(lo + example)) & (row_C < tl.load(hi + example))
    for j in range(num_taken):
        inside_C = inside_C & (row_C != tl.load(taken + example * taken_stride + j))
    score_MC = tl.where(inside_C[None, :], score_MC, MASKED)
    at_M = example.to(tl.int64) * (num_slots - first_slot) + m
    real_MC = real_M[:, None] & (at_C < tile)[None, :]
    tl.store(scores + at_M[:, None] * tile + at_C[None, :], score_MC, mask=real_MC)
