"""Rows that servers sent, kept in memory where they may be asked for again."""

from collections.abc import Mapping

import numpy as np

from raclib.corpus.gather import Array, Positions, gather
from raclib.corpus.manifest import Field

# Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4): 2^64 over the golden ratio.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class RowCache:
    """A direct-mapped cache: a row has one slot, which the last row stored there holds.

    So looking up and storing any number of rows takes a few array operations and no bookkeeping.

    Args:
        fields: Every field of a row.
        num_bytes: Memory that rows may take.
    """

    def __init__(self, fields: Mapping[str, Field], num_bytes: int) -> None:
        self.fields = fields
        row_bytes = sum(field.row_bytes + 8 for field in fields.values())
        self._bits = max(0, (num_bytes // row_bytes).bit_length() - 1)
        self._ids: dict[str, Array] = {}
        self._rows: dict[str, Array] = {}

    def find(self, ids: Array, names: tuple[str, ...]) -> Array:
        """Which of the rows are held with all these fields, bool `[N]`."""
        slots = self._slots(ids)
        held = np.ones(len(ids), bool)
        for name in names:
            held &= self._ids[name][slots] == ids if name in self._ids else False
        return held

    def read(self, ids: Array, name: str, out: Array, where: Positions) -> None:
        """`out[where] =` one field of rows that are held."""
        gather(self._rows[name], self._slots(ids), out, where)

    def store(self, ids: Array, rows: Mapping[str, Array]) -> None:
        """Keeps rows; ids must differ."""
        slots, first = np.unique(self._slots(ids), return_index=True)
        for name, values in rows.items():
            if name not in self._ids:
                field = self.fields[name]
                self._ids[name] = np.full(1 << self._bits, -1, np.int64)
                self._rows[name] = np.empty((1 << self._bits, *field.shape), field.dtype)
            self._ids[name][slots] = ids[first]
            self._rows[name][slots] = values[first]

    def _slots(self, ids: Array) -> Array:
        if not self._bits:
            return np.zeros(len(ids), np.int64)
        mixed = ids.astype(np.uint64) * _MULTIPLIER
        return (mixed >> np.uint64(64 - self._bits)).astype(np.int64)
