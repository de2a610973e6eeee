"""Checksums of local files, kept for as long as nothing says that a file was touched since."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import read_bytes
from raclib.errors import UserError

# What is written in the same tick of a file system's clock as it is read looks like no change.
RACY_S = 2.0


def kept_checksum(path: str, folder: str, compute: Callable[[], str]) -> str:
    """The checksum of a file; computed unless the file is as it was when it last was.

    As it was means size, inode and the times of the last change of content and of the file itself,
    which nobody can set back.

    Args:
        path: Absolute path.
        folder: Folder or URI where checksums are kept; they are computed where it cannot be used.
        compute: Reads the file whole.
    """
    record, now = _record(path, folder), _stamp(path)
    with suppress(UserError, ValueError):
        kept = json.loads(read_bytes(record))
        if kept["stamp"] == now:
            return kept["checksum"]
    began = time.time()
    checksum = compute()
    is_settled = began - max(now["mtime_ns"], now["ctime_ns"]) / 1e9 > RACY_S
    if is_settled and _stamp(path) == now:
        with suppress(UserError, OSError), write_atomic(record) as file:
            file.write(json.dumps({"stamp": now, "checksum": checksum}).encode())
    return checksum


def _stamp(path: str) -> dict[str, int]:
    found = Path(path).stat()
    return {
        "size": found.st_size,
        "inode": found.st_ino,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }


def _record(path: str, folder: str) -> str:
    return f"{folder}/{xxh3_64_hexdigest(path.encode())[:8]}-{Path(path).name}.checksum"
