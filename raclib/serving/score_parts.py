"""Parts of a table, read on this machine, scored by workers, written as they are done."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from tqdm import tqdm

from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import list_files, read_bytes
from raclib.ingest.files import TableFiles
from raclib.ingest.sort import cut
from raclib.run.cluster import quiet_ray_data, this_node
from raclib.serving.find_model import Model
from raclib.serving.open_predictor import make_predictor
from raclib.serving.predictor import Predictor
from raclib.serving.scored import answer_columns

PART, ROWS = "part", "rows"
SUFFIX = ".parquet"


@dataclass(frozen=True)
class Scoring:
    """What is scored, and how.

    Attributes:
        model: The model.
        version: That of its corpus.
        uri: Folder of the parts.
        schema: Of what is written.
        columns: What is read of the table.
        keep: Those of them that are written too.
        evidence: Rows of the corpus beside an answer.
        rows_per_part: Rows of a part; the last has fewer.
    """

    model: Model
    version: int
    uri: str
    schema: pa.Schema
    columns: tuple[str, ...]
    keep: tuple[str, ...]
    evidence: int
    rows_per_part: int

    def part(self, number: int) -> str:
        """Where a part is written."""
        return f"{self.uri}/parts/{number:08d}{SUFFIX}"

    def finished(self) -> set[int]:
        """Parts that are written."""
        names = list_files(f"{self.uri}/parts")
        return {int(name.removesuffix(SUFFIX)) for name in names if name.endswith(SUFFIX)}


def score_parts(scoring: Scoring, files: TableFiles, num_workers: int) -> int:
    """Scores the parts that are not finished; returns how many there are.

    Ray Data reads no further ahead than its object store allows.

    Args:
        scoring: What is scored.
        files: The table; read by this machine alone, from its beginning.
        num_workers: Processes that score.

    Raises:
        UserError: if a value does not fit, or the model cannot be opened.
    """
    finished = scoring.finished()
    done = scoring.rows_per_part * len(finished)
    # A record is a part, and a block: it is scored as soon as it is read.
    with (
        quiet_ray_data(max_block_bytes=1),
        tqdm(desc="scoring", unit=" rows", initial=done) as progress,
    ):
        parts = ray.data.from_items([{PART: -1}]).map_batches(
            partial(_read, scoring, files, finished),
            batch_size=1,
            num_cpus=0,
            label_selector=this_node(),
        )
        reports = parts.map_batches(
            Scorer,
            fn_constructor_args=(scoring,),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=num_workers),
        )
        for report in reports.iter_batches(batch_size=None, prefetch_batches=0):
            progress.update(int(report[ROWS].sum()))
    finished = scoring.finished()
    assert finished == set(range(len(finished))), "every part is written"
    return len(finished)


def _read(
    scoring: Scoring, files: TableFiles, finished: set[int], _: dict[str, np.ndarray]
) -> Iterator[pa.Table]:
    """Reads a table in a Ray task; yields a record for each part that is to be scored."""
    batches = map(pa.table, files.batches(scoring.columns))
    for part, pieces in groupby(cut(batches, scoring.rows_per_part), key=itemgetter(0)):
        rows = pa.concat_tables(piece for _, piece in pieces)
        if part not in finished:
            yield pa.table({PART: [part], ROWS: [_packed(rows)]})


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as out:
        out.write_table(rows)
    return sink.getvalue().to_pybytes()


class Scorer:
    """A Ray Data actor that scores parts and writes them."""

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring

    @cached_property
    def predictor(self) -> Predictor:
        """Opened with the first part, so that what is wrong is told as itself."""
        return make_predictor(self.scoring.model, self.scoring.version)

    def __call__(self, batch: pa.Table) -> dict[str, Any]:
        """Scores the part in the batch; returns its number of rows."""
        (part,), (packed,) = batch[PART].to_pylist(), batch[ROWS].to_pylist()
        rows = pa.ipc.open_stream(packed).read_all()
        first = part * self.scoring.rows_per_part
        with write_atomic(self.scoring.part(part)) as file:
            pq.write_table(self._score(rows, first), file)
        return {ROWS: np.array([len(rows)])}

    def _score(self, rows: pa.Table, first: int) -> pa.Table:
        """Scored rows, null where a time cannot be read."""
        usable = self.predictor.usable(rows)
        schema = self.scoring.schema
        answers = self.predictor.explain(rows.filter(pa.array(usable)), self.scoring.evidence)
        # The place of each row among those that were predicted.
        place = pa.array(np.where(usable, usable.cumsum() - 1, 0), mask=~usable)
        found = [column.take(place) for column in answer_columns(self.predictor, answers, schema)]
        own = [pa.array(np.arange(first, first + len(rows))), rows[self.predictor.time]]
        kept = [rows[name] for name in self.scoring.keep]
        return pa.table([*own, *kept, *found], schema=schema)


def join_parts(scoring: Scoring, num_parts: int, out: str) -> tuple[int, int]:
    """Writes all parts as one file, which appears when it is complete.

    Returns:
        Its rows, and how many of them were not predicted.
    """
    num_rows = num_null = 0
    answer = next(name for name in scoring.schema.names if name.startswith("probability_"))
    with write_atomic(out) as file, pq.ParquetWriter(file, scoring.schema) as writer:
        for number in range(num_parts):
            part = pq.read_table(pa.BufferReader(read_bytes(scoring.part(number))))
            writer.write_table(part)
            num_rows += len(part)
            num_null += part[answer].null_count
    return num_rows, num_null
