"""One field of one shard: a plain .npy array followed by its block checksums.

A file holds two arrays one after the other, as `numpy.save` writes them: the rows, and an xxh3_64
of every block of rows. The manifest's checksum covers the header and those sums. So a file of any
size is mounted without reading it, and no row is read before its block is verified.
"""

import io
import mmap
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

from raclib.corpus.atomic import write_atomic
from raclib.corpus.faults import DamagedError
from raclib.corpus.files import clear_errors
from raclib.corpus.gather import Array, Positions, gather
from raclib.corpus.manifest import MAX_HEADER_BYTES, Field, FileInfo

WRITE_BYTES = 8 * 2**20


class Column:
    """Rows of one field of one shard, of a memory map or of bytes in memory.

    Args:
        buffer: The whole file.
        field: What the rows should be.
        num_rows: How many there should be.
        info: Size and checksum the file should have.
        name: Named in errors.

    Raises:
        UserError: if the file is truncated or is not what the manifest says.
    """

    def __init__(
        self, buffer: mmap.mmap | bytes, field: Field, num_rows: int, info: FileInfo, name: str
    ) -> None:
        self.buffer, self.field, self.info, self.name = buffer, field, info, name
        self._check_size()
        data = np.frombuffer(buffer, np.uint8)
        self.begin = begin = _header(data, np.dtype(field.dtype), (num_rows, *field.shape), name)
        end = begin + num_rows * field.row_bytes
        shape = (field.num_blocks(num_rows),)
        sums = data[end + _header(data[end:], np.dtype(np.uint64), shape, name) :]
        if sums.nbytes != shape[0] * 8 or _checksum(data[:begin], data[end:]) != info.checksum:
            raise DamagedError(f"{name}: checksum mismatch in its header or sums; restore the file")
        self.rows: Array = data[begin:end].view(field.dtype).reshape(num_rows, *field.shape)
        self._sums = sums.view(np.uint64)
        self.verified = np.zeros(shape, bool)

    @classmethod
    def map(
        cls, path: Path, field: Field, num_rows: int, info: FileInfo, name: str | None = None
    ) -> "Column":
        """Maps a file of this machine into memory."""
        with clear_errors(name or str(path)), path.open("rb") as file:
            if not path.stat().st_size:
                raise DamagedError(f"{name or path}: truncated shard: 0 of {info.num_bytes} bytes")
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        column = cls(buffer, field, num_rows, info, name or str(path))
        # Reading ahead of scattered rows would read a hundred times what is wanted.
        buffer.madvise(mmap.MADV_RANDOM)
        return column

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, lo: int, hi: int) -> Array:
        """Rows `[lo, hi)`, a read-only view.

        Raises:
            UserError: if a block of them is not what was written.
        """
        self._check_size()
        size = self.field.block_rows
        blocks = np.arange(lo // size, -(-hi // size))
        self._advise(mmap.MADV_SEQUENTIAL)
        self._verify(blocks[~self.verified[blocks]])
        self._advise(mmap.MADV_RANDOM)
        return self.rows[lo:hi]

    def gather(self, rows: Array, out: Array, where: Positions) -> None:
        """`out[where] = self.rows[rows]`; the rows must be in range.

        Raises:
            UserError: if a block of them is not what was written.
        """
        self._check_size()
        blocks = rows // self.field.block_rows
        unseen = blocks[~self.verified[blocks]]
        if unseen.size:
            unseen = np.unique(unseen)
            self._prefetch(unseen)
            self._verify(unseen)
        gather(self.rows, rows, out, where)

    def check_block(self, block: int, data: memoryview) -> None:
        """Raises DamagedError unless these are the bytes of a block."""
        if xxh3_64_intdigest(data) != self._sums[block]:
            lo = block * self.field.block_rows
            hi = min(lo + self.field.block_rows, len(self.rows))
            raise DamagedError(
                f"{self.name}: checksum mismatch in rows {lo} to {hi - 1}; restore the file"
            )

    def _verify(self, blocks: Array) -> None:
        size = self.field.block_rows
        for block in blocks.tolist():
            self.check_block(block, self.rows[block * size : (block + 1) * size].data)
        self.verified[blocks] = True

    def _prefetch(self, blocks: Array) -> None:
        """Has the disk read many blocks at once, instead of one after the other."""
        size = self.field.block_rows * self.field.row_bytes
        for block in blocks.tolist():
            begin = self.begin + block * size
            self._advise(mmap.MADV_WILLNEED, begin - begin % mmap.PAGESIZE, size)

    def _advise(self, advice: int, *span: int) -> None:
        if isinstance(self.buffer, mmap.mmap):
            self.buffer.madvise(advice, *span)

    def _check_size(self) -> None:
        # A map of a file cut short after it was mounted must not be touched: SIGBUS.
        is_map = isinstance(self.buffer, mmap.mmap)
        num_bytes = self.buffer.size() if is_map else len(self.buffer)  # type: ignore[union-attr]
        if num_bytes != self.info.num_bytes:
            raise DamagedError(
                f"{self.name}: truncated shard: {num_bytes} of {self.info.num_bytes} bytes; "
                "restore the file"
            )


def write_column(uri: str, field: Field, array: Array) -> FileInfo:
    """Writes an array `[N, *field.shape]` and its block sums atomically, in one pass over the data.

    Args:
        uri: Where to.
        field: Type and shape of a row; the array must have them.
        array: The rows, N at least 1; may be a memory map.

    Raises:
        UserError: if it cannot be written.
    """
    rows = max(1, WRITE_BYTES // field.row_bytes // field.block_rows) * field.block_rows
    size = field.block_rows
    header = _header_bytes(array)
    sums: list[int] = []
    with clear_errors(uri), write_atomic(uri) as file:
        file.write(header)
        for start in range(0, len(array), rows):
            part = np.ascontiguousarray(array[start : start + rows])
            blocks = range(0, len(part), size)
            sums.extend(xxh3_64_intdigest(part[lo : lo + size].data) for lo in blocks)
            file.write(part.data.cast("B"))
        sums_array = np.array(sums, np.uint64)
        tail = _header_bytes(sums_array) + sums_array.tobytes()
        file.write(tail)
    num_bytes = len(header) + len(array) * field.row_bytes + len(tail)
    return FileInfo(num_bytes, _checksum(header, tail))


def _header_bytes(array: Array) -> bytes:
    file = io.BytesIO()
    description = npy.header_data_from_array_1_0(array)
    npy.write_array_header_1_0(file, {**description, "fortran_order": False})
    return file.getvalue()


def _header(data: Array, dtype: np.dtype, shape: tuple[int, ...], name: str) -> int:
    """Length of the .npy header in front of an array that must have this type and shape."""
    file = io.BytesIO(data[:MAX_HEADER_BYTES].tobytes())
    try:
        npy.read_magic(file)
        found = npy.read_array_header_1_0(file)
    except Exception as error:
        # NumPy parses the header as Python source; a damaged one fails in ways of every kind.
        raise DamagedError(f"{name}: not a .npy file: {error!r}; restore the file") from error
    if found != (shape, False, dtype):
        raise DamagedError(
            f"{name}: holds {found[2]} {found[0]} instead of {dtype} {shape}; restore the file"
        )
    return file.tell()


def _checksum(header: Array | bytes, tail: Array | bytes) -> str:
    return xxh3_128_hexdigest(bytes(header) + bytes(tail))
