"""Rows drawn at random, and rows by their place, without a number held for every row."""

import numpy as np

PIECE_ROWS = 2**20


def draw_rows(generator: np.random.Generator, num_rows: int, size: int) -> np.ndarray:
    """Different numbers of 0 to `num_rows` - 1 in random order, int64 `[min(size, num_rows)]`.

    All sets and orders are equally likely. Beside the result memory is that of a piece of rows.

    Args:
        generator: Where chance comes from.
        num_rows: Numbers to draw from.
        size: How many.
    """
    if num_rows <= PIECE_ROWS:
        # One seed has always given these, and a run that was begun goes on with its own.
        return generator.permutation(num_rows)[:size]
    rows, size = np.empty(0, np.int64), min(size, num_rows)
    while len(rows) < size:
        rows = np.union1d(rows, generator.integers(0, num_rows, size))
    return generator.permutation(rows)[:size]


def rows_at(chosen_N: np.ndarray, places_M: np.ndarray) -> np.ndarray:
    """`numpy.flatnonzero(chosen_N)[places_M]`, int64 `[M]`, and only a piece of that at a time.

    Args:
        chosen_N: Which rows there are, bool.
        places_M: Places among these, from 0, in any order.
    """
    starts = range(0, max(1, len(chosen_N)), PIECE_ROWS)
    counts = [np.count_nonzero(chosen_N[start : start + PIECE_ROWS]) for start in starts]
    ends = np.cumsum(counts)
    piece_M = np.searchsorted(ends, places_M, side="right")
    rows_M = np.empty(len(places_M), np.int64)
    for piece in np.unique(piece_M).tolist():
        mine, start = piece_M == piece, starts[piece]
        rows = start + np.flatnonzero(chosen_N[start : start + PIECE_ROWS])
        rows_M[mine] = rows[places_M[mine] - ends[piece] + counts[piece]]
    return rows_M


def draw_part(
    chosen_N: np.ndarray, most: int, generator: np.random.Generator, first: int = 0
) -> np.ndarray:
    """Rows where a mask holds, int64, rising; drawn at random where they are more than `most`.

    Args:
        chosen_N: The mask, bool.
        most: Rows at most.
        generator: Where chance comes from.
        first: The rows of so many places are left out.
    """
    num_rows = int(np.count_nonzero(chosen_N)) - first
    if num_rows <= most:
        return rows_at(chosen_N, np.arange(first, first + num_rows))
    return rows_at(chosen_N, first + np.sort(generator.choice(num_rows, most, replace=False)))
