"""Predictions of the rows of a table that have no label."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from raclib.corpus.atomic import write_atomic
from raclib.ingest.files import TableFiles
from raclib.ingest.labels import class_names
from raclib.ingest.rows import RowReader
from raclib.ingest.timeline import Times
from raclib.serving.scored import LINE, TIME, probability_columns
from raclib.serving.table_predictor import TablePredictor


def predict_unlabelled(predictor: TablePredictor, files: TableFiles, uri: str) -> tuple[int, int]:
    """Streams a table and predicts its rows without a label, into a Parquet file.

    Columns: `line` (int64, counts the rows of the table from 0), `time` as the table has it, and
    `probability_<class>` (float32) for each class. The file appears when it is complete.

    Args:
        predictor: The model.
        files: The table.
        uri: Where the file goes.

    Returns:
        How many rows were predicted, and how many not because their time cannot be read.

    Raises:
        UserError: if a column is missing or a value does not fit.
    """
    reader = predictor.reader
    names = probability_columns(predictor.classes)
    schema = pa.schema(
        [(LINE, pa.int64()), (TIME, files.schema().field(reader.roles.time).type)]
        + [(name, pa.float32()) for name in names]
    )
    num_rows = num_unread = 0
    with (
        write_atomic(uri) as file,
        pq.ParquetWriter(file, schema) as out,
        tqdm(desc="rows without a label", unit=" rows") as progress,
    ):
        for lines, rows, unread in _unlabelled(reader, files):
            num_unread += unread
            probabilities_NC = predictor(rows)
            found = [pa.array(lines), rows[reader.roles.time], *map(pa.array, probabilities_NC.T)]
            out.write_table(pa.table(found, schema=schema))
            num_rows += len(rows)
            progress.update(len(rows))
    return num_rows, num_unread


def _unlabelled(reader: RowReader, files: TableFiles) -> Iterator[tuple[np.ndarray, pa.Table, int]]:
    """Rows without a label whose time can be read, their lines, and how many have no such time."""
    start, roles = 0, reader.event_roles
    columns = dict.fromkeys((*reader.inputs, reader.roles.label))
    for batch in files.batches(list(columns)):
        has_none = class_names(batch[reader.roles.label]).is_null().to_numpy(zero_copy_only=False)
        readable = Times.read(batch, roles).reason == 0
        lines = np.flatnonzero(has_none & readable)
        if has_none.any():
            rows = pa.table(batch.take(pa.array(lines)))
            yield start + lines, rows, int((has_none & ~readable).sum())
        start += len(batch)
