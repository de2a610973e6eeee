"""Rows in files: by path, fsspec URI or http(s) URL."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from raclib.corpus.files import local_path, normalise, resolve
from raclib.corpus.urls import is_web, public_name
from raclib.errors import UserError
from raclib.ingest.download import download
from raclib.ingest.locations import file_name
from raclib.ingest.reading import reading
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
        """The source of files whose paths may be relative."""
        return cls(tuple(uri if is_web(uri) else normalise(uri) for uri in uris), read)

    def describe(self) -> dict[str, Any]:
        """Names and sizes of the files."""
        return {"files": [_describe_file(uri) for uri in self.uris]}

    def fetch(self, folder: str) -> "FileSource":
        """The same files, those of the web as local copies."""
        return replace(self, uris=tuple(fetch_files(self.uris, folder)))

    def batches(self, tally: Tally) -> Iterator[pa.Table]:
        """Rows of the files in their order."""
        return self.read(self.uris, tally)


def fetch_files(uris: Sequence[str], folder: str) -> list[str]:
    """The same files, those of the web as local copies in a folder."""
    return [_fetch(uri, folder) if is_web(uri) else uri for uri in uris]


def _fetch(url: str, folder: str) -> str:
    path = local_path(folder)
    if path is None:
        raise UserError(
            f"storage_path: {folder} is not on this machine, where downloads are kept; give a "
            "local storage_path, and --corpus for a corpus elsewhere"
        )
    return str(download(url, path))


def _describe_file(uri: str) -> dict[str, Any]:
    name = file_name(uri)
    if is_web(uri):
        return {"name": name}
    fs, path = resolve(uri)
    with reading(public_name(uri)):
        return {"name": name, "num_bytes": fs.size(path)}
