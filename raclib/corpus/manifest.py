"""What a version of a corpus is: its fields, its shards and where it came from."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_json

from raclib.corpus.seal import seal, unseal
from raclib.errors import UserError

TIME = "time"
FORMAT = 1
BLOCK_BYTES = 16 * 1024
MAX_ROW_BYTES = 64 * 2**20
MAX_ROWS = 2**48
# A file is an array and its block checksums, each after a header of at most this many bytes.
MAX_HEADER_BYTES = 4096

DTYPES = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
DTYPES += ("float16", "float32", "float64")
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SHARD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_CHECKSUM = re.compile(r"[0-9a-f]{32}")
_TOKEN = re.compile(r"[0-9a-f]{12}")

Record = TypeVar("Record")


@dataclass(frozen=True)
class Field:
    """One array of a corpus.

    Args:
        dtype: Type of an element: bool, int8 to int64, uint8 to uint64, float16 to float64.
        shape: Shape of one row; `()` for a scalar.

    Raises:
        UserError: if the type is another one or the shape absurd.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    dtype: str
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        try:
            name = np.dtype(self.dtype).name
        except TypeError:
            name = str(self.dtype)
        if name not in DTYPES:
            raise UserError(f"dtype {name!r} cannot be stored; choose one of {', '.join(DTYPES)}")
        shape = tuple(int(size) for size in self.shape)
        num_bytes = np.dtype(name).itemsize
        for size in shape:
            num_bytes *= max(size, 0)
        if not 0 < num_bytes <= MAX_ROW_BYTES or len(shape) > 8:
            raise UserError(
                f"shape {shape} of {name} cannot be stored; a row has at most 8 positive sizes and "
                f"{MAX_ROW_BYTES} bytes"
            )
        object.__setattr__(self, "dtype", name)
        object.__setattr__(self, "shape", shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    @property
    def block_rows(self) -> int:
        """Rows that share one checksum."""
        return max(1, BLOCK_BYTES // self.row_bytes)

    def num_blocks(self, num_rows: int) -> int:
        """Checksums of a file of `num_rows` rows."""
        return -(-num_rows // self.block_rows)


@dataclass(frozen=True)
class FileInfo:
    """One field of one shard, in a file.

    Args:
        num_bytes: Size of the file.
        checksum: xxh3_128 (hex) of its header and block sums. Every block of rows has a checksum
            inside the file; this one vouches for those.
        token: 12 hexadecimal digits in the file's name, where the field was added to a shard that
            was there; so two versions of a field are two files.

    Raises:
        UserError: if checksum or token is not hexadecimal.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    num_bytes: int
    checksum: str
    token: str | None = None

    def __post_init__(self) -> None:
        if not _CHECKSUM.fullmatch(self.checksum):
            raise UserError(f"checksum {self.checksum!r} is not 32 hexadecimal digits")
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise UserError(f"token {self.token!r} is not 12 hexadecimal digits")

    def to_json(self) -> dict[str, Any]:
        """JSON value of this file."""
        return _to_json(self)

    @classmethod
    def from_json(cls, value: Any) -> "FileInfo":
        """The inverse of `to_json`; raises UserError for anything else."""
        return parse(cls, value, "file")


@dataclass(frozen=True)
class ShardInfo:
    """Consecutive rows of a corpus, one file a field.

    Args:
        id: Name of the shard's folder: letters, digits, `_` and `-`.
        num_rows: Rows, at least one.
        time_range: First and last time, milliseconds.
        files: Each field's file.

    Raises:
        UserError: if any of these cannot be.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: str
    num_rows: int
    time_range: tuple[int, int]
    files: dict[str, FileInfo]

    def __post_init__(self) -> None:
        if not _SHARD_ID.fullmatch(self.id):
            raise UserError(f"shard id {self.id!r} may hold only letters, digits, '_' and '-'")
        if not 0 < self.num_rows <= MAX_ROWS:
            raise UserError(f"shard {self.id}: {self.num_rows} rows; allowed are 1 to {MAX_ROWS}")
        if self.time_range[0] > self.time_range[1]:
            raise UserError(f"shard {self.id}: time range {list(self.time_range)} is reversed")

    def path(self, name: str) -> str:
        """Where a field of this shard is stored, under the corpus."""
        return field_path(self.id, name, self.files[name].token)

    def to_json(self) -> dict[str, Any]:
        """JSON value of this shard."""
        return _to_json(self)

    @classmethod
    def from_json(cls, value: Any) -> "ShardInfo":
        """The inverse of `to_json`; raises UserError for anything else."""
        return parse(cls, value, "shard")


@dataclass(frozen=True)
class Manifest:
    """One version of a corpus. Row ids count over `shards` in this order.

    Args:
        version: 1, 2, ...
        fields: The arrays; `time` (int64, scalar) is one of them.
        shards: In time order.
        provenance: JSON values: what made the rows (encoder, prompt, key transform ...).
        format: Format of manifest and files.

    Raises:
        UserError: if any part contradicts another.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    version: int
    fields: dict[str, Field]
    shards: tuple[ShardInfo, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise UserError(f"format {self.format} is unknown; this raclib reads {FORMAT}")
        if not 0 < self.version < 10**8:
            raise UserError(f"version {self.version}: allowed are 1 to 99999999")
        if self.num_rows > MAX_ROWS:
            raise UserError(f"{self.num_rows} rows; allowed are at most {MAX_ROWS}")
        check_fields(self.fields)
        _check_order(self.shards)
        sizes = {name: (item.row_bytes, item.block_rows) for name, item in self.fields.items()}
        for shard in self.shards:
            _check_files(shard, sizes)

    @cached_property
    def num_rows(self) -> int:
        """Rows of this version."""
        return sum(shard.num_rows for shard in self.shards)

    @property
    def time_range(self) -> tuple[int, int] | None:
        """First and last time, milliseconds; None without rows."""
        if not self.shards:
            return None
        return self.shards[0].time_range[0], self.shards[-1].time_range[1]

    def to_bytes(self) -> bytes:
        """The manifest as JSON."""
        value = {**_to_json(self), "num_rows": self.num_rows, "time_range": self.time_range}
        return seal(to_json(value, indent=1))

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "Manifest":
        """The inverse of `to_bytes`.

        Raises:
            UserError: if the data is not a valid manifest; the message starts with `name`.
        """
        try:
            value = json.loads(unseal(data, name))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{name}: not a manifest: {error}") from error
        if not isinstance(value, dict):
            raise UserError(f"{name}: not a manifest, but a {type(value).__name__}")
        num_rows, time_range = value.pop("num_rows", None), value.pop("time_range", None)
        manifest = parse(cls, value, name)
        if num_rows != manifest.num_rows or _as_tuple(time_range) != manifest.time_range:
            raise UserError(f"{name}: num_rows or time_range contradict the shards")
        return manifest


def name_shard(version: int, number: int, token: str) -> str:
    """The id of the shard of a number that a version gets; the token sets writers apart."""
    return f"{version:08d}-{number:06d}-{token}"


def field_path(shard_id: str, name: str, token: str | None = None) -> str:
    """Where a field of a shard is stored, under the corpus."""
    return f"shards/{shard_id}/{name}{'-' + token if token else ''}.npy"


def parse(kind: type[Record], value: Any, name: str) -> Record:
    """A record from its JSON value: no unknown keys, no missing ones, no wrong types."""
    try:
        return _adapter(kind).validate_json(  # type: ignore[arg-type]  # a class can be hashed
            json.dumps(value), strict=True
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{name}: {place + ': ' if place else ''}{message}") from error


@cache
def _adapter(kind: type[Record]) -> TypeAdapter[Record]:
    """What validates a kind of record; to make one costs as much as to read many records."""
    return TypeAdapter(kind)


def check_fields(fields: Mapping[str, Field]) -> None:
    """Raises UserError unless the names are plain and `time` is a scalar int64."""
    for name in fields:
        if not _FIELD_NAME.fullmatch(name):
            raise UserError(f"field {name!r}: a name has letters, digits and '_', 64 at most")
    if fields.get(TIME) != Field("int64"):
        raise UserError(
            f"fields: {TIME!r} is {fields.get(TIME)}; a corpus needs {TIME!r} as Field('int64'), "
            "milliseconds"
        )


def _to_json(record: Any) -> dict[str, Any]:
    # What is absent is left out: manifests without tokens are read by every raclib.
    adapter = _adapter(type(record))  # type: ignore[arg-type]  # a class can be hashed
    return adapter.dump_python(record, mode="json", exclude_none=True)


def _check_order(shards: tuple[ShardInfo, ...]) -> None:
    if len({shard.id for shard in shards}) < len(shards):
        raise UserError("shards: an id occurs twice; ids must differ")
    for earlier, later in pairwise(shards):
        if earlier.time_range[1] > later.time_range[0]:
            raise UserError(
                f"shards: {later.id} begins at time {later.time_range[0]}, before {earlier.id} "
                f"ends at {earlier.time_range[1]}; order shards by time"
            )


def _check_files(shard: ShardInfo, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Checks files by bytes of a row and rows of a block, which are reckoned once a field."""
    if shard.files.keys() != sizes.keys():
        raise UserError(
            f"shard {shard.id}: has files for {sorted(shard.files)}, the corpus has the fields "
            f"{sorted(sizes)}"
        )
    for name, info in shard.files.items():
        row_bytes, block_rows = sizes[name]
        smallest = shard.num_rows * row_bytes - (-shard.num_rows // block_rows) * 8
        if not smallest < info.num_bytes <= smallest + 2 * MAX_HEADER_BYTES:
            raise UserError(
                f"shard {shard.id}: field {name}: {info.num_bytes} bytes do not hold "
                f"{shard.num_rows} rows of {row_bytes} bytes"
            )


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
