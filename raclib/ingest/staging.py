"""What an unfinished corpus leaves beside itself, so that a killed run continues."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import exists, list_files, read_bytes, remove_folder
from raclib.errors import UserError
from raclib.ingest.identity import differs, is_files

ENCODED = "encoded"
"""The stage, shard by shard, that makes all fields but keys."""
READS_AT_ONCE = 16


class Staging:
    """The folder `<corpus>.staging`: sorted rows, and a JSON record of everything finished.

    A record is written after the files it vouches for.

    Args:
        corpus_uri: Folder or URI of the corpus to be.
    """

    def __init__(self, corpus_uri: str) -> None:
        self.corpus_uri, self.uri = corpus_uri, f"{corpus_uri}.staging"

    def rows_uri(self, shard: int) -> str:
        """The Parquet file of a shard's sorted rows."""
        return f"{self.uri}/rows/{shard:08d}.parquet"

    def resume(self, claim: Mapping[str, Any]) -> "Layout | None":
        """The sorted rows of an earlier run with the same claim, or None to begin anew.

        Raises:
            UserError: if rows encoded for another claim are here.
        """
        found = self.read("claim") or {}
        differing = [
            name for name, wanted in _as_json(claim).items() if differs(found.get(name), wanted)
        ]
        if not found or (differing and not self.numbers(ENCODED)):
            self.remove()
            return None
        for name in differing:
            if is_files(found.get(name)) and is_files(claim[name]):
                raise UserError(
                    f"{self.uri}: {name} changed since this unfinished corpus was begun; remove "
                    "that folder, or give another --name or --corpus"
                )
            raise UserError(
                f"{self.uri}: an unfinished corpus made with {name} = {found.get(name)}, this run "
                f"needs {claim[name]}; finish it as it was begun, remove that folder, or give "
                "another --name or --corpus"
            )
        return Layout(**self.read("layout"))

    def begin(self, claim: Mapping[str, Any], layout: "Layout") -> None:
        """Marks the sorted rows as complete."""
        self.write("layout", asdict(layout))
        self.write("claim", claim)

    def read(self, record: str) -> Any:
        """A record, or None if it is not written.

        Raises:
            UserError: if it cannot be read.
        """
        return self._load(record) if exists(f"{self.uri}/{record}.json") else None

    def _load(self, record: str) -> Any:
        uri = f"{self.uri}/{record}.json"
        try:
            return json.loads(read_bytes(uri))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{uri}: not whole, as a full disk or a crash leaves it; remove {self.uri} to make "
                "the corpus anew"
            ) from error

    def write(self, record: str, value: Any) -> None:
        """Writes a record, whole or not at all."""
        with write_atomic(f"{self.uri}/{record}.json") as file:
            file.write(json.dumps(value).encode())

    def finished(self, stage: str) -> dict[int, Any]:
        """The records of a stage's finished shards, by shard."""
        shards = self.numbers(stage)
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            found = pool.map(lambda shard: self._load(shard_record(stage, shard)), shards)
            return dict(zip(shards, found, strict=True))

    def numbers(self, stage: str) -> list[int]:
        """The shards that a stage has finished, rising."""
        names = [name for name in list_files(self.uri) if name.startswith(f"{stage}-")]
        return sorted(int(name.removeprefix(f"{stage}-").removesuffix(".json")) for name in names)

    def remove(self) -> None:
        """Removes the folder, if it is there."""
        remove_folder(self.uri)


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def shard_record(stage: str, shard: int) -> str:
    """Name of the record of a shard that a stage finished."""
    return f"{stage}-{shard:08d}"


@dataclass(frozen=True)
class Layout:
    """What sorting found.

    Attributes:
        num_lines: Lines read, malformed ones included.
        skipped: Number of malformed lines by reason.
        num_rows: Rows of each shard.
        num_before: Rows before the cutoff.
        first: Time of the first row, ms since 1970.
        remarks: What was odd about files that were read to their end nevertheless.
    """

    num_lines: int
    skipped: dict[str, int]
    num_rows: list[int]
    num_before: int
    first: int
    remarks: list[str] = field(default_factory=list)
