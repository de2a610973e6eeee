"""Copies of files of the web: where they are, and whether they still are what the server has."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError
from xxhash import xxh3_64_hexdigest

from raclib.corpus.retry import said_if_slow
from raclib.corpus.urls import public_name
from raclib.ingest.identity import ETAG

ASK_S = 10
VERSION = ".version"
# The bytes counted are the bytes of the file, whatever the server could pack.
IDENTITY = {"Accept-Encoding": "identity"}


def kept_copy(url: str, folder: Path) -> Path | None:
    """The copy of a file of the web; None if there is none, or the server now has another file.

    Where the server cannot be asked, or says nothing by which files could be told apart, the copy
    is taken for the file: a signature may have run out since.
    """
    target = places(url, folder)[0]
    if not target.exists():
        return None
    kept, now = {"num_bytes": target.stat().st_size, **version_of(target)}, ask(url)
    return None if any(now.get(name, value) != value for name, value in kept.items()) else target


def version_of(copy: Path) -> dict[str, Any]:
    """The `etag` that the server gave with a copy, where it did."""
    version = copy.with_name(f"{copy.name}{VERSION}")
    return {ETAG: version.read_text()} if version.exists() else {}


def ask(url: str) -> dict[str, Any]:
    """What a server says of a file without sending it: `num_bytes` and `etag`, where it does."""
    try:
        with said_if_slow(f"{public_name(url)}: no answer yet; waiting for up to {ASK_S} s"):
            # Not HEAD, for which an address is not signed.
            response = requests.get(url, headers=IDENTITY, stream=True, timeout=ASK_S)
        with response:
            response.raise_for_status()
            length, version = response.headers.get("Content-Length"), version_in(response)
    except (requests.RequestException, HTTPError):
        return {}
    return ({"num_bytes": int(length)} if length else {}) | ({ETAG: version} if version else {})


def places(url: str, folder: Path) -> tuple[Path, Path, Path, Path]:
    """Where a copy is, its part while it is downloaded, the version of this, and of the copy."""
    # Two URLs may end in the same name.
    name = f"{xxh3_64_hexdigest(public_name(url).encode())[:8]}-{Path(urlsplit(url).path).name}"
    target, part, tag, version = (
        folder / f"{name}{suffix}" for suffix in ("", ".part", ".tag", VERSION)
    )
    return target, part, tag, version


def version_in(response: requests.Response) -> str | None:
    """What tells this version of a file from others, where the server says so."""
    etag = response.headers.get("ETag", "")
    # A weak ETag may not be used in If-Range.
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")
