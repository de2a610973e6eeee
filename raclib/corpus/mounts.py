"""How servers get at the shard files."""

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from raclib.corpus import files
from raclib.corpus.corpus import Corpus
from raclib.errors import UserError

logger = logging.getLogger(__name__)

MountKind = Literal["mmap", "hydrate", "range"]


@dataclass(frozen=True)
class Mount:
    """A way of getting at shard files. Small and picklable.

    Args:
        kind: `mmap` maps files where they lie; `hydrate` copies each to this node's storage once,
            verified, and maps the copy; `range` reads blocks of wide rows when they are asked for
            and keeps them on this node's storage while the server lives.
        cache_dir: Folder on each node; by default RACLIB_CACHE_DIR, else one in the temporary
            folder.
        cache_bytes: Bytes of node storage for copies, and again for blocks of each server; by
            default copies leave a tenth of the disk free and blocks take a tenth of what is free.
    """

    kind: MountKind
    cache_dir: str | None = None
    cache_bytes: int | None = None

    @property
    def folder(self) -> Path:
        """The folder on this node, made if it is not there."""
        default = Path(tempfile.gettempdir()) / f"raclib-cache-{os.getuid()}"
        folder = Path(self.cache_dir or os.environ.get("RACLIB_CACHE_DIR") or default)
        with files.clear_errors(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
        return folder


def choose_mount(
    corpus: Corpus, mount: str, cache_dir: str | None = None, cache_bytes: int | None = None
) -> Mount:
    """The mount for a corpus; `auto` is decided here, and the reason logged.

    Raises:
        UserError: if the mount is unknown or cannot be used with this corpus.
    """
    local = files.local_path(corpus.uri)
    if mount == "mmap" and not local:
        raise UserError(f"mount: 'mmap' needs a path, {corpus.uri} is none; choose 'auto'")
    if mount == "auto":
        kind, why = _choose(corpus, Mount("hydrate", cache_dir, cache_bytes))
        logger.info("corpus %s: mount %s, because %s", corpus.uri, kind, why)
        return Mount(kind, cache_dir, cache_bytes)
    for kind in get_args(MountKind):
        if mount == kind:
            return Mount(kind, cache_dir, cache_bytes)
    raise UserError(f"mount: {mount!r}; choose 'mmap', 'hydrate', 'range' or 'auto'")


def _choose(corpus: Corpus, hydrate: Mount) -> tuple[MountKind, str]:
    if files.local_path(corpus.uri):
        return "mmap", "it is on a path of this machine"
    size = sum(info.num_bytes for shard in corpus.shards for info in shard.files.values())
    room = hydrate.cache_bytes or shutil.disk_usage(hydrate.folder).free // 2
    if size <= room:
        return "hydrate", f"its {size:,} bytes fit into {room:,} bytes of node storage"
    return "range", f"its {size:,} bytes do not fit into {room:,} bytes of node storage"
