"""Third stage of a corpus: keys of shards whose embeddings are written."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from raclib.corpus import Corpus, Field, FileInfo, ShardInfo, write_field
from raclib.corpus.files import read_bytes
from raclib.corpus.manifest import Manifest
from raclib.ingest.embed import embedded_fields, sample_uri
from raclib.ingest.keys import KeyTransform
from raclib.ingest.schema import RowSchema
from raclib.ingest.staging import EMBEDDED, Staging, shard_record

KEY_BATCH_ROWS = 8192


def read_sample(staging: Staging, num_shards: int) -> np.ndarray:
    """The embeddings `[N, D]` of `embed.sample_rows`, float16."""
    parts = [
        np.load(io.BytesIO(read_bytes(sample_uri(staging, shard))), allow_pickle=False)
        for shard in range(num_shards)
    ]
    return np.concatenate(parts)


@dataclass(frozen=True)
class KeyWriter:
    """A Ray Data task that writes the keys of a shard whose embeddings are written."""

    staging: Staging
    schema: RowSchema
    transform: KeyTransform

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Writes the keys of the shard in the batch; returns its number of rows."""
        shard = int(batch["shard"][0])
        record = self.staging.read(shard_record(EMBEDDED, shard))
        info = ShardInfo.from_json(record["shard"])
        fields = embedded_fields(self.schema, record["dim"])
        part = Corpus(self.staging.corpus_uri, Manifest(1, fields, (info,)))
        keys_Nd = np.empty((info.num_rows, self.transform.dim), np.float16)
        embeddings, times = part.column(info, "embedding"), part.read("time")
        for start in range(0, info.num_rows, KEY_BATCH_ROWS):
            stop = min(start + KEY_BATCH_ROWS, info.num_rows)
            keys_Nd[start:stop] = self.transform.transform(
                embeddings.read(start, stop), times[start:stop]
            )
        written = write_field(part.uri, info.id, "key", key_field(self.transform), keys_Nd)
        self.staging.write(shard_record(keyed_by(self.transform), shard), written.to_json())
        return {"rows": np.array([info.num_rows])}


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
    for number, record in staging.finished(EMBEDDED).items():
        info = ShardInfo.from_json(record["shard"])
        infos = {**info.files, "key": FileInfo.from_json(keyed[number])}
        shards.append(ShardInfo(info.id, info.num_rows, info.time_range, infos))
    return shards
