"""Files of a corpus on any file system fsspec knows: written atomically, read without pickle."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from raclib.errors import UserError


def resolve(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URI or plain path, and the path in it."""
    try:
        fs, path = url_to_fs(str(uri))
    except (ValueError, ImportError) as error:
        raise UserError(f"{uri}: {error}") from error
    return fs, path.rstrip("/")


def normalise(uri: str) -> str:
    """A URI that means the same in every working directory: local ones become absolute paths."""
    local = local_path(uri)
    return str(local) if local else str(uri).rstrip("/")


def local_path(uri: str) -> Path | None:
    """The path of a URI on this machine's file system; None if it is elsewhere."""
    fs, path = resolve(uri)
    return Path(path) if isinstance(fs, LocalFileSystem) else None


def manifest_uri(uri: str, version: int) -> str:
    """Where a version of a corpus is described."""
    return f"{uri}/manifests/{version:08d}.json"


def field_uri(uri: str, shard_id: str, field_name: str) -> str:
    """Where a field of a shard is stored."""
    return f"{uri}/shards/{shard_id}/{field_name}.npy"


def read_bytes(uri: str) -> bytes:
    """All bytes of a file.

    Raises:
        UserError: if it is missing or cannot be read.
    """
    fs, path = resolve(uri)
    with clear_errors(uri):
        return fs.cat_file(path)


def list_files(uri: str) -> dict[str, int]:
    """Path relative to `uri` and byte size of every file under it; empty if there is none."""
    fs, path = resolve(uri)
    # Object stores cache listings; another process may have published since.
    fs.invalidate_cache()
    with clear_errors(uri):
        found = fs.find(path, detail=True)
    return {name[len(path) + 1 :]: entry["size"] for name, entry in found.items()}


def remove_empty_folders(uri: str) -> None:
    """Removes the empty folders in a folder of this machine; object stores have none."""
    path = local_path(uri)
    for folder in path.iterdir() if path and path.exists() else ():
        # A folder that is not empty stays.
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def write_atomic(uri: str) -> Iterator[IO[bytes]]:
    """A file to write; it appears under its name complete, when the block ends well, or never."""
    fs, path = resolve(uri)
    with clear_errors(uri):
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
    fs, path = resolve(uri)
    if isinstance(fs, LocalFileSystem):
        with clear_errors(uri), _temporary(Path(path)) as file:
            file.write(data)
            _sync(file)
            os.link(file.name, path)
            _sync_folder(Path(path).parent)
        return
    with clear_errors(uri):
        fs.pipe_file(path, data, mode="create")


@contextmanager
def clear_errors(name: str) -> Iterator[None]:
    """Turns what a file system complains of into one line; lets FileExistsError pass."""
    try:
        yield
    except FileExistsError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{name}: missing; restore it or remake the corpus") from error
    except PermissionError as error:
        raise UserError(f"{name}: access denied ({error}); check your credentials") from error
    except OSError as error:
        raise UserError(f"{name}: {' '.join(str(error).split())}") from error


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
