"""Second stage of a corpus: embeddings, a shard at a time."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raclib.corpus import Field, ShardInfo, write_field
from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import resolve
from raclib.corpus.manifest import TIME
from raclib.errors import UserError
from raclib.ingest.config import EncoderConfig
from raclib.ingest.encoders import Encoder, build_encoder
from raclib.ingest.precomputed import PrecomputedEmbeddings
from raclib.ingest.schema import LINE, RowSchema
from raclib.ingest.sort import rows_uri
from raclib.ingest.staging import EMBEDDED, Layout, Staging, shard_record

MAX_SAMPLE_ROWS = 20_000
REPORT_EVERY_S = 1.0
Batch = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ShardEncoder:
    """Work for Ray Data: writes all fields of a shard but its keys.

    It also puts aside the embeddings of a sample of the rows before the cutoff, for the keys.

    Attributes:
        staging: Sorted rows.
        schema: What their columns are.
        layout: How many they are.
        config: The encoder.
        device: `cpu` or `cuda`.
    """

    staging: Staging
    schema: RowSchema
    layout: Layout
    config: EncoderConfig
    device: str

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """Encodes the shard in the batch; yields now and then how many rows are done since."""
        waiting, reported = 0, time.monotonic()
        for num_rows in self.encode_shard(int(batch["shard"][0])):
            waiting += num_rows
            if time.monotonic() - reported > REPORT_EVERY_S:
                yield {"rows": np.array([waiting])}
                waiting, reported = 0, time.monotonic()
        yield {"rows": np.array([waiting])}

    @cached_property
    def _encoder(self) -> Encoder | PrecomputedEmbeddings:
        if self.config.precomputed is not None:
            return PrecomputedEmbeddings(self.config.precomputed)
        return build_encoder(self.config, self.device)

    def _embed(self, part: pa.RecordBatch) -> np.ndarray:
        if isinstance(self._encoder, PrecomputedEmbeddings):
            return self._encoder.read(part[LINE].to_numpy())
        return self._encoder.encode({name: part[name].to_pylist() for name in self.schema.texts})

    def encode_shard(self, shard: int) -> Iterator[int]:
        """Encodes and writes a shard; yields the rows of each step."""
        fs, path = resolve(rows_uri(self.staging, self.schema, shard))
        # Embeddings wait in a file, not in memory: a shard of wide ones is large.
        with fs.open(path, "rb") as file, tempfile.TemporaryFile() as spool:
            rows = pq.ParquetFile(file)
            columns = [*self.schema.texts, LINE]
            for part in rows.iter_batches(4 * self.config.batch_size, columns=columns):
                rows_ND = self._embed(part)
                self._check(rows_ND)
                spool.write(rows_ND.astype(np.float16).data)
                yield len(rows_ND)
            spool.flush()
            shape = (self.layout.num_rows[shard], rows_ND.shape[1])
            embedding_ND = np.memmap(spool, np.float16, mode="r", shape=shape)
            narrow = rows.read([column for _, column in self.schema.fields.values()])
            self._write(shard, embedding_ND, narrow)

    def _check(self, rows_ND: np.ndarray) -> None:
        if not (np.abs(rows_ND) <= np.finfo(np.float16).max).all():
            name = self.config.precomputed or self.config.kind
            raise UserError(
                f"encoder: {name}: an embedding holds NaN or is beyond float16; mend it"
            )

    def _write(self, shard: int, embedding_ND: np.ndarray, narrow: pa.Table) -> None:
        start = sum(self.layout.num_rows[:shard])
        sample = sample_rows(self.layout.num_before) - start
        sample = sample[(sample >= 0) & (sample < len(embedding_ND))]
        with write_atomic(sample_uri(self.staging, shard)) as file:
            np.save(file, embedding_ND[sample], allow_pickle=False)
        columns = {
            name: narrow[column].to_numpy() for name, (_, column) in self.schema.fields.items()
        }
        arrays = {"embedding": embedding_ND, **columns}
        fields = embedded_fields(self.schema, embedding_ND.shape[1])
        shard_id = f"{shard:08d}"
        infos = {
            name: write_field(self.staging.corpus_uri, shard_id, name, fields[name], array)
            for name, array in arrays.items()
        }
        time_range = int(columns[TIME][0]), int(columns[TIME][-1])
        record = {
            "dim": embedding_ND.shape[1],
            "revision": self._encoder.revision,
            "shard": ShardInfo(shard_id, len(embedding_ND), time_range, infos).to_json(),
        }
        self.staging.write(shard_record(EMBEDDED, shard), record)


class ShardEncoderActor:
    """A Ray Data actor for encoders with weights: loads them once and frees them when it ends."""

    def __init__(self, work: ShardEncoder) -> None:
        self.work = work

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """See `ShardEncoder`."""
        return self.work(batch)


def embedded_fields(schema: RowSchema, dim: int) -> dict[str, Field]:
    """All fields but the key."""
    narrow = {name: field for name, (field, _) in schema.fields.items()}
    return {"embedding": Field("float16", (dim,)), **narrow}


def sample_rows(num_before: int) -> np.ndarray:
    """Sorted ids of the rows before the cutoff that keys are fitted on, at most MAX_SAMPLE_ROWS."""
    chosen = np.random.default_rng(0).permutation(num_before)[:MAX_SAMPLE_ROWS]
    return np.sort(chosen)


def sample_uri(staging: Staging, shard: int) -> str:
    """The file of a shard's part of that sample."""
    return f"{staging.uri}/samples/{shard:08d}.npy"
