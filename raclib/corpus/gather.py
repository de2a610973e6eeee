"""Which shard a row id lies in, and copying rows from where they are to where they are wanted."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from raclib.errors import UserError

Array = np.ndarray
Positions = slice | Array
# A scattered gather goes through a buffer of this size, which stays in the processor's cache.
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


def gather(source: Array, rows: Array, out: Array, where: Positions) -> None:
    """`out[where] = source[rows]`, with each row passing through memory once.

    Args:
        source: `[n, ...]`.
        rows: Valid rows of it, int64 `[N]`.
        out: `[m, ...]`, of the same type and row shape.
        where: N positions in `out`.
    """
    if isinstance(where, slice):
        # mode="raise" would gather into a buffer of its own and copy that.
        np.take(source, rows, axis=0, out=out[where], mode="clip")
        return
    row_bytes = source.dtype.itemsize * int(np.prod(source.shape[1:], dtype=np.int64))
    size = max(1, CHUNK_BYTES // row_bytes)
    buffer = np.empty((min(size, len(rows)), *source.shape[1:]), source.dtype)
    for lo in range(0, len(rows), size):
        part = rows[lo : lo + size]
        chunk = buffer[: len(part)]
        np.take(source, part, axis=0, out=chunk, mode="clip")
        out[where[lo : lo + size]] = chunk
