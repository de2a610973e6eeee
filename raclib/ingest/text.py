"""Text files: unpacked as they are read, and errors without anything of their content."""

import codecs
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa

from raclib.corpus.urls import public_name
from raclib.errors import UserError
from raclib.ingest.gzip_reader import GzipReader
from raclib.ingest.opening import open_file

BLOCK_BYTES = 4 * 2**20
"""How much text is parsed at a time: a row may not be longer."""
BUFFER_BYTES = 2**18

Remark = Callable[[str], object]
"""Is told what is odd about a file that was read to its end nevertheless."""


def ignore(remark: str) -> None:
    """Tells nobody."""


@contextmanager
def open_text(uri: str, compression: str | None, remark: Remark = ignore) -> Iterator[BinaryIO]:
    """The unpacked bytes of a file, without a byte order mark.

    Args:
        uri: As `find.find_files` gives it.
        compression: `gzip`, `bz2`, `zstd` or None.
        remark: Is told of bytes after the end of what is packed.

    Raises:
        UserError: if it is truncated or damaged.
    """
    with open_file(uri) as raw:
        stream = unpack(raw, compression, public_name(uri))
        file = io.BufferedReader(stream, BUFFER_BYTES)  # for `peek`, and lines up to a limit
        with clear_unpacking(compression, public_name(uri)):
            if file.peek(len(codecs.BOM_UTF8)).startswith(codecs.BOM_UTF8):
                file.read(len(codecs.BOM_UTF8))
            yield file
        if isinstance(stream, GzipReader) and stream.num_left:
            remark(
                f"{public_name(uri)}: {stream.num_left:,} bytes after the end of its gzip data "
                "are no gzip and were not read"
            )


def unpack(raw: BinaryIO, compression: str | None, name: str) -> io.RawIOBase:
    """The unpacked bytes of packed ones; errors within `clear_unpacking` are of one line."""
    if compression is None:
        return raw  # type: ignore[return-value]  # what a buffer asks of a file, all files have
    if compression == "gzip":
        return GzipReader(raw, name)
    return pa.CompressedInputStream(pa.PythonFile(raw, "r"), compression)


@contextmanager
def clear_unpacking(compression: str | None, name: str) -> Iterator[None]:
    """Turns what Arrow says of packed bytes into one line."""
    try:
        yield
    except OSError as error:
        if not (compression and is_arrows(error)):
            raise
        raise UserError(f"{name}: truncated or damaged {compression} file; get it again") from None


def is_arrows(error: Exception) -> bool:
    """Whether Arrow complains of a file, and not the file system."""
    return isinstance(error, pa.ArrowException) or (type(error) is OSError and not error.errno)
