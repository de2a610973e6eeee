"""Files that appear complete or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from raclib.corpus import files


@contextmanager
def write_atomic(uri: str) -> Iterator[IO[bytes]]:
    """A file to write; it appears under its name complete, when the block ends well, or never."""
    fs, path = files.resolve(uri)
    if isinstance(fs, LocalFileSystem):
        with _temporary(Path(path)) as file:
            yield file
            _sync(file)
            Path(file.name).replace(path)
        _sync_folder(Path(path).parent)
        return
    file = fs.open(path, "wb")
    try:
        yield file
    except BaseException:
        # Closing would publish what was written so far.
        file.discard()
        file.closed = True
        raise
    file.close()


def create_exclusive(uri: str, data: bytes) -> None:
    """Writes a file that must not exist, complete or not at all.

    Raises:
        FileExistsError: if it exists, or another process made it at the same time.
        UserError: if it cannot be written.
    """
    fs, path = files.resolve(uri)
    with files.clear_errors(uri):
        if not isinstance(fs, LocalFileSystem):
            _put_exclusive(fs, path, data)
            return
        with _temporary(Path(path)) as file:
            file.write(data)
            _sync(file)
            os.link(file.name, path)
        _sync_folder(Path(path).parent)


def _put_exclusive(fs: AbstractFileSystem, path: str, data: bytes) -> None:
    """A conditional put, and a look at what stands: stores differ in what they answer and keep.

    A put that was carried out but whose answer was lost is refused when it is repeated, so what
    stands decides, not the answer.
    """
    refused: OSError | None = None
    try:
        fs.pipe_file(path, data, mode="create")
    except OSError as error:
        refused = error
    try:
        stands = fs.cat_file(path)
    except FileNotFoundError:
        raise refused or FileNotFoundError(path) from None
    if stands != data:
        raise FileExistsError(path) from refused


@contextmanager
def _temporary(path: Path) -> Iterator[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False
    ) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
