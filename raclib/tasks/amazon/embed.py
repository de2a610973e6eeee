"""Second stage of a corpus: embeddings and keys, a shard at a time."""

import io
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raclib.config import EncoderConfig
from raclib.corpus import Corpus, Field, FileInfo, ShardInfo, write_field
from raclib.corpus.files import read_bytes, resolve, write_atomic
from raclib.corpus.manifest import Manifest
from raclib.errors import UserError
from raclib.tasks.amazon.encoders import Encoder, PrecomputedEmbeddings, build_encoder
from raclib.tasks.amazon.keys import KeyTransform
from raclib.tasks.amazon.sort import reviews_uri
from raclib.tasks.amazon.staging import Layout, Staging, shard_record

# Field of the corpus -> its type and the column of the reviews it comes from.
NARROW_FIELDS = {
    "rating": (Field("float32"), "rating"),
    "helpful_vote": (Field("float32"), "helpful_vote"),
    "verified_purchase": (Field("int8"), "verified_purchase"),
    "time": (Field("int64"), "timestamp"),
}
EMBEDDED, KEYED = "embedded", "keyed"
MAX_SAMPLE_ROWS = 20_000
REPORT_EVERY_S = 1.0
KEY_BATCH_ROWS = 8192
Batch = Mapping[str, np.ndarray]


class ShardEncoder:
    """A Ray Data actor that writes all fields of a shard but its keys.

    It also puts aside the embeddings of a sample of the rows before the cutoff, for the keys.

    Args:
        staging: Sorted reviews.
        layout: What they are.
        config: The encoder.
        device: `cpu` or `cuda`.
    """

    def __init__(
        self, staging: Staging, layout: Layout, config: EncoderConfig, device: str
    ) -> None:
        self.staging, self.config = staging, config
        self.starts = np.cumsum([0, *layout.num_rows])
        self.sample = sample_rows(layout.num_before)
        self.encoder: Encoder | None = None
        self.precomputed: PrecomputedEmbeddings | None = None
        if config.precomputed is not None:
            self.precomputed = PrecomputedEmbeddings(config.precomputed)
        else:
            self.encoder = build_encoder(config, device)

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """Encodes the shard in the batch; yields now and then how many rows are done since."""
        shard, waiting, reported = int(batch["shard"][0]), 0, time.monotonic()
        for num_rows in self.encode_shard(shard):
            waiting += num_rows
            if time.monotonic() - reported > REPORT_EVERY_S:
                yield {"rows": np.array([waiting])}
                waiting, reported = 0, time.monotonic()
        yield {"rows": np.array([waiting])}

    def encode_shard(self, shard: int) -> Iterator[int]:
        """Encodes and writes a shard; yields the rows of each step."""
        start, stop = self.starts[shard : shard + 2]
        fs, path = resolve(reviews_uri(self.staging, shard))
        with fs.open(path, "rb") as file, tempfile.TemporaryFile() as spool:
            reviews = pq.ParquetFile(file)
            row, embedding_ND = 0, None
            columns = ["title", "text", "line"]
            for part in reviews.iter_batches(4 * self.config.batch_size, columns=columns):
                rows_ND = self._embed(part)
                if embedding_ND is None:
                    # In a file, not in memory: a shard of wide embeddings is large.
                    shape = (stop - start, rows_ND.shape[1])
                    embedding_ND = np.memmap(spool, np.float16, shape=shape)
                embedding_ND[row : row + len(rows_ND)] = rows_ND
                row += len(rows_ND)
                yield len(rows_ND)
            assert embedding_ND is not None
            narrow = reviews.read([column for _, column in NARROW_FIELDS.values()])
            self._write(shard, embedding_ND, narrow)

    def _embed(self, part: pa.RecordBatch) -> np.ndarray:
        if self.precomputed:
            rows_ND = self.precomputed.read(part["line"].to_numpy())
        else:
            assert self.encoder
            rows_ND = self.encoder.encode(part["title"].to_pylist(), part["text"].to_pylist())
        if not (np.abs(rows_ND) <= np.finfo(np.float16).max).all():
            name = self.config.precomputed or self.config.kind
            raise UserError(
                f"encoder: {name}: an embedding holds NaN or is beyond float16; mend it"
            )
        return rows_ND

    def _write(self, shard: int, embedding_ND: np.ndarray, narrow: pa.Table) -> None:
        start, stop = self.starts[shard : shard + 2]
        sampled = self.sample[(self.sample >= start) & (self.sample < stop)] - start
        with write_atomic(_sample_uri(self.staging, shard)) as file:
            np.save(file, embedding_ND[sampled], allow_pickle=False)
        columns = {name: narrow[column].to_numpy() for name, (_, column) in NARROW_FIELDS.items()}
        arrays = {"embedding": embedding_ND, **columns}
        fields = embedded_fields(embedding_ND.shape[1])
        shard_id = f"{shard:08d}"
        infos = {
            name: write_field(self.staging.corpus_uri, shard_id, name, fields[name], array)
            for name, array in arrays.items()
        }
        time_range = int(columns["time"][0]), int(columns["time"][-1])
        record = {
            "dim": embedding_ND.shape[1],
            "revision": self.encoder.revision if self.encoder else "precomputed",
            "shard": ShardInfo(shard_id, len(embedding_ND), time_range, infos).to_json(),
        }
        self.staging.write(shard_record(EMBEDDED, shard), record)


def embedded_fields(dim: int) -> dict[str, Field]:
    """All fields but the key."""
    narrow = {name: field for name, (field, _) in NARROW_FIELDS.items()}
    return {"embedding": Field("float16", (dim,)), **narrow}


def sample_rows(num_before: int) -> np.ndarray:
    """Sorted ids of the rows before the cutoff that keys are fitted on, at most MAX_SAMPLE_ROWS."""
    chosen = np.random.default_rng(0).permutation(num_before)[:MAX_SAMPLE_ROWS]
    return np.sort(chosen)


def read_sample(staging: Staging, num_shards: int) -> np.ndarray:
    """The embeddings `[N, D]` of those rows."""
    parts = [
        np.load(io.BytesIO(read_bytes(_sample_uri(staging, shard))), allow_pickle=False)
        for shard in range(num_shards)
    ]
    return np.concatenate(parts)


@dataclass(frozen=True)
class KeyWriter:
    """A Ray Data task that writes the keys of a shard whose embeddings are written."""

    staging: Staging
    transform: KeyTransform

    def __call__(self, batch: Batch) -> Batch:
        """Writes the keys of the shard in the batch; returns its number of rows."""
        shard = int(batch["shard"][0])
        record = self.staging.read(shard_record(EMBEDDED, shard))
        info = ShardInfo.from_json(record["shard"])
        part = Corpus(self.staging.corpus_uri, Manifest(1, embedded_fields(record["dim"]), (info,)))
        keys_Nd = np.empty((info.num_rows, self.transform.dim), np.float16)
        embeddings, times = part.column(info, "embedding"), part.read("time")
        for start in range(0, info.num_rows, KEY_BATCH_ROWS):
            stop = min(start + KEY_BATCH_ROWS, info.num_rows)
            keys_Nd[start:stop] = self.transform.transform(
                embeddings.read(start, stop), times[start:stop]
            )
        written = write_field(part.uri, info.id, "key", key_field(self.transform), keys_Nd)
        self.staging.write(shard_record(KEYED, shard), written.to_json())
        return {"rows": np.array([info.num_rows])}


def key_field(transform: KeyTransform) -> Field:
    """Type of the keys."""
    return Field("float16", (transform.dim,))


def finished_shards(staging: Staging) -> list[ShardInfo]:
    """All shards, once both stages are done."""
    keyed: dict[int, Any] = staging.finished(KEYED)
    shards = []
    for number, record in staging.finished(EMBEDDED).items():
        info = ShardInfo.from_json(record["shard"])
        infos = {**info.files, "key": FileInfo.from_json(keyed[number])}
        shards.append(ShardInfo(info.id, info.num_rows, info.time_range, infos))
    return shards


def _sample_uri(staging: Staging, shard: int) -> str:
    return f"{staging.uri}/samples/{shard:08d}.npy"
