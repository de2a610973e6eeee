"""Writes a corpus: immutable shards first, then the manifest that publishes them, exclusively."""

import json
import secrets
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import IO, Any, Literal, Self

import numpy as np

from raclib.corpus import files
from raclib.corpus.atomic import create_exclusive
from raclib.corpus.column import write_column
from raclib.corpus.corpus import Corpus, latest_version, open_corpus
from raclib.corpus.gather import Array
from raclib.corpus.manifest import (
    TIME,
    Field,
    FileInfo,
    Manifest,
    ShardInfo,
    check_fields,
    field_path,
    name_shard,
)
from raclib.errors import UserError

MAX_LISTED = 16
"""Folders of shards that are listed one by one; of more, all are at once."""


def write_field(
    uri: str,
    shard_id: str,
    field_name: str,
    field: Field,
    array: Array,
    token: str | None = None,
) -> FileInfo:
    """Writes one field of one shard, atomically; writing it again replaces it.

    A shard id belongs to one writer: two that write different rows under one id damage it.

    Args:
        uri: Folder or fsspec URI of the corpus.
        shard_id: Letters, digits, `_` and `-`.
        field_name: Name of the field.
        field: Its type and shape.
        array: Rows `[N, *field.shape]` in time order, N at least 1; may be a memory map.
        token: Set to add the field to a shard that is published; see `FileInfo`.

    Returns:
        What the shard's `ShardInfo` says of the file.

    Raises:
        UserError: if the array is not of that type and shape, or cannot be written.
    """
    check_array(field_name, field, array)
    path = f"{uri}/{field_path(shard_id, field_name, token)}"
    return replace(write_column(path, field, array), token=token)


def publish(
    uri: str,
    fields: Mapping[str, Field],
    shards: Iterable[ShardInfo],
    provenance: Mapping[str, Any] | None = None,
    version: int | None = None,
    known: Collection[str] = (),
) -> Corpus:
    """Publishes a version made of shards that are written, exclusively.

    Args:
        uri: Folder or fsspec URI of the corpus.
        fields: Every field of it.
        shards: In time order.
        provenance: JSON values.
        version: The version to become; by default the one after the newest.
        known: Ids of shards that another version has as they are: nobody looks for their files.

    Raises:
        UserError: if another writer published that version, a file is missing or of the wrong size,
            or the parts contradict each other.
    """
    uri = files.normalise(uri)
    version = version or latest_version(uri) + 1
    manifest = Manifest(version, dict(fields), tuple(shards), json_values(provenance))
    _check_written(uri, [shard for shard in manifest.shards if shard.id not in known])
    try:
        create_exclusive(files.manifest_uri(uri, version), manifest.to_bytes())
    except FileExistsError as error:
        raise UserError(
            f"{uri}: version {version} was published by another writer; nothing is lost, open "
            "that and do it again"
        ) from error
    return Corpus(uri, manifest)


class CorpusWriter:
    """Writes rows in time order; publishes them as a version when the `with` block ends well.

    Rows wait for their shard in temporary files, so memory stays small. When the block ends by an
    exception nothing is published and an older version stays as it was.

    Args:
        uri: Folder or fsspec URI.
        fields: The arrays of a row; `time` must be `Field("int64")`, milliseconds.
        rows_per_shard: Rows of a shard; the last one has fewer.
        mode: `create` a corpus where none is, or `append` to one.
        provenance: JSON values: what made the rows. An append must agree with what is there.

    Raises:
        UserError: if there is a corpus to create, none to append to, or its fields differ.
    """

    def __init__(
        self,
        uri: str,
        fields: Mapping[str, Field],
        rows_per_shard: int = 1_000_000,
        mode: Literal["create", "append"] = "create",
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        check_fields(fields)
        if rows_per_shard < 1:
            raise UserError(f"rows_per_shard: {rows_per_shard}; must be at least 1")
        self.uri, self.fields, self.rows_per_shard = (
            files.normalise(uri),
            dict(fields),
            rows_per_shard,
        )
        self._provenance = json_values(provenance)
        self._shards: list[ShardInfo] = []
        self._known: set[str] = set()
        self._version, self._last_time = 1, -(2**63)
        if mode == "append":
            self._continue(open_corpus(self.uri, expect=self._provenance))
        elif latest_version(self.uri):
            raise UserError(f'{self.uri}: a corpus is here; append to it with mode="append"')
        self._token = secrets.token_hex(6)
        self._spool: dict[str, IO[bytes]] = {}
        self._num_waiting = 0

    def __enter__(self) -> Self:
        self._spool = {name: tempfile.TemporaryFile() for name in self.fields}  # noqa: SIM115
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._flush()
                what = self.fields, self._shards, self._provenance, self._version, self._known
                publish(self.uri, *what)
        finally:
            for file in self._spool.values():
                file.close()

    def write(self, rows: Mapping[str, Array]) -> None:
        """Adds rows.

        Args:
            rows: For every field an array `[N, *shape]` of the field's type, all of one length;
                times ascend, within and across calls (ties allowed).

        Raises:
            UserError: if they do not; nothing of the call is then written.
        """
        assert self._spool, "write inside the with block"
        num_rows = self._check(rows)
        start = 0
        while start < num_rows:
            stop = min(num_rows, start + self.rows_per_shard - self._num_waiting)
            for name, file in self._spool.items():
                part = np.ascontiguousarray(rows[name][start:stop])
                with files.clear_errors(f"temporary file of field {name}"):
                    file.write(part.data.cast("B"))
            self._num_waiting += stop - start
            start = stop
            if self._num_waiting == self.rows_per_shard:
                self._flush()

    def _continue(self, corpus: Corpus) -> None:
        if corpus.fields != self.fields:
            raise UserError(
                f"{self.uri}: has the fields {corpus.fields}, not {self.fields}; append the same"
            )
        self._version, self._shards = corpus.version + 1, list(corpus.shards)
        self._known = {shard.id for shard in corpus.shards}
        self._provenance = corpus.provenance
        if corpus.time_range:
            self._last_time = corpus.time_range[1]

    def _check(self, rows: Mapping[str, Array]) -> int:
        if rows.keys() != self.fields.keys():
            raise UserError(f"rows: fields {sorted(rows)}; the corpus has {sorted(self.fields)}")
        for name, field in self.fields.items():
            check_array(name, field, rows[name])
        lengths = {name: len(array) for name, array in rows.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(f"rows: lengths differ: {lengths}; give one value a row and field")
        num_rows = lengths[TIME]
        if num_rows:
            self._check_times(rows[TIME])
        return num_rows

    def _check_times(self, time: Array) -> None:
        if time[0] < self._last_time:
            raise UserError(
                f"time: {time[0]} comes after {self._last_time}; write rows in time order"
            )
        falls = np.flatnonzero(time[1:] < time[:-1])
        if falls.size:
            earlier, later = time[falls[0]], time[falls[0] + 1]
            raise UserError(
                f"time: {later} comes after {earlier} (row {falls[0] + 1} of this write); write "
                "rows in time order"
            )
        self._last_time = int(time[-1])

    def _flush(self) -> None:
        if not self._num_waiting:
            return
        shard_id = name_shard(self._version, len(self._shards), self._token)
        infos = {name: self._flush_field(shard_id, name) for name in self._spool}
        time = self._waiting(TIME)
        time_range = (int(time[0]), int(time[-1]))
        self._shards.append(ShardInfo(shard_id, self._num_waiting, time_range, infos))
        for file in self._spool.values():
            file.seek(0)
            file.truncate()
        self._num_waiting = 0

    def _flush_field(self, shard_id: str, name: str) -> FileInfo:
        return write_field(self.uri, shard_id, name, self.fields[name], self._waiting(name))

    def _waiting(self, name: str) -> Array:
        self._spool[name].flush()
        field = self.fields[name]
        return np.memmap(
            self._spool[name], field.dtype, mode="r", shape=(self._num_waiting, *field.shape)
        )


def check_array(name: str, field: Field, array: Array) -> None:
    """Raises UserError unless the array holds rows of the field."""
    if not isinstance(array, np.ndarray) or array.dtype != np.dtype(field.dtype):
        found = getattr(array, "dtype", type(array).__name__)
        raise UserError(f"{name}: is {found}; the field is an array of {field.dtype}")
    if array.ndim == 0 or array.shape[1:] != field.shape:
        expected = ", ".join(map(str, ("N", *field.shape)))
        raise UserError(f"{name}: has shape {array.shape}; the field needs [{expected}]")


def json_values(provenance: Mapping[str, Any] | None) -> dict[str, Any]:
    """The provenance as JSON keeps it; raises UserError for what JSON cannot hold."""
    try:
        return json.loads(json.dumps(dict(provenance or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UserError(f"provenance: {error}; use plain JSON values") from error


def _check_written(uri: str, shards: Sequence[ShardInfo]) -> None:
    # What many versions left is not listed for the sake of a few shards.
    ids = [shard.id for shard in shards] if len(shards) <= MAX_LISTED else [""]
    places = [f"shards/{shard_id}".rstrip("/") for shard_id in ids]
    sizes = {
        f"{place}/{name}": size
        for place in places
        for name, size in files.list_files(f"{uri}/{place}").items()
    }
    for shard in shards:
        for name, info in shard.files.items():
            found = sizes.get(shard.path(name))
            if found != info.num_bytes:
                raise UserError(
                    f"{uri}: shard {shard.id}: field {name}: {found or 'no'} bytes are written, "
                    f"{info.num_bytes} announced; write it again"
                )
