"""Names of table files: paths, fsspec URIs and http(s) URLs."""

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import fsspec
from aiohttp import ClientTimeout
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from requests.utils import requote_uri

from raclib.corpus.files import resolve_once
from raclib.corpus.retry import REQUEST_S
from raclib.corpus.urls import is_web

# By default a file must come within five minutes, however large it is, and may stall for so long.
WEB_TIMEOUT = ClientTimeout(sock_connect=REQUEST_S, sock_read=REQUEST_S)
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
        how = {"encoded": True, "client_kwargs": {"timeout": WEB_TIMEOUT}}
        return fsspec.filesystem("http", **how), requote_uri(uri)
    if is_local(uri):
        # Not by fsspec, which takes a `::` in a path for a chain of file systems.
        return LocalFileSystem(), uri
    return resolve_once(uri)
