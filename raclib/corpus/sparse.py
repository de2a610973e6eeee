"""A file of holes that is filled here and there, mapped into memory, and made holes of again."""

import ctypes
import mmap
import os
import tempfile
from pathlib import Path
from typing import Self

from raclib.corpus import files
from raclib.errors import UserError

_libc = ctypes.CDLL(None, use_errno=True)
_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02


class SparseFile:
    """An unnamed file, at first one hole; it vanishes with its process.

    Args:
        descriptor: The file, open for reading and writing.
        num_bytes: Its size.
        name: Where it is, for errors.
    """

    def __init__(self, descriptor: int, num_bytes: int, name: str) -> None:
        self._file, self._name = os.fdopen(descriptor, "w+b"), name
        with files.clear_errors(name):
            self._file.truncate(num_bytes)

    @classmethod
    def on_disk(cls, folder: Path, num_bytes: int) -> Self:
        """One in a folder.

        Raises:
            UserError: if it cannot be made; FullError if the disk is full.
        """
        name = f"block cache in {folder}"
        with files.clear_errors(name), tempfile.TemporaryFile(dir=folder) as file:
            return cls(os.dup(file.fileno()), num_bytes, name)

    @classmethod
    def in_memory(cls, num_bytes: int) -> Self:
        """One that takes memory where it is filled."""
        return cls(os.memfd_create("raclib"), num_bytes, "memory")

    @property
    def held_bytes(self) -> int:
        """Bytes of storage taken."""
        return os.fstat(self._file.fileno()).st_blocks * 512

    def map(self) -> mmap.mmap:
        """The file in memory, to read."""
        return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def write(self, data: bytes, offset: int) -> None:
        """Fills a part.

        Raises:
            UserError: if it cannot be written; FullError if the disk is full.
        """
        rest = memoryview(data)
        with files.clear_errors(self._name):
            while rest:
                written = os.pwrite(self._file.fileno(), rest, offset)
                rest, offset = rest[written:], offset + written

    def punch_hole(self, lo: int, hi: int) -> None:
        """Makes a hole of the bytes `[lo, hi)`."""
        length, descriptor = ctypes.c_long(hi - lo), self._file.fileno()
        if _libc.fallocate(descriptor, _KEEP_SIZE_PUNCH_HOLE, ctypes.c_long(lo), length):
            reason = os.strerror(ctypes.get_errno())
            raise UserError(
                f"{self._name}: cannot make holes in files ({reason}); use a local cache_dir"
            )
