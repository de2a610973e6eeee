"""From paths, folders, globs, fsspec URIs and http(s) URLs to files."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from raclib.corpus.files import normalise
from raclib.corpus.retry import retrying
from raclib.corpus.urls import is_web, public_name
from raclib.errors import UserError
from raclib.ingest.locations import file_system, is_local
from raclib.ingest.opening import clear_reading

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
    for name, count in Counter(map(public_name, found)).items():
        if count > 1:
            raise UserError(f"{name}: given twice; its rows would count twice")
    return tuple(found)


def _expand(item: str) -> list[str]:
    """The files that one path, folder, glob or URI means."""
    if is_web(item):
        return [item]
    if not item:
        raise UserError("an empty file name given; give a path, a folder, a glob or a URL")
    with clear_reading(item):
        uri = str(Path(item).expanduser().absolute()) if is_local(item) else normalise(item)
        fs, path = file_system(uri)
        # Object stores cache listings; another process may have written since.
        fs.invalidate_cache()
        try:
            is_file = retrying(uri)(fs.info, path)["type"] == "file"
            return [uri] if is_file else _files_in(fs, path, uri)
        except FileNotFoundError:
            if not _GLOB.search(path):
                raise
        matching = retrying(uri)(fs.glob, path, detail=True)
        found = sorted(name for name, info in matching.items() if info["type"] == "file")
    if not found:
        raise UserError(f"{uri}: the glob matches no file; check the path")
    return [_full(fs, name) for name in found]


def _files_in(fs: AbstractFileSystem, path: str, uri: str) -> list[str]:
    found = [
        name
        for name in sorted(retrying(uri)(fs.find, path))
        if not any(part.startswith((".", "_")) for part in Path(name[len(path) :]).parts)
        and not name.endswith("/")
    ]
    if not found:
        raise UserError(f"{uri}: a folder without table files; check the path")
    return [_full(fs, name) for name in found]


def _full(fs: AbstractFileSystem, path: str) -> str:
    return path if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(path)
