"""Third stage of a corpus: keys of shards whose other fields are written."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from raclib.arrays import Arrays
from raclib.corpus import Corpus, Field, FileInfo, ShardInfo, write_field
from raclib.corpus.files import read_bytes
from raclib.corpus.manifest import TIME, Manifest
from raclib.ingest.encode import KEY_FIELDS, encoded_fields, sample_uri
from raclib.ingest.keys import KeyTransform
from raclib.ingest.staging import ENCODED, Staging, shard_record

KEY_BATCH_ROWS = 8192
EVENT_TIME = "event_time"
"""The field with the time of the row itself, where `time` is that of its label."""


def read_sample(staging: Staging, num_shards: int) -> Arrays:
    """All fields of `encode.sample_rows`, labels among them."""
    parts = [
        np.load(io.BytesIO(read_bytes(sample_uri(staging, shard))), allow_pickle=False)
        for shard in range(num_shards)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0].files}


@dataclass(frozen=True)
class KeyWriter:
    """A Ray Data task that writes the keys of a shard whose other fields are written."""

    staging: Staging
    transform: KeyTransform

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Writes the keys of the shard in the batch; returns its number of rows."""
        shard = int(batch["shard"][0])
        record = self.staging.read(shard_record(ENCODED, shard))
        info, fields = ShardInfo.from_json(record["shard"]), encoded_fields(record)
        part = Corpus(self.staging.corpus_uri, Manifest(1, fields, (info,)))
        columns = {name: part.column(info, name) for name in key_inputs(part)}
        keys_Nd = make_keys(
            self.transform,
            info.num_rows,
            lambda lo, hi: {name: column.read(lo, hi) for name, column in columns.items()},
        )
        written = write_field(part.uri, info.id, "key", key_field(self.transform), keys_Nd)
        self.staging.write(shard_record(keyed_by(self.transform), shard), written.to_json())
        return {"rows": np.array([info.num_rows])}


def key_inputs(corpus: Corpus) -> tuple[str, ...]:
    """Fields of a corpus that keys are made of."""
    time = EVENT_TIME if EVENT_TIME in corpus.fields else TIME
    return (*(name for name in KEY_FIELDS if name in corpus.fields), time)


def make_keys(
    transform: KeyTransform, num_rows: int, read: Callable[[int, int], Arrays]
) -> np.ndarray:
    """Keys of consecutive rows, float16 `[N, dim]`, some at a time.

    Args:
        transform: What makes them.
        num_rows: N.
        read: Gives `key_inputs` of rows `[lo, hi)`.
    """
    keys_Nd = np.empty((num_rows, transform.dim), np.float16)
    for lo in range(0, num_rows, KEY_BATCH_ROWS):
        rows = read(lo, min(lo + KEY_BATCH_ROWS, num_rows))
        time = rows[EVENT_TIME if EVENT_TIME in rows else TIME]
        keys_Nd[lo : lo + len(time)] = transform.transform(rows, time)
    return keys_Nd


def keyed_by(transform: KeyTransform) -> str:
    """The stage, shard by shard, that makes these keys; other keys are another stage."""
    return f"keyed-{transform.checksum}"


def key_field(transform: KeyTransform) -> Field:
    """Type of the keys."""
    return Field("float16", (transform.dim,))


def finished_shards(staging: Staging, transform: KeyTransform) -> list[ShardInfo]:
    """All shards, once both stages are done."""
    keyed = staging.finished(keyed_by(transform))
    shards = []
    for number, record in staging.finished(ENCODED).items():
        info = ShardInfo.from_json(record["shard"])
        infos = {**info.files, "key": FileInfo.from_json(keyed[number])}
        shards.append(ShardInfo(info.id, info.num_rows, info.time_range, infos))
    return shards
