"""Wide rows read block by block from a remote file, through a cache on node storage.

The cache of a file is a sparse, unnamed file of the same size, mapped into memory like any other:
blocks are written where they belong when they are first asked for, and become holes again when room
is needed. It vanishes with its process.
"""

import math
import mmap
import shutil
import threading
import time
import weakref

import numpy as np

from raclib.corpus.column import Column
from raclib.corpus.faults import FullError
from raclib.corpus.gather import Array, Positions, gather
from raclib.corpus.manifest import MAX_HEADER_BYTES, Field, FileInfo
from raclib.corpus.mounts import Mount
from raclib.corpus.remote import Range, RangeReader
from raclib.corpus.retry import once_in_a_while, retrying
from raclib.corpus.sparse import SparseFile

# Reading a small gap costs less than a second request; ranges stay small enough to run in parallel.
GAP_BYTES = 64 * 1024
MAX_RANGE_BYTES = 4 * 2**20
# Trimming goes below the budget, so that it does not happen at every fetch.
TRIM_TO = 0.9
# For so long nothing more is put on a disk that was full.
FULL_S = 60.0

# First block, one past the last, their bytes.
Piece = tuple[int, int, bytes]

_say = once_in_a_while(FULL_S)


class BlockCache:
    """Node storage shared by the range columns of a process, kept within a budget.

    Args:
        mount: Folder and budget.
        reader: Reads byte ranges.
    """

    def __init__(self, mount: Mount, reader: RangeReader) -> None:
        self.folder = mount.folder
        self.budget = mount.cache_bytes or shutil.disk_usage(self.folder).free // 10
        self.reader = reader
        self.lock = threading.Lock()
        self._columns: weakref.WeakSet[RangeColumn] = weakref.WeakSet()
        self._clock = 0

    def add(self, column: "RangeColumn") -> None:
        """Counts a column in."""
        with self.lock:
            self._columns.add(column)

    def tick(self) -> int:
        """Time of a use."""
        self._clock += 1
        return self._clock

    def trim(self) -> None:
        """Gives up the blocks used longest ago, if more is held than the budget; under the lock."""
        columns = list(self._columns)
        held = sum(column.held_bytes for column in columns)
        if held <= self.budget:
            return
        used = np.concatenate([column.used[column.verified] for column in columns])
        sizes = np.concatenate(
            [np.full(np.count_nonzero(column.verified), column.block_bytes) for column in columns]
        )
        order = np.argsort(used)
        freed = np.cumsum(sizes[order])
        last = int(np.searchsorted(freed, held - self.budget * TRIM_TO))
        oldest = int(used[order[min(last, len(order) - 1)]])
        for column in columns:
            column.drop_unused_since(oldest)


class RangeColumn(Column):
    """Rows of one field of one shard of a remote corpus; a block is verified when it is held.

    Args:
        uri: The file.
        field: What the rows should be.
        num_rows: How many there should be.
        info: Size and checksum the file should have.
        cache: Node storage and reader.

    Raises:
        UserError: if the file is missing or is not what the manifest says.
    """

    def __init__(
        self, uri: str, field: Field, num_rows: int, info: FileInfo, cache: BlockCache
    ) -> None:
        self._uri, self._cache = uri, cache
        self._what = field, num_rows, info, uri
        self._full_until = 0.0
        try:
            self._mount(SparseFile.on_disk(cache.folder, info.num_bytes))
        except FullError as error:
            self._note_full(error)
            self._full_until = math.inf  # memory is for the ends alone
            self._mount(SparseFile.in_memory(info.num_bytes))
        self.block_bytes = field.block_rows * field.row_bytes
        self.used = np.zeros(len(self.verified), np.int64)
        cache.add(self)

    def _mount(self, file: SparseFile) -> None:
        """Fills the ends of a file of holes; they may be damaged on the way like any block."""
        field, num_rows, info, uri = self._what
        self._file, buffer = file, file.map()
        buffer.madvise(mmap.MADV_RANDOM)

        def mount() -> None:
            self._fill_ends(info.num_bytes, field.num_blocks(num_rows) * 8)
            super(RangeColumn, self).__init__(buffer, field, num_rows, info, uri)

        retrying(uri)(mount)

    @property
    def held_bytes(self) -> int:
        """Bytes of node storage taken."""
        return self._file.held_bytes

    def gather(self, rows: Array, out: Array, where: Positions) -> None:
        """See `Column.gather`; blocks that are not held are read first."""
        blocks = rows // self.field.block_rows
        pieces: list[Piece] = []
        while time.monotonic() >= self._full_until:
            with self._cache.lock:
                try:
                    self._keep(pieces)
                except FullError as error:
                    self._note_full(error)
                    break
                missing = np.unique(blocks[~self.verified[blocks]])
                if not missing.size:
                    self.used[blocks] = self._cache.tick()
                    gather(self.rows, rows, out, where)
                    self._cache.trim()
                    return
            # Other threads go on meanwhile; what they drop is seen in the next round.
            pieces = self._read(missing)
        self._gather_uncached(rows, out, where)

    def drop_unused_since(self, tick: int) -> None:
        """Makes holes of the blocks last used at a time or before."""
        dropped = self.verified & (self.used <= tick)
        if not dropped.any():
            return
        self.verified[dropped] = False
        # Whole runs of absent blocks become one hole: a block's ends share pages with the next.
        edges = np.flatnonzero(np.diff(~self.verified, prepend=False, append=False))
        counts = np.concatenate([[0], np.cumsum(dropped)])
        for first, last in edges.reshape(-1, 2).tolist():
            if counts[last] > counts[first]:
                self._file.punch_hole(*self._span(first, last))

    def _gather_uncached(self, rows: Array, out: Array, where: Positions) -> None:
        size = self.field.block_rows
        blocks = rows // size
        pieces = self._read(np.unique(blocks))
        # Blocks one after the other, those of gaps too; only the last of a file is shorter.
        held = np.concatenate([np.arange(first, last) for first, last, _ in pieces])
        data = np.frombuffer(b"".join(part for *_, part in pieces), self.rows.dtype)
        places = np.searchsorted(held, blocks) * size + rows % size
        gather(data.reshape(-1, *self.field.shape), places, out, where)

    def _note_full(self, error: FullError) -> None:
        self._full_until = time.monotonic() + FULL_S
        _say(f"{error}; meanwhile rows are read where they lie, each time")

    def _span(self, first: int, last: int) -> Range:
        """Byte range of blocks `[first, last)`."""
        end = min(last * self.block_bytes, self.rows.nbytes)
        return self.begin + first * self.block_bytes, self.begin + end

    def _read(self, blocks: Array) -> list[Piece]:
        """Reads sorted blocks, and those in small gaps between them, verified."""
        far = np.diff(blocks) > 1 + GAP_BYTES // self.block_bytes
        most = max(1, MAX_RANGE_BYTES // self.block_bytes)
        ends = np.flatnonzero(far | (np.diff(blocks // most) > 0))
        firsts = blocks[np.concatenate([[0], ends + 1])].tolist()
        lasts = (blocks[np.concatenate([ends, [len(blocks) - 1]])] + 1).tolist()
        pairs = list(zip(firsts, lasts, strict=True))

        def check(number: int, data: bytes) -> None:
            first, last = pairs[number]
            for block in range(first, last):
                lo = (block - first) * self.block_bytes
                self.check_block(block, memoryview(data)[lo : lo + self.block_bytes])

        parts = self._cache.reader.read(self._uri, [self._span(*pair) for pair in pairs], check)
        return [(*pair, part) for pair, part in zip(pairs, parts, strict=True)]

    def _keep(self, pieces: list[Piece]) -> None:
        for first, last, data in pieces:
            self._file.write(data, self._span(first, last)[0])
            self.verified[first:last] = True

    def _fill_ends(self, num_bytes: int, sums_bytes: int) -> None:
        """The array's header and the block sums; the rows between them stay a hole for now."""
        ranges = [
            (0, min(MAX_HEADER_BYTES, num_bytes)),
            (max(0, num_bytes - sums_bytes - MAX_HEADER_BYTES), num_bytes),
        ]
        parts = self._cache.reader.read(self._uri, ranges)
        for (offset, _), part in zip(ranges, parts, strict=True):
            self._file.write(part, offset)
