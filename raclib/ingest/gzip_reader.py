"""Gzip as it is found: members one after the other, and whatever else was appended to them."""

import io
import zlib
from typing import BinaryIO

from raclib.errors import UserError

CHUNK_BYTES = 2**18
MAGIC = b"\x1f\x8b"
_GZIP = 16 + zlib.MAX_WBITS


class GzipReader(io.RawIOBase):
    """What is packed in a gzip file, its checksums checked.

    The file ends where no other member begins: zeros that fill a block are passed over, and bytes
    that are something else are counted, where `gzip` would throw away all that was read.

    Args:
        file: The packed bytes.
        name: What the file is called in errors.

    Attributes:
        num_left: Bytes after the end of the last member; known at the end.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._member, self._rest, self._is_over = zlib.decompressobj(_GZIP), b"", False
        self.num_left = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Unpacks some bytes; 0 at the end.

        Raises:
            UserError: if the file is truncated or damaged.
        """
        while not self._is_over:
            found = self._unpack(len(buffer))
            if found:
                buffer[: len(found)] = found
                return len(found)
            if self._member.eof:
                self._next_member()
        return 0

    def _unpack(self, size: int) -> bytes:
        packed = b"" if self._member.eof else self._rest or self._file.read(CHUNK_BYTES)
        try:
            found = self._member.decompress(packed, size)
        except zlib.error:
            raise UserError(f"{self._name}: damaged gzip file; get it again") from None
        if not (packed or found or self._member.eof):
            raise UserError(f"{self._name}: truncated gzip file; get it again")
        self._rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        return found

    def _next_member(self) -> None:
        """Begins the next member, or ends the file where there is none."""
        rest = self._rest.lstrip(b"\0")
        while len(rest) < len(MAGIC) and (more := self._file.read(CHUNK_BYTES)):
            rest = (rest + more).lstrip(b"\0")
        if rest.startswith(MAGIC):
            self._member, self._rest = zlib.decompressobj(_GZIP), rest
            return
        self._is_over, self.num_left = True, len(rest)
        while more := self._file.read(CHUNK_BYTES) if rest else b"":
            self.num_left += len(more)
