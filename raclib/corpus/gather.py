"""Which shard a row id lies in, and copying rows from where they are to where they are wanted."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from raclib.errors import UserError

Array = np.ndarray
Positions = slice | Array
# Bytes copied by one core at a time ...
TASK_BYTES = 1024 * 1024
# ... and, where they are scattered, through a buffer that stays in its cache.
CHUNK_BYTES = 256 * 1024


def check_row_ids(row_ids: Any, num_rows: int) -> Array:
    """Row ids as int64 `[N]`.

    Raises:
        UserError: if they are not integers in one dimension or not in `[0, num_rows)`.
    """
    ids = np.asarray(row_ids)
    if ids.ndim != 1:
        raise UserError(f"row_ids: shape {ids.shape}; give one dimension")
    if not ids.size:
        return np.empty(0, np.int64)
    if ids.dtype.kind not in "iu":
        raise UserError(f"row_ids: dtype {ids.dtype}; give integers")
    lowest, highest = int(ids.min()), int(ids.max())
    if lowest < 0 or highest >= num_rows:
        wrong = lowest if lowest < 0 else highest
        raise UserError(
            f"row_ids: {wrong} is out of range; the corpus has rows 0 to {num_rows - 1}"
        )
    return ids.astype(np.int64, copy=False)


def split(ids: Array, starts: Array) -> Iterator[tuple[int, Positions, Array]]:
    """Splits row ids by shard.

    Args:
        ids: Valid row ids, int64 `[N]`.
        starts: First row id of each shard and the number of rows, int64 `[num_shards + 1]`.

    Yields:
        Shard number; where its ids stand in `ids`; its rows, counted from its first.
    """
    shards = np.searchsorted(starts, ids, side="right") - 1
    order = None
    if (shards[1:] < shards[:-1]).any():
        order = np.argsort(shards, kind="stable")
        ids, shards = ids[order], shards[order]
    edges = np.flatnonzero(shards[1:] != shards[:-1]) + 1
    for lo, hi in zip([0, *edges.tolist()], [*edges.tolist(), len(ids)], strict=True):
        if lo < hi:
            shard = int(shards[lo])
            where = slice(lo, hi) if order is None else order[lo:hi]
            yield shard, where, ids[lo:hi] - starts[shard]


def unique_in_order(ids: Array) -> tuple[Array, Array]:
    """The different ids in the order in which they first occur, and for each id its place there.

    Rows then arrive nearly in the order in which they are wanted, so copying them is quick.
    """
    values, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return values[order], place[inverse]


def gather(source: Array, rows: Array, out: Array, where: Positions) -> None:
    """`out[where] = source[rows]`, in pieces that stay in the processor's cache, on several cores.

    Args:
        source: `[n, ...]`, contiguous.
        rows: Valid rows of it, int64 `[N]`.
        out: `[m, ...]`, contiguous, of the same type and row shape.
        where: N positions in `out`; a slice of them has step 1.
    """
    source, out = _as_items(source), _as_items(out)
    size = max(1, TASK_BYTES // source.itemsize)
    starts = range(0, len(rows), size)
    if isinstance(where, slice):
        target = out[where]

        def copy(lo: int) -> None:
            # mode="raise" would gather into a buffer of its own and copy that.
            part = rows[lo : lo + size]
            np.take(source, part, out=target[lo : lo + size], mode="clip")
    else:

        def copy(lo: int) -> None:
            _scatter(source, rows[lo : lo + size], out, where[lo : lo + size])

    # NumPy releases the interpreter's lock while it copies.
    for _ in _pool().map(copy, starts) if len(starts) > 1 else map(copy, starts):
        pass


def _scatter(source: Array, rows: Array, out: Array, where: Array) -> None:
    size = max(1, CHUNK_BYTES // source.itemsize)
    buffer = np.empty(min(size, len(rows)), source.dtype)
    for lo in range(0, len(rows), size):
        part = rows[lo : lo + size]
        chunk = buffer[: len(part)]
        np.take(source, part, out=chunk, mode="clip")
        out[where[lo : lo + size]] = chunk


def _as_items(array: Array) -> Array:
    """The array with each row as one item: NumPy moves those faster than rows of numbers."""
    if array.ndim == 1:
        return array
    row_bytes = array.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
    return np.ndarray(len(array), np.dtype((np.void, row_bytes)), array)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0))), "gather")
