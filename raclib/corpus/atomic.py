"""Files that appear complete or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

from raclib.corpus import files
from raclib.corpus.faults import STORE_ERRORS
from raclib.corpus.retry import retrying


@contextmanager
def write_atomic(uri: str) -> Iterator[IO[bytes]]:
    """A file to write; it appears under its name complete, when the block ends well, or never.

    What goes elsewhere waits on the temporary disk of this machine, so that it can be sent again.

    Raises:
        UserError: if it cannot be sent.
    """
    if path := files.local_path(uri):
        with _temporary(path) as file:
            yield file
            _sync(file)
            Path(file.name).replace(path)
        _sync_folder(path.parent)
        return
    with tempfile.NamedTemporaryFile() as file:
        yield file
        file.flush()
        _send(uri, file.name)


def create_exclusive(uri: str, data: bytes) -> None:
    """Writes a file that must not exist, complete or not at all.

    Raises:
        FileExistsError: if it exists, or another process made it at the same time.
        UserError: if it cannot be written.
    """
    path = files.local_path(uri)
    with files.clear_errors(uri):
        if not path:
            _put_exclusive(uri, data)
            return
        with _temporary(path) as file:
            file.write(data)
            _sync(file)
            os.link(file.name, path)
        _sync_folder(path.parent)


def _send(uri: str, path: str) -> None:
    fs, target = files.resolve_once(uri)
    with files.clear_errors(uri):
        retrying(uri)(fs.put_file, path, target)


def _put_exclusive(uri: str, data: bytes) -> None:
    """A conditional put, and a look at what stands: stores differ in what they answer and keep.

    A put that was carried out but whose answer was lost is refused when it is repeated, so what
    stands decides, not the answer.
    """
    fs, path = files.resolve_once(uri)

    def put() -> None:
        refused: Exception | None = None
        try:
            fs.pipe_file(path, data, mode="create")
        except STORE_ERRORS as error:
            refused = error
        try:
            stands = retrying(uri)(fs.cat_file, path, start=0)
        except FileNotFoundError:
            if refused:
                raise refused  # noqa: B904  # its own cause says which kind it is
            raise FileNotFoundError(path) from None
        if stands != data:
            raise FileExistsError(path) from refused

    retrying(uri)(put)


@contextmanager
def _temporary(path: Path) -> Iterator[Any]:
    """A new file beside where it shall be, with the rights that new files have by the umask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{token_hex(8)}.tmp")
    with temporary.open("xb+") as file:
        try:
            yield file
        finally:
            temporary.unlink(missing_ok=True)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
