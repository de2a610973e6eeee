"""Copies of shard files on node storage: made once, verified, shared by jobs, evicted when old."""

import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from raclib.corpus import files
from raclib.corpus.atomic import write_atomic
from raclib.corpus.column import Column
from raclib.corpus.corpus import Corpus
from raclib.corpus.faults import DamagedError, FullError
from raclib.corpus.manifest import ShardInfo
from raclib.corpus.mounts import Mount
from raclib.corpus.remote import RangeReader
from raclib.corpus.retry import retrying, said_if_slow
from raclib.errors import UserError

RANGE_BYTES = 8 * 2**20
RANGES_AT_ONCE = 8
FREE_SHARE = 0.1


def find_copy(mount: Mount, corpus: Corpus, shard: ShardInfo, name: str) -> Column | None:
    """A field of a shard if this node has a copy; None if not. A damaged one is dropped."""
    path = _copy_path(mount, shard, name)
    try:
        # The time of last use decides what is evicted.
        os.utime(path)
        return Column.map(path, corpus.field(name), shard.num_rows, shard.files[name])
    except DamagedError as error:
        drop_copy(mount, shard, name, error)
    except (OSError, UserError):
        pass  # removed in this moment, or not for us to read
    return None


def drop_copy(mount: Mount, shard: ShardInfo, name: str, error: DamagedError) -> None:
    """Removes the copy of a field of a shard that is not what was written, and says so."""
    reason = str(error).removesuffix("; restore the file")
    print(f"{socket.gethostname()}: {reason}; this copy is dropped, and made anew", file=sys.stderr)
    with suppress(OSError):
        _copy_path(mount, shard, name).unlink()


def hydrate(
    mount: Mount, reader: RangeReader, corpus: Corpus, shard: ShardInfo, name: str
) -> Column:
    """A field of a shard, copied to this node first if it is not here yet.

    Raises:
        UserError: if the file is missing or damaged; FullError if it does not fit.
    """
    path = _copy_path(mount, shard, name)
    with locked(mount.folder):
        copy = find_copy(mount, corpus, shard, name)
        if copy is None:
            make_room(mount, shard.files[name].num_bytes)
            copy = retrying(str(path))(_copy, reader, corpus, shard, name, path)
    return copy


def make_room(mount: Mount, num_bytes: int) -> None:
    """Removes half copies of killed servers, then the copies used longest ago, until one more fits.

    A copy that a process has mapped is removed too: that process reads on from what it mapped.

    Raises:
        FullError: if it does not fit even then.
    """
    for path in mount.folder.glob("*/.*.tmp"):
        path.unlink(missing_ok=True)
    found = (path for kind in ("*/*.npy", "keys/*.pt") for path in mount.folder.glob(kind))
    copies = [(path.stat(), path) for path in found]
    copies.sort(key=lambda copy: copy[0].st_mtime)
    held = sum(status.st_size for status, _ in copies)
    while not _fits(mount, held, num_bytes):
        if not copies:
            raise FullError(
                f"{mount.folder} on {socket.gethostname()}: no room for a copy of {num_bytes:,} "
                "bytes; free the disk, raise cache_bytes or choose mount 'range'"
            )
        status, path = copies.pop(0)
        path.unlink()
        held -= status.st_size


def _fits(mount: Mount, held: int, num_bytes: int) -> bool:
    disk = shutil.disk_usage(mount.folder)
    if mount.cache_bytes is None:
        return disk.free - num_bytes >= FREE_SHARE * disk.total
    return held + num_bytes <= mount.cache_bytes and num_bytes < disk.free


def _copy(reader: RangeReader, corpus: Corpus, shard: ShardInfo, name: str, path: Path) -> Column:
    """Copies and verifies a file before it gets its name, so that half a file is never found."""
    source, info = corpus.file_uri(shard, name), shard.files[name]
    edges = range(0, info.num_bytes, RANGE_BYTES)
    ranges = [(lo, min(lo + RANGE_BYTES, info.num_bytes)) for lo in edges]
    with files.clear_errors(f"copy of {source} in {path.parent}"), write_atomic(str(path)) as file:
        for start in range(0, len(ranges), RANGES_AT_ONCE):
            file.writelines(reader.read(source, ranges[start : start + RANGES_AT_ONCE]))
        file.flush()
        column = Column.map(
            Path(file.name), corpus.field(name), shard.num_rows, info, name=f"{source} (copied)"
        )
        column.read(0, shard.num_rows)
    return column


def _copy_path(mount: Mount, shard: ShardInfo, name: str) -> Path:
    # Named by content, so that a corpus made anew under the same URI is never mixed up.
    checksum = shard.files[name].checksum
    return mount.folder / checksum[:2] / f"{checksum}.npy"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One copy at a time on a node: nothing is copied twice, nor the disk filled by two together.

    The lock goes with its process, so a killed server leaves none.
    """
    with files.clear_errors(str(folder)):
        file = (folder / "lock").open("w")
    with file:
        with said_if_slow(f"{folder} on {socket.gethostname()}: another process copies; waiting"):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
