"""Which shard a row id lies in, and copying rows from where they are to where they are wanted."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from raclib.errors import UserError

Array = np.ndarray
Positions = slice | Array
NUM_CORES = min(4, len(os.sched_getaffinity(0)))
# Fewer bytes are copied before another core has woken up.
TASK_BYTES = 8 * 2**20
# Scattered rows go through a buffer that stays in the processor's cache.
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


def join(positions: Sequence[Positions], num_rows: int) -> Positions:
    """Different positions in `num_rows` rows as one, ascending; a slice where they are all."""
    chosen = np.zeros(num_rows, bool)
    for where in positions:
        chosen[where] = True
    return slice(0, num_rows) if chosen.all() else np.flatnonzero(chosen)


def unique(ids: Array) -> tuple[Array, Array]:
    """The different ids, ascending, and for each id its place among them.

    `numpy.unique` sorts stably, which takes four times as long.
    """
    order = np.argsort(ids)
    ascending = ids[order]
    is_new = np.ones(len(ids), bool)
    np.not_equal(ascending[1:], ascending[:-1], out=is_new[1:])
    places = np.empty_like(order)
    places[order] = np.cumsum(is_new) - 1
    return ascending[is_new], places


def gather(source: Array, rows: Array, out: Array, where: Positions) -> None:
    """`out[where] = source[rows]`, on several cores where that is worth it.

    Args:
        source: `[n, ...]`, contiguous.
        rows: Valid rows of it, int64 `[N]`.
        out: `[m, ...]`, contiguous, of the same type and row shape.
        where: N positions in `out`; a slice of them has step 1.
    """
    source, out = _as_items(source), _as_items(out)
    if not isinstance(where, slice):
        # Several threads would only wait for each other: here NumPy keeps the interpreter's lock.
        _scatter(source, rows, out, where)
        return
    target = out[where]

    def copy(part: slice) -> None:
        # mode="raise" would gather into a buffer of its own and copy that.
        np.take(source, rows[part], out=target[part], mode="clip")

    parts = _parts(len(rows), source.itemsize)
    for _ in _pool().map(copy, parts) if len(parts) > 1 else map(copy, parts):
        pass


def _parts(num_rows: int, row_bytes: int) -> list[slice]:
    """Rows that each core copies."""
    size = max(1, TASK_BYTES // row_bytes, -(-num_rows // NUM_CORES))
    return [slice(lo, lo + size) for lo in range(0, num_rows, size)]


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
    return ThreadPoolExecutor(NUM_CORES, "gather")
