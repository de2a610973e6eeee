"""Rows in files: by path, folder, glob, fsspec URI or http(s) URL."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from raclib.corpus.files import local_path
from raclib.corpus.urls import is_web, public_name
from raclib.errors import UserError
from raclib.ingest.copies import ask, kept_copy, version_of
from raclib.ingest.download import download
from raclib.ingest.find import find_files
from raclib.ingest.identity import describe_file
from raclib.ingest.tally import Tally

ReadFiles = Callable[[Sequence[str], Tally], Iterator[pa.Table]]
"""Reads files in their order; counts what it reads. Picklable."""


@dataclass(frozen=True)
class FileSource:
    """Files of rows.

    Attributes:
        uris: Absolute paths, fsspec URIs or http(s) URLs.
        read: Makes batches of them.
    """

    uris: tuple[str, ...]
    read: ReadFiles

    @classmethod
    def of(cls, uris: Sequence[str], read: ReadFiles) -> "FileSource":
        """The source of what `find_files` finds."""
        return cls(find_files(uris), read)

    def describe(self, folder: str, is_published: bool) -> dict[str, Any]:
        """What the files are known by; see `describe_files`."""
        return describe_files(self.uris, folder, is_published)

    def fetch(self, folder: str) -> "FileSource":
        """The same files, those of the web as local copies."""
        return replace(self, uris=tuple(fetch_files(self.uris, folder)))

    def batches(self, tally: Tally) -> Iterator[pa.Table]:
        """Rows of the files in their order."""
        return self.read(self.uris, tally)


def describe_files(uris: Sequence[str], folder: str, is_published: bool) -> dict[str, Any]:
    """Name and identity of files, in their order: JSON without absolute paths or secrets.

    Args:
        uris: As `find_files` gives them.
        folder: Where copies of files of the web are kept, and checksums of others.
        is_published: Whether there is a corpus of them: then what was not copied, or was copied on
            another machine, is not downloaded, and its server's word is taken for what it is.
    """
    return {
        "files": [
            _describe_web(uri, folder, is_published) if is_web(uri) else describe_file(uri, folder)
            for uri in uris
        ]
    }


def fetch_files(uris: Sequence[str], folder: str) -> list[str]:
    """The same files, those of the web as local copies in a folder."""
    return [str(download(uri, _local(folder))) if is_web(uri) else uri for uri in uris]


def _describe_web(url: str, folder: str, is_published: bool) -> dict[str, Any]:
    path = local_path(folder)
    if not is_published:
        copy: Path | None = download(url, _local(folder))
    else:
        copy = kept_copy(url, path) if path else None
    said = {**describe_file(str(copy), folder), **version_of(copy)} if copy else ask(url)
    return {**said, "name": public_name(url)}


def _local(folder: str) -> Path:
    path = local_path(folder)
    if path is None:
        raise UserError(
            f"storage_path: {folder} is not on this machine, where downloads are kept; give a "
            "local storage_path, and --corpus for a corpus elsewhere"
        )
    return path
