"""What files are known by later: their content, wherever they lie."""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import xxhash
from tqdm import tqdm

from raclib.corpus.retry import retrying
from raclib.corpus.urls import is_web, public_name
from raclib.ingest.checksums import kept_checksum
from raclib.ingest.locations import file_name, file_system, is_local
from raclib.ingest.opening import BUFFER_BYTES, clear_reading, open_file

CHECKSUM, ETAG = "xxh3_128", "etag"
SHOWN_AFTER_S = 3


def describe_file(uri: str, folder: str) -> dict[str, Any]:
    """Name, bytes and identity of a file: JSON without an absolute path or credentials.

    Identity is the store's ETag, or else `xxh3_128`, a checksum of the bytes: the same size says
    nothing, and a time of change is that of a copy.

    Args:
        uri: As `find_files` gives it.
        folder: Folder or URI where checksums of local files are kept; see `kept_checksum`.
    """
    name = public_name(uri) if is_web(uri) else file_name(uri)
    with clear_reading(uri):
        fs, path = file_system(uri)
        info = retrying(name)(fs.info, path)
    size = info.get("size")
    if is_local(uri):
        checksum = kept_checksum(uri, folder, lambda: _read_whole(uri, size)[0])
        return {"name": name, "num_bytes": size, CHECKSUM: checksum}
    if info.get("ETag") and size is not None:
        return {"name": name, "num_bytes": size, ETAG: info["ETag"].strip('"')}
    checksum, num_bytes = _read_whole(uri, size)
    return {"name": name, "num_bytes": num_bytes, CHECKSUM: checksum}


def _read_whole(uri: str, size: int | None) -> tuple[str, int]:
    """The checksum of a file and its bytes, whose number servers may not tell before."""
    checksum = xxhash.xxh3_128()
    with (
        open_file(uri) as file,
        tqdm(
            total=size,
            desc=f"checking {file_name(uri)}",
            unit="B",
            unit_scale=True,
            delay=SHOWN_AFTER_S,
        ) as progress,
    ):
        while chunk := file.read(BUFFER_BYTES):
            checksum.update(chunk)
            progress.update(len(chunk))
    return checksum.hexdigest(), int(progress.n)


def is_files(value: Any) -> bool:
    """Whether a JSON value describes files."""
    return isinstance(value, Mapping) and "files" in value


def differs(before: Any, now: Any) -> bool:
    """Whether two JSON values differ, files by what they are known by."""
    if is_files(before) and is_files(now):
        return changed_file(before, now) is not None
    return before != now


def changed_file(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first of some files, in their order, that is not what it was; None if all are.

    Args:
        before: `{"files": [...]}`, a description each as `describe_file` gives it.
        now: The same of the files as they are.
    """
    for old, new in zip_longest(before["files"], now["files"]):
        if old is None or new is None or not _is_same(old, new):
            return (new or old)["name"]
    return None


def _is_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two descriptions are of the same bytes, by the best that both of them tell."""
    for name in (CHECKSUM, ETAG):
        if name in old and name in new:
            return old[name] == new[name]
    told = [name for name in ("name", "num_bytes") if name in old and name in new]
    return all(old[name] == new[name] for name in told)
