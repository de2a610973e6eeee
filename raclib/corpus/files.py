"""Names and reading of a corpus's files on any file system fsspec knows."""

import errno
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from raclib.corpus.faults import STORE_ERRORS, FullError, MissingError, kind_of, refusal
from raclib.corpus.retry import reason_of, retrying
from raclib.corpus.urls import refuse_credentials
from raclib.errors import PassingError, UserError

REMOVALS_AT_ONCE = 16


def resolve(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URI or plain path, and the path in it."""
    try:
        fs, path = url_to_fs(str(uri))
    except (ValueError, ImportError) as error:
        raise UserError(f"{uri}: {error}") from error
    return fs, path.rstrip("/")


def resolve_once(uri: str) -> tuple[AbstractFileSystem, str]:
    """The same for requests that are sent again by who sends them: fsspec sends them once.

    Else three libraries, one in the other, would try again for minutes in silence.
    """
    fs, path = resolve(uri)
    if "s3" in fs.protocol:
        config = {**fs.config_kwargs, "retries": {"total_max_attempts": 1}}
        fs = type(fs)(*fs.storage_args, **{**fs.storage_options, "config_kwargs": config})
        fs.retries = 1
    return fs, path


def ask(uri: str, method: str, *args: Any, **options: Any) -> Any:
    """What a method of the file system of a URI says of its path; what passes is waited out.

    Args:
        uri: A path or fsspec URI.
        method: Name of a method of `fsspec.AbstractFileSystem` that takes a path first and may be
            called twice.
        args: Its further arguments.
        options: Its named arguments.

    Raises:
        FileExistsError: if it says so.
        UserError: for all else that goes wrong; PassingError where it may go well later.
    """
    fs, path = resolve_once(uri)
    with clear_errors(uri):
        return retrying(uri)(getattr(fs, method), path, *args, **options)


def normalise(uri: str) -> str:
    """A URI that means the same in every working directory: local ones become absolute paths.

    Raises:
        UserError: if it carries a password, which would end up in logs.
    """
    refuse_credentials(str(uri))
    local = local_path(uri)
    return str(local) if local else str(uri).rstrip("/")


def local_path(uri: str) -> Path | None:
    """The path of a URI on this machine's file system; None if it is elsewhere."""
    fs, path = resolve(uri)
    return Path(path) if isinstance(fs, LocalFileSystem) else None


def manifest_uri(uri: str, version: int) -> str:
    """Where a version of a corpus is described."""
    return f"{uri}/manifests/{version:08d}.json"


def read_bytes(uri: str) -> bytes:
    """All bytes of a file.

    Raises:
        UserError: if it is missing or cannot be read.
    """
    return ask(uri, "cat_file")


def read_small(uri: str) -> bytes:
    """The same for a small file, in one request.

    s3fs asks for the size of a file first, and the answer to that has no room for the reason of a
    refusal.
    """
    return ask(uri, "cat_file", start=0)


def exists(uri: str) -> bool:
    """Whether a file or folder is there.

    Raises:
        UserError: if that cannot be known.
    """
    return ask(uri, "exists")


def list_files(uri: str) -> dict[str, int]:
    """Path relative to `uri` and byte size of every file under it; empty if there is none."""
    fs, path = resolve_once(uri)
    # Object stores cache listings; another process may have published since.
    fs.invalidate_cache()
    found = ask(uri, "find", detail=True)
    return {name[len(path) + 1 :]: entry["size"] for name, entry in found.items()}


def has_bucket(uri: str) -> bool:
    """Whether there is the bucket that a URI lies in; so it is where nothing has buckets.

    `makedirs` of s3fs would make one, of a name that was a slip, with nobody's settings.
    """
    fs, path = resolve_once(uri)
    bucket = path.partition("/")[0]
    # Who may not look at a bucket may be allowed what is in it.
    with clear_errors(uri), suppress(PermissionError):
        try:
            if bucket and "://" not in path:
                retrying(uri)(fs.info, bucket)
        except FileNotFoundError:
            return False
    return True


def remove_folder(uri: str) -> None:
    """Removes a folder with all that is in it, if it is there; no name in it is a pattern.

    fsspec's own `rm` takes `[ ] ? *` in a name for one, and removes what matches instead.
    """
    fs, path = resolve_once(uri)
    if isinstance(fs, LocalFileSystem):
        if fs.exists(path):
            with clear_errors(uri):
                fs.rm(path, recursive=True)  # of a path of this machine, as it is
        return

    def remove(name: str) -> None:
        retrying(uri)(fs.rm_file, f"{path}/{name}")

    with clear_errors(uri), ThreadPoolExecutor(REMOVALS_AT_ONCE) as pool:
        list(pool.map(remove, list_files(uri)))


def folders_in(uri: str) -> list[str]:
    """What lies in a folder of this machine, folders among it; object stores have none."""
    path = local_path(uri)
    return [str(found) for found in path.iterdir()] if path and path.exists() else []


def remove_empty_folders(uris: Iterable[str]) -> None:
    """Removes those folders of this machine that are empty; object stores have none."""
    for folder in filter(None, map(local_path, uris)):
        # A folder that is not empty stays.
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def clear_errors(name: str) -> Iterator[None]:
    """Turns what a file system complains of into one line; lets FileExistsError pass."""
    try:
        yield
    except FileExistsError:
        raise
    except STORE_ERRORS as error:
        raise _explained(name, error) from error


def _explained(name: str, error: Exception) -> UserError:
    reason, code = reason_of(error), refusal(error)
    if code == "NoSuchBucket":
        bucket = "/".join(name.split("/")[:3])
        return UserError(f"{bucket}: there is no such bucket; create it or check the address")
    if isinstance(error, FileNotFoundError):
        return MissingError(f"{name}: missing; restore it or remake the corpus")
    if isinstance(error, PermissionError) and error.errno is None:
        reason = code if code and not code.isdigit() else reason
        return UserError(f"{name}: access denied ({reason}); check your credentials")
    if kind_of(error) is PassingError:
        return PassingError(f"{name}: {reason}; try again when store and network are well")
    if isinstance(error, PermissionError):
        return UserError(f"{name}: {reason}; give a place that you may use")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FullError(f"{name}: {reason} on {socket.gethostname()}; make room there")
    return UserError(f"{name}: {reason}")
