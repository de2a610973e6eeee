"""Any table as a source of rows, and what encodes them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from raclib.arrays import Arrays
from raclib.corpus import Field
from raclib.errors import UserError
from raclib.ingest.embedding import LINE
from raclib.ingest.features import FeatureEncoder
from raclib.ingest.files import TableFiles
from raclib.ingest.labels import ClassIndex, class_names
from raclib.ingest.numbers import ROW_TIME
from raclib.ingest.survey import ColumnSurvey, survey
from raclib.ingest.tally import Tally
from raclib.ingest.timeline import (
    NO_LABEL,
    REASONS,
    Roles,
    Timeline,
    TimelineReader,
    Times,
    count_reasons,
    why_skipped,
)

KNOWN, LABEL = "_known", "_label"
NARROW = {"label": Field("int16"), "event_time": Field("int64")}
"""What a corpus of a table holds beside its features and `time`, the label's own."""
OWN = {KNOWN: pa.int64(), ROW_TIME: pa.int64(), LABEL: pa.int16(), LINE: pa.int64()}
SURVEY_ROWS = 65_536


@dataclass(frozen=True)
class TableSource:
    """The labelled rows of a table: an `ingest.schema.Source`. Picklable.

    Attributes:
        files: Where the rows are.
        roles: Which columns hold times and label.
        columns: Columns that are read beside these.
        classes: Names of the classes.
        strict: Stop at a row whose times cannot be read instead of counting it.
    """

    files: TableFiles
    roles: Roles
    columns: tuple[str, ...]
    classes: ClassIndex
    strict: bool

    @property
    def schema(self) -> pa.Schema:
        """What is kept of a row: its times, label and line, and the columns."""
        given = self.files.schema()
        return pa.schema([*OWN.items(), *(given.field(name) for name in self.columns)])

    def batches(self, tally: Tally) -> Iterator[pa.Table]:
        """Rows that can be retrieved; counts those that cannot."""
        schema, wanted = self.schema, dict.fromkeys((*self.roles.reserved, *self.columns))
        for batch in self.files.batches(list(wanted)):
            times, labels = Times.read(batch, self.roles), class_names(batch[self.roles.label])
            reason = why_skipped(times, labels)
            if self.strict:
                _refuse(reason, tally.num_lines)
            own = {
                KNOWN: times.known,
                ROW_TIME: times.event,
                LABEL: self.classes.number(labels),
                LINE: tally.num_lines + np.arange(len(batch)),
            }
            tally.num_lines += len(batch)
            tally.skipped.update(count_reasons(reason))
            columns = {name: batch[name] for name in self.columns}
            yield pa.table({**own, **columns}, schema=schema).filter(reason == 0)


def look(files: TableFiles, roles: Roles) -> tuple[dict[str, ColumnSurvey], Timeline]:
    """Reads a table once: what each column holds, and all times and labels.

    Raises:
        UserError: if it cannot be read, or a column is missing or cannot be what it is said to be.
    """
    schema = files.schema()
    roles.check(schema)
    taken = sorted(OWN.keys() & set(schema.names))
    if taken:
        raise UserError(f"data: a column is called {taken[0]!r}, which is used here; rename it")
    timeline = TimelineReader(roles)
    with tqdm(desc="looking at columns", unit=" rows") as progress:

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in files.batches(batch_rows=SURVEY_ROWS):
                yield batch
                timeline.add(batch)
                progress.update(len(batch))

        surveys = survey(batches(), schema)
    return surveys, timeline.finish()


def _refuse(reason: np.ndarray, first: int) -> None:
    """Raises UserError for a row that has a label and cannot be read."""
    bad = np.flatnonzero((reason != 0) & (reason != NO_LABEL))
    if len(bad):
        what = REASONS[reason[bad[0]]]
        raise UserError(f"row {first + bad[0]}: {what}; mend it, or leave out --strict")


@dataclass(frozen=True)
class TableEncoder:
    """What encodes the rows of a table: an `ingest.schema.RowEncoder`."""

    features: FeatureEncoder
    batch_rows: int

    @property
    def columns(self) -> list[str]:
        """All that is kept of a row but the time by which it is sorted."""
        return [ROW_TIME, LABEL, LINE, *self.features.roles]

    @property
    def has_weights(self) -> bool:
        """Whether a network embeds texts."""
        return bool(self.features.of("text")) and self.features.text.has_weights

    @property
    def is_local(self) -> bool:
        """Whether embeddings of texts were made before."""
        return self.features.text.config.precomputed is not None

    @property
    def revision(self) -> str:
        """Version of what embeds texts."""
        return self.features.text.load().revision if self.features.of("text") else "none"

    @property
    def fields(self) -> dict[str, Field]:
        """Features, label and the time of the row itself."""
        return {**self.features.fields, **NARROW}

    def encode(self, rows: pa.Table, device: str) -> Arrays:
        """The fields of rows."""
        narrow = {"label": rows[LABEL].to_numpy(), "event_time": rows[ROW_TIME].to_numpy()}
        return {**self.features.encode(rows, device), **narrow}
