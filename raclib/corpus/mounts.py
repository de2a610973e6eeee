"""How a process gets at shard files: mapped where they lie, or copied to this machine first."""

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from raclib.corpus import files
from raclib.corpus.column import Column
from raclib.corpus.corpus import Corpus
from raclib.corpus.manifest import ShardInfo
from raclib.errors import UserError

logger = logging.getLogger(__name__)

MountKind = Literal["mmap", "hydrate"]
COPY_BYTES = 8 * 2**20


def choose_mount(uri: str, mount: str) -> MountKind:
    """The mount to use for a corpus; `auto` is decided here, and the reason logged.

    Raises:
        UserError: if the mount is unknown or cannot be used with this corpus.
    """
    local = files.local_path(uri)
    if mount == "auto":
        chosen: MountKind = "mmap" if local else "hydrate"
        why = "a path of this machine" if local else "not on this machine's file system"
        logger.info("corpus %s: mount %s, because it is %s", uri, chosen, why)
        return chosen
    if mount not in get_args(MountKind):
        raise UserError(f"mount: {mount!r}; choose 'mmap', 'hydrate' or 'auto'")
    if mount == "mmap" and not local:
        raise UserError(f"mount: 'mmap' needs a path, {uri} is none; choose 'hydrate' or 'auto'")
    return "mmap" if mount == "mmap" else "hydrate"


@dataclass(frozen=True)
class Mount:
    """Opens shard files as columns. Small and picklable.

    Args:
        kind: `mmap` maps files where they lie; `hydrate` copies each to this node's storage once,
            verified, and maps the copy; later jobs find it there.
        cache_dir: Folder for copies; by default RACLIB_CACHE_DIR, else one in the temporary folder.
    """

    kind: MountKind
    cache_dir: str | None = None

    def open(self, corpus: Corpus, shard: ShardInfo, name: str) -> Column:
        """A field of a shard, copied here first where need be.

        Raises:
            UserError: if the file is missing, truncated, damaged or cannot be copied.
        """
        if self.kind == "mmap":
            return corpus.column(shard, name)
        path = self._copy_path(shard, name)
        if not path.exists():
            self._copy(corpus, shard, name, path)
        return self._map(path, corpus, shard, name)

    def find(self, corpus: Corpus, shard: ShardInfo, name: str) -> Column | None:
        """A field of a shard if it is on this machine already; None if not."""
        if self.kind == "mmap":
            path = files.local_path(files.field_uri(corpus.uri, shard.id, name))
        else:
            path = self._copy_path(shard, name)
        if path is None or not path.exists():
            return None
        return self._map(path, corpus, shard, name)

    def _map(self, path: Path, corpus: Corpus, shard: ShardInfo, name: str) -> Column:
        return Column.map(path, corpus.field(name), shard.num_rows, shard.files[name])

    def _copy_path(self, shard: ShardInfo, name: str) -> Path:
        # Named by content, so that a corpus made anew under the same URI is never mixed up.
        checksum = shard.files[name].checksum
        return self._folder() / checksum[:2] / f"{checksum}.npy"

    def _folder(self) -> Path:
        default = Path(tempfile.gettempdir()) / f"raclib-cache-{os.getuid()}"
        return Path(self.cache_dir or os.environ.get("RACLIB_CACHE_DIR") or default)

    def _copy(self, corpus: Corpus, shard: ShardInfo, name: str, path: Path) -> None:
        """Copies and verifies before the copy gets its name, so half a file is never found."""
        source = files.field_uri(corpus.uri, shard.id, name)
        fs, source_path = files.resolve(source)
        with files.write_atomic(str(path)) as copy:
            with files.clear_errors(source), fs.open(source_path, "rb") as original:
                shutil.copyfileobj(original, copy, COPY_BYTES)
            copy.flush()
            column = self._map(Path(copy.name), corpus, shard, name)
            column.verify(slice(0, shard.num_rows))
