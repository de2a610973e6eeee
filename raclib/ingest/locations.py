"""Where table files are: paths, folders, globs, fsspec URIs and http(s) URLs."""

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import fsspec
import xxhash
from aiohttp import ClientError, ClientResponseError
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from requests.utils import requote_uri

from raclib.corpus.files import clear_errors, normalise, resolve
from raclib.errors import UserError

BUFFER_BYTES = 2**20
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_GLOB = re.compile(r"[*?\[]")


def find_files(inputs: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """The files that some paths, folders, globs, fsspec URIs or http(s) URLs mean.

    A path that exists is never a glob, and a local path never a URL. Folders are searched with
    their sub-folders, without files whose name begins with a dot or an underscore; columns that
    folders are named after (`year=2011/`) are not read.

    Returns:
        Absolute paths or URIs of files, by name within a folder or glob, else in the order given.

    Raises:
        UserError: if there is no such file, a folder is empty, a glob matches nothing, a file is
            given twice, or a URI other than http(s) carries credentials.
    """
    given = [inputs] if isinstance(inputs, str | Path) else inputs
    found = [file for item in given for file in _expand(str(item))]
    if not found:
        raise UserError("no file given; give a path, a folder, a glob or a URL")
    for file, count in Counter(found).items():
        if count > 1:
            raise UserError(f"{public_name(file)}: given twice; its rows would count twice")
    return tuple(found)


def public_name(uri: str) -> str:
    """A path or URI; an http(s) URL without user, password and query, which may be secrets."""
    if not is_web(uri):
        return uri
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def is_web(uri: str) -> bool:
    """Whether this is an http(s) URL."""
    return uri.lower().startswith(("http://", "https://"))


def is_local(uri: str) -> bool:
    """Whether this is a path of this machine."""
    return not _SCHEME.match(uri)


def file_name(uri: str) -> str:
    """The last part of a path or URI, without a URL's query."""
    return PurePosixPath(urlsplit(uri).path if is_web(uri) else uri).name


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
        if is_web(uri):
            fs, path = _web(uri)
            # Any size spares the request that would ask for it.
            with fs.open(path, "rb", block_size=0, size=1) as stream:
                if seekable:
                    with tempfile.TemporaryFile() as copy:
                        shutil.copyfileobj(stream, copy, BUFFER_BYTES)
                        copy.seek(0)
                        yield copy
                else:
                    # Buffered, because a read of a stream may give less than was asked for.
                    yield BufferedReader(stream, BUFFER_BYTES)
        else:
            fs, path = _file_system(uri)
            # A reader that moves about asks for what it needs; reading ahead would be in vain.
            options = {"cache_type": "none"} if seekable and not is_local(uri) else {}
            with fs.open(path, "rb", **options) as file:
                yield file


def describe_file(uri: str) -> dict[str, Any]:
    """Name, bytes and identity of a file: JSON without an absolute path or credentials.

    Identity is the store's ETag, or else `xxh3_128`, a checksum of the bytes.
    """
    name = public_name(uri) if is_web(uri) else file_name(uri)
    with clear_reading(uri):
        fs, path = _web(uri) if is_web(uri) else _file_system(uri)
        info = {} if is_local(uri) else fs.info(path)
        if info.get("ETag") and info.get("size") is not None:
            return {"name": name, "num_bytes": info["size"], "etag": info["ETag"].strip('"')}
    num_bytes, checksum = 0, xxhash.xxh3_128()
    with open_file(uri) as file:
        while chunk := file.read(BUFFER_BYTES):
            num_bytes += len(chunk)
            checksum.update(chunk)
    return {"name": name, "num_bytes": num_bytes, "xxh3_128": checksum.hexdigest()}


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


def _expand(item: str) -> list[str]:
    """The files that one path, folder, glob or URI means."""
    if is_web(item):
        return [item]
    uri = normalise(item) if _SCHEME.match(item) else str(Path(item).expanduser().absolute())
    fs, path = _file_system(uri)
    with clear_reading(uri):
        # Object stores cache listings; another process may have written since.
        fs.invalidate_cache()
        if fs.isfile(path):
            return [uri]
        if fs.isdir(path):
            return _files_in(fs, path, uri)
        if not _GLOB.search(path):
            raise FileNotFoundError
        found = sorted(name for name in fs.glob(path) if fs.isfile(name))
    if not found:
        raise UserError(f"{uri}: the glob matches no file; check the path")
    return [_full(fs, name) for name in found]


def _files_in(fs: AbstractFileSystem, path: str, uri: str) -> list[str]:
    found = [
        name
        for name in sorted(fs.find(path))
        if not any(part.startswith((".", "_")) for part in Path(name[len(path) :]).parts)
        and not name.endswith("/")
    ]
    if not found:
        raise UserError(f"{uri}: a folder without table files; check the path")
    return [_full(fs, name) for name in found]


def _full(fs: AbstractFileSystem, path: str) -> str:
    return path if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(path)


def _file_system(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a path or URI, and the path in it."""
    if _SCHEME.match(uri):
        return resolve(uri)
    # Not by fsspec, which takes a `::` in a path for a chain of file systems.
    return LocalFileSystem(), os.fspath(uri)


def _web(url: str) -> tuple[AbstractFileSystem, str]:
    """The same for a URL, which is sent as it is but for characters that no URL may have."""
    return fsspec.filesystem("http", encoded=True), requote_uri(url)
