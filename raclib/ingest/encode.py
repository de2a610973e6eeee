"""Second stage of a corpus: sorted rows as arrays, a shard at a time."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raclib.arrays import Arrays
from raclib.corpus import Field, ShardInfo, write_field
from raclib.corpus.atomic import write_atomic
from raclib.corpus.manifest import TIME
from raclib.corpus.stream import open_stream
from raclib.ingest.schema import RowEncoder
from raclib.ingest.staging import ENCODED, Layout, Staging, shard_record
from raclib.sampling import draw_rows

MAX_SAMPLE_ROWS = 20_000
KEY_FIELDS = ("numbers", "categories", "entities", "embedding")
"""Fields that keys are made of, those there are."""
REPORT_EVERY_S = 1.0
Batch = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ShardEncoder:
    """Work for Ray Data: writes all fields of a shard but its keys.

    It also puts aside a sample of the rows before the cutoff, for the keys.

    Attributes:
        staging: Sorted rows.
        layout: What they are.
        sample: The rows that are put aside; see `sample_rows`.
        encoder: What encodes them.
        time: The column that they are sorted by.
        device: `cpu` or `cuda`.
    """

    staging: Staging
    layout: Layout
    sample: np.ndarray
    encoder: RowEncoder
    time: str
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

    def encode_shard(self, shard: int) -> Iterator[int]:
        """Encodes and writes a shard; yields the rows of each step."""
        uri = self.staging.rows_uri(shard)
        columns = [*self.encoder.columns, self.time]
        # Arrays wait in files, not in memory: a shard of wide ones is large.
        with open_stream(uri) as file, ExitStack() as stack:
            spools: dict[str, IO[bytes]] = {}
            rows = pq.ParquetFile(file)
            for part in rows.iter_batches(self.encoder.batch_rows, columns=columns):
                for name, array in self._encode(pa.table(part)).items():
                    if name not in spools:
                        spools[name] = stack.enter_context(tempfile.TemporaryFile())
                    spools[name].write(np.ascontiguousarray(array).data.cast("B"))
                yield len(part)
            self._write(shard, spools)

    def _encode(self, rows: pa.Table) -> Arrays:
        found = self.encoder.encode(rows, self.device)
        return {**found, TIME: rows[self.time].to_numpy()}

    def _write(self, shard: int, spools: dict[str, IO[bytes]]) -> None:
        fields = {**self.encoder.fields, TIME: Field("int64")}
        num_rows, shard_id = self.layout.num_rows[shard], f"{shard:08d}"
        arrays = {name: _map(spools[name], field, num_rows) for name, field in fields.items()}
        self._put_sample_aside(shard, arrays)
        infos = {
            name: write_field(self.staging.corpus_uri, shard_id, name, fields[name], array)
            for name, array in arrays.items()
        }
        time_range = int(arrays[TIME][0]), int(arrays[TIME][-1])
        record = {
            "fields": {name: asdict(field) for name, field in fields.items()},
            "revision": self.encoder.revision,
            "shard": ShardInfo(shard_id, num_rows, time_range, infos).to_json(),
        }
        self.staging.write(shard_record(ENCODED, shard), record)

    def _put_sample_aside(self, shard: int, arrays: Arrays) -> None:
        start = sum(self.layout.num_rows[:shard])
        bounds = np.searchsorted(self.sample, [start, start + self.layout.num_rows[shard]])
        sample = self.sample[slice(*bounds.tolist())] - start
        with write_atomic(sample_uri(self.staging, shard)) as file:
            np.savez(file, **{name: array[sample] for name, array in arrays.items()})


class ShardEncoderActor:
    """A Ray Data actor for encoders with weights: loads them once and frees them when it ends."""

    def __init__(self, work: ShardEncoder) -> None:
        self.work = work

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """See `ShardEncoder`."""
        return self.work(batch)


def encoded_fields(record: Mapping[str, Any]) -> dict[str, Field]:
    """All fields but the key, of the record of an encoded shard."""
    fields = record["fields"].items()
    return {name: Field(value["dtype"], tuple(value["shape"])) for name, value in fields}


def sample_rows(num_before: int) -> np.ndarray:
    """Sorted ids of the rows before the cutoff that is fitted on, at most MAX_SAMPLE_ROWS."""
    return np.sort(draw_rows(np.random.default_rng(0), num_before, MAX_SAMPLE_ROWS))


def sample_uri(staging: Staging, shard: int) -> str:
    """The file of a shard's part of that sample."""
    return f"{staging.uri}/samples/{shard:08d}.npz"


def _map(spool: IO[bytes], field: Field, num_rows: int) -> np.ndarray:
    spool.flush()
    return np.memmap(spool, field.dtype, mode="r", shape=(num_rows, *field.shape))
