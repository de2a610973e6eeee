"""Files of the web: downloaded once, kept, and continued where a download was cut off."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from raclib.corpus.retry import said_if_slow
from raclib.corpus.urls import public_name
from raclib.errors import UserError
from raclib.ingest.copies import IDENTITY, kept_copy, places, version_in

CHUNK_BYTES = 2**20
TIMEOUT_S = 20
NUM_RETRIES = 3


def download(url: str, folder: Path) -> Path:
    """The local copy of a file of the web, downloaded unless it is there and still the same.

    The copy appears under its name when it is complete. What a broken download left is continued
    (HTTP Range) if the server can and still has the same file.

    Args:
        url: http or https.
        folder: Where copies are kept.

    Raises:
        UserError: if the server does not answer with the file, the connection breaks or another
            process is downloading the same file.
    """
    if copy := kept_copy(url, folder):
        return copy
    target, part, tag, version = places(url, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        _lock(file, part)
        try:
            with _clear_errors(public_name(url)), _session() as session:
                _continue(session, url, file, tag)
            # An older version may not vouch for a newer copy.
            version.unlink(missing_ok=True)
            part.replace(target)
        finally:
            if part.exists() and not part.stat().st_size:
                part.unlink()
    if tag.exists():
        tag.replace(version)
    return target


def _continue(session: requests.Session, url: str, file: BinaryIO, tag: Path) -> None:
    """Appends to a file what is missing of it."""
    start = file.tell()
    most_s = (NUM_RETRIES + 1) * TIMEOUT_S
    with said_if_slow(f"{public_name(url)}: no answer yet; asked again for up to {most_s} s"):
        response = session.get(url, headers=_headers(start, tag), stream=True, timeout=TIMEOUT_S)
    with response:
        content_range = response.headers.get("Content-Range", "")
        if response.status_code == 416 and content_range == f"bytes */{start}":
            return
        is_continued = content_range.startswith(f"bytes {start}-")
        if start and response.status_code in (206, 416) and not is_continued:
            # What is here is of another file: begin again.
            _clear(file)
            _continue(session, url, file, tag)
            return
        response.raise_for_status()
        if response.status_code != 206:
            _clear(file)
        _save_tag(response, tag)
        _append(response, file, public_name(url))


def _clear(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _headers(start: int, tag: Path) -> dict[str, str]:
    headers = dict(IDENTITY)
    if start:
        headers["Range"] = f"bytes={start}-"
        if tag.exists():
            # The server then sends a file that has changed from its beginning.
            headers["If-Range"] = tag.read_text()
    return headers


def _save_tag(response: requests.Response, tag: Path) -> None:
    """Remembers which version of the file this is."""
    if version := version_in(response):
        tag.write_text(version)
    else:
        tag.unlink(missing_ok=True)


def _append(response: requests.Response, file: BinaryIO, name: str) -> None:
    start, length = file.tell(), response.headers.get("Content-Length")
    with tqdm(
        total=start + int(length) if length else None,
        initial=start,
        unit="B",
        unit_scale=True,
        desc=Path(name).name,
    ) as progress:
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            file.write(chunk)
            progress.update(len(chunk))
    file.flush()


def _session() -> requests.Session:
    session = requests.Session()
    retry = Retry(
        total=NUM_RETRIES,
        backoff_factor=0.5,
        status_forcelist=(429, 502, 503, 504),
        raise_on_status=False,
    )
    session.mount("https://", HTTPAdapter(max_retries=retry))
    session.mount("http://", HTTPAdapter(max_retries=retry))
    return session


def _lock(file: BinaryIO, part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{part}: another process is downloading it; wait for it") from None


@contextmanager
def _clear_errors(name: str) -> Iterator[None]:
    try:
        yield
    except requests.HTTPError as error:
        answer = f"{error.response.status_code} {error.response.reason}"
        raise UserError(f"{name}: the server answered {answer}; check the address") from None
    except (requests.RequestException, HTTPError) as error:
        # The name of the error only: its message may repeat a URL with a password.
        raise UserError(
            f"{name}: the download broke off ({type(error).__name__}); run the same command again "
            "to continue it"
        ) from None
