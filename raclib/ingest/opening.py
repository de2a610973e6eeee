"""Reading of files of rows wherever they are."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import BinaryIO

from aiohttp import ClientError, ClientResponseError
from fsspec import AbstractFileSystem

from raclib.corpus.files import clear_errors
from raclib.corpus.stream import StoreFile
from raclib.corpus.urls import is_web, public_name
from raclib.errors import UserError
from raclib.ingest.locations import file_system, is_local

BUFFER_BYTES = 2**20


@contextmanager
def open_file(uri: str, seekable: bool = False) -> Iterator[BinaryIO]:
    """The bytes of a file.

    Args:
        uri: As `find_files` gives it.
        seekable: Whether the reader moves about. Servers of the web may know no ranges: such a
            file is then copied to a temporary file.

    Raises:
        UserError: if it cannot be read. No message holds a URL's query or password.
    """
    with clear_reading(uri):
        fs, path = file_system(uri)
        if is_local(uri):
            opened = fs.open(path, "rb")
        elif is_web(uri):
            opened = _open_web(fs, path, seekable)
        else:
            opened = StoreFile(fs, path, is_sequential=not seekable)
        with opened as file:
            yield file


@contextmanager
def _open_web(fs: AbstractFileSystem, url: str, seekable: bool) -> Iterator[BinaryIO]:
    # Any size spares the request that would ask for it.
    with fs.open(url, "rb", block_size=0, size=1) as stream:
        if not seekable:
            # Buffered, because a read of a stream may give less than was asked for.
            yield BufferedReader(stream, BUFFER_BYTES)
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(stream, copy, BUFFER_BYTES)
            copy.seek(0)
            yield copy


@contextmanager
def clear_reading(uri: str) -> Iterator[None]:
    """Turns what a file system complains of while a file is read into one line."""
    name = public_name(uri)
    with clear_errors(name):
        try:
            yield
        except (OSError, ClientError) as error:
            if is_web(uri):
                raise _web_error(name, error) from None
            if isinstance(error, FileNotFoundError):
                raise UserError(f"{name}: no such file; check the path") from None
            if isinstance(error, IsADirectoryError):
                raise UserError(f"{name}: a folder; it holds no table itself") from None
            raise


def _web_error(name: str, error: Exception) -> UserError:
    """Says what a server answered; the error itself may repeat the URL with its secrets."""
    # fsspec calls whatever goes wrong a missing file.
    cause = error.__cause__ if isinstance(error.__cause__, ClientError) else error
    if isinstance(cause, FileNotFoundError):
        return UserError(f"{name}: no such file; check the address")
    if isinstance(cause, ClientResponseError):
        answer = f"{cause.status} {cause.message}"
        return UserError(f"{name}: the server answered {answer}; check the address")
    reason = getattr(cause, "strerror", None) or type(cause).__name__
    return UserError(f"{name}: cannot be read ({reason}); check the address, or try again")
