"""Names of table files: paths, fsspec URIs and http(s) URLs."""

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from requests.utils import requote_uri

from raclib.corpus.files import resolve
from raclib.corpus.urls import is_web

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_local(uri: str) -> bool:
    """Whether this is a path of this machine."""
    return not _SCHEME.match(uri)


def file_name(uri: str) -> str:
    """The last part of a path or URI, without a URL's query."""
    return PurePosixPath(urlsplit(uri).path if is_web(uri) else uri).name


def file_system(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a path, URI or URL, and the path in it."""
    if is_web(uri):
        # Sent as it is, but for characters that no URL may have.
        return fsspec.filesystem("http", encoded=True), requote_uri(uri)
    if is_local(uri):
        # Not by fsspec, which takes a `::` in a path for a chain of file systems.
        return LocalFileSystem(), uri
    return resolve(uri)
