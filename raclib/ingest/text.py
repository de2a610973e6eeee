"""Text files: unpacked as they are read, and errors without anything of their content."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from raclib.corpus.urls import public_name
from raclib.errors import UserError
from raclib.ingest.opening import open_file

BLOCK_BYTES = 4 * 2**20
"""How much text is parsed at a time: a row may not be longer."""


@contextmanager
def open_text(uri: str, compression: str | None) -> Iterator[pa.NativeFile]:
    """The unpacked bytes of a file.

    Args:
        uri: As `find.find_files` gives it.
        compression: `gzip`, `bz2`, `zstd` or None.

    Raises:
        UserError: if it is truncated or damaged.
    """
    with open_file(uri) as raw:
        try:
            with pa.PythonFile(raw, "r") as file:
                yield pa.CompressedInputStream(file, compression) if compression else file
        except OSError as error:
            if not (compression and is_arrows(error)):
                raise
            raise UserError(
                f"{public_name(uri)}: truncated or damaged {compression} file; get it again"
            ) from None


def is_arrows(error: Exception) -> bool:
    """Whether Arrow complains of a file, and not the file system."""
    return isinstance(error, pa.ArrowException) or (type(error) is OSError and not error.errno)
