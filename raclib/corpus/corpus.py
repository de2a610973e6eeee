"""A published version of a corpus, and what can be read of it without any server."""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from raclib.corpus import files
from raclib.corpus.column import Column
from raclib.corpus.gather import Array
from raclib.corpus.manifest import TIME, Field, Manifest, ShardInfo
from raclib.errors import UserError

_MANIFEST = re.compile(r"(\d{8})\.json")


class Corpus:
    """One immutable version of a corpus. Small and picklable: it holds the manifest only.

    Args:
        uri: Folder or fsspec URI.
        manifest: The version.
    """

    def __init__(self, uri: str, manifest: Manifest) -> None:
        self.uri, self.manifest = uri, manifest

    def __len__(self) -> int:
        return self.manifest.num_rows

    def __repr__(self) -> str:
        return f"Corpus({self.uri!r}, version={self.version}, rows={len(self)})"

    @property
    def fields(self) -> dict[str, Field]:
        """The arrays of a row."""
        return self.manifest.fields

    @property
    def shards(self) -> tuple[ShardInfo, ...]:
        """The shards in row order."""
        return self.manifest.shards

    @property
    def time_range(self) -> tuple[int, int] | None:
        """First and last time, milliseconds; None without rows."""
        return self.manifest.time_range

    @property
    def version(self) -> int:
        """1, 2, ..."""
        return self.manifest.version

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the rows."""
        return self.manifest.provenance

    @cached_property
    def starts(self) -> Array:
        """Row id of each shard's first row, and the row count: int64 `[num_shards + 1]`."""
        return np.cumsum([0, *(shard.num_rows for shard in self.shards)], dtype=np.int64)

    def field(self, name: str) -> Field:
        """A field by name.

        Raises:
            UserError: if the corpus has no such field.
        """
        if name not in self.fields:
            raise UserError(f"field {name!r}: the corpus has {', '.join(self.fields)}")
        return self.fields[name]

    def file_uri(self, shard: ShardInfo, name: str) -> str:
        """Where a field of a shard is stored."""
        return f"{self.uri}/{shard.path(name)}"

    def column(self, shard: ShardInfo, name: str) -> Column:
        """A field of a shard: mapped where the corpus is on this machine, else read whole."""
        what = (self.field(name), shard.num_rows, shard.files[name])
        uri = self.file_uri(shard, name)
        path = files.local_path(uri)
        if path:
            return Column.map(path, *what)
        return Column(files.read_bytes(uri), *what, uri)

    def num_before(self, time: int) -> int:
        """How many rows, the first ones, are of a time strictly before this one, milliseconds.

        Reads the times of one shard at most.

        Raises:
            UserError: if its file is damaged.
        """
        lasts = np.array([shard.time_range[1] for shard in self.shards], np.int64)
        number = int(np.searchsorted(lasts, time))
        if number == len(lasts) or time <= self.shards[number].time_range[0]:
            return int(self.starts[number])
        shard = self.shards[number]
        times = self.column(shard, TIME).read(0, shard.num_rows)
        return int(self.starts[number] + np.searchsorted(times, time))

    def read(self, name: str, lo: int = 0, hi: int | None = None) -> Array:
        """Rows `[lo, hi)` of a narrow field, a writable copy `[hi - lo, ...]`.

        Raises:
            UserError: if the interval or field is not in the corpus or a file is damaged.
        """
        hi = len(self) if hi is None else hi
        if not 0 <= lo <= hi <= len(self):
            raise UserError(f"rows [{lo}, {hi}): the corpus has rows [0, {len(self)})")
        field = self.field(name)
        out = np.empty((hi - lo, *field.shape), field.dtype)
        for start, rows in self.iter_field(name, lo, hi):
            out[start - lo : start - lo + len(rows)] = rows
        return out

    def read_mapped(self, name: str) -> Array:
        """All rows of a narrow field `[N, ...]`, of an unnamed file in the temporary folder.

        They are page cache, which the system takes back where memory is short. What is written to
        the array is not written to the file.

        Raises:
            UserError: if the field is not in the corpus, a file is damaged or the disk full.
        """
        field = self.field(name)
        shape = (len(self), *field.shape)
        if not len(self):
            return np.empty(shape, field.dtype)
        what = f"temporary file of field {name}"
        with files.clear_errors(what), tempfile.TemporaryFile() as file:
            for _, rows in self.iter_field(name):
                file.write(rows.data.cast("B"))
            file.flush()
            return np.memmap(file, field.dtype, mode="c", shape=shape)

    def iter_field(
        self, name: str, lo: int = 0, hi: int | None = None
    ) -> Iterator[tuple[int, Array]]:
        """Yields the first row id and the read-only rows `[num_rows, ...]` of each shard.

        Args:
            name: The field.
            lo, hi: Only rows `[lo, hi)`, and only shards that have some; by default all.

        Raises:
            UserError: if the field is not in the corpus or a file is damaged.
        """
        self.field(name)
        hi = len(self) if hi is None else hi
        number = max(0, int(np.searchsorted(self.starts, lo, side="right")) - 1)
        while number < len(self.shards) and max(lo, self.starts[number]) < hi:
            shard, start = self.shards[number], int(self.starts[number])
            first, last = max(lo, start), min(hi, start + shard.num_rows)
            yield first, self.column(shard, name).read(first - start, last - start)
            number += 1

    def verify(self, progress: Callable[[int], object] | None = None) -> None:
        """Reads every file and checks every checksum.

        Args:
            progress: Called with the byte size of each file that proved right.

        Raises:
            UserError: naming the first file that is missing, truncated or damaged.
        """
        for shard in self.shards:
            for name, info in shard.files.items():
                self.column(shard, name).read(0, shard.num_rows)
                if progress:
                    progress(info.num_bytes)


def open_corpus(
    uri: str, version: int | None = None, expect: Mapping[str, Any] | None = None
) -> Corpus:
    """Opens a corpus; reads its manifest only.

    Args:
        uri: Folder or fsspec URI.
        version: Version to open; by default the newest.
        expect: Provenance the corpus must have, entry by entry.

    Raises:
        UserError: if there is no such corpus or version, it is still being written, its manifest is
            not valid or its provenance is another.
    """
    uri = files.normalise(uri)
    if version is None:
        version = latest_version(uri)
        if not version:
            raise UserError(_why_unpublished(uri))
    name = files.manifest_uri(uri, version)
    manifest = Manifest.from_bytes(files.read_small(name), name)
    if manifest.version != version:
        raise UserError(f"{name}: says it is version {manifest.version}; restore the file")
    corpus = Corpus(uri, manifest)
    _check_provenance(corpus, expect or {})
    return corpus


def latest_version(uri: str) -> int:
    """The newest published version; 0 if there is none."""
    names = map(_MANIFEST.fullmatch, files.list_files(f"{uri}/manifests"))
    return max((int(name[1]) for name in names if name), default=0)


def _why_unpublished(uri: str) -> str:
    if files.list_files(f"{uri}/shards"):
        return (
            f"{uri}: no version is published; the corpus is being written or its writer died; "
            "wait, or write it again"
        )
    return f"{uri}: no corpus here; check the path, or make one with CorpusWriter"


def _check_provenance(corpus: Corpus, expect: Mapping[str, Any]) -> None:
    for key, wanted in expect.items():
        found = corpus.provenance.get(key)
        # Compared as JSON: a tuple that was stored comes back as a list.
        if json.dumps(found, sort_keys=True) != json.dumps(wanted, sort_keys=True):
            raise UserError(
                f"{corpus.uri}: made with {key} = {found!r}, this run needs {wanted!r}; remake the "
                "corpus or change the configuration"
            )
