"""Rows that come after a corpus was made, read as its own were."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pyarrow as pa

from raclib.arrays import Arrays
from raclib.corpus import Corpus
from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import read_bytes
from raclib.errors import UserError
from raclib.ingest.base_scores import BASE, load_base, to_features
from raclib.ingest.features import FeatureEncoder
from raclib.ingest.key_shards import EVENT_TIME
from raclib.ingest.keys import KEY_FIT, KeyTransform
from raclib.ingest.labels import ClassIndex
from raclib.ingest.numbers import ROW_TIME
from raclib.ingest.timeline import REASONS, Roles, Times
from raclib.ingest.unify import conform, join, plain
from raclib.models.base import FittedBase

ROWS = "rows"
"""What rows are called in errors: they come from no file."""


@dataclass(frozen=True)
class RowReader:
    """Reads rows of a table as those of a corpus were.

    Attributes:
        schema: Columns of the table: times, label and those that are learned from.
        roles: Which of them hold times and label.
        classes: Names of the classes.
        features: Encodes the others.
        keys: Makes keys.
        key_base: The base classifier whose answers are part of keys; None where they are not.
    """

    schema: pa.Schema
    roles: Roles
    classes: ClassIndex
    features: FeatureEncoder
    keys: KeyTransform
    key_base: FittedBase | None

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """What read the rows of a corpus; raises UserError if part of it is missing or damaged."""
        keys = KeyTransform.of(corpus)
        base = load_base(corpus, corpus.provenance[KEY_FIT][BASE]) if keys.base_dim else None
        return cls(
            load_schema(corpus.uri),
            Roles(**corpus.provenance["roles"]),
            ClassIndex(tuple(corpus.provenance["table"]["classes"])),
            FeatureEncoder.load(corpus.uri),
            keys,
            base,
        )

    @property
    def inputs(self) -> list[str]:
        """Columns that a row to be predicted has: its time, and those that are learned from."""
        wanted = {self.roles.time, *self.features.roles}
        return [name for name in self.schema.names if name in wanted]

    @property
    def event_roles(self) -> Roles:
        """The same for rows whose label is not known: all but the time of the label."""
        return replace(self.roles, label_time=None)

    def conform(self, rows: pa.Table, columns: list[str]) -> pa.Table:
        """Some columns of rows, in types that hold what the table's own do.

        Raises:
            UserError: if one is missing, or a value does not fit.
        """
        for name in columns:
            if name not in rows.column_names:
                raise UserError(
                    f"{ROWS}: no column is called {name!r}; needed are {', '.join(columns)}"
                )
        given = rows.select(columns)
        fields = [self._field(field) for field in given.schema]
        arrays = [column.combine_chunks() for column in given.columns]
        batch = pa.RecordBatch.from_arrays(arrays, names=columns)
        return pa.table(conform(batch, pa.schema(fields), ROWS))

    def _field(self, given: pa.Field) -> pa.Field:
        """A column that holds what is given as well as what the table held."""
        kind, own = plain(given.type), self.schema.field(given.name).type
        joined = join(own, kind)
        if joined is None and not _is_convertible(own, kind):
            raise UserError(
                f"{ROWS}: column {given.name!r} is {kind}, in the table it was {own}; give it as "
                "that"
            )
        return pa.field(given.name, joined or own)

    def encode(self, rows: pa.Table) -> Arrays:
        """Features, `key` and `event_time` in ms of rows to be predicted, arrays `[N, ...]`.

        Args:
            rows: The columns `inputs`; others are not looked at.

        Raises:
            UserError: if a column is missing, a value does not fit, or a time cannot be read.
        """
        rows = self.conform(rows, self.inputs)
        event = self._event_times(rows)
        found = self.features.encode(rows.append_column(ROW_TIME, pa.array(event)))
        # As the corpus holds them, so that a stored row and a new one are treated alike.
        inputs = (
            found if self.key_base is None else {**found, BASE: self.score(found, self.key_base)}
        )
        keys = self.keys.transform(inputs, event).astype(np.float16)
        return {**found, "key": keys, EVENT_TIME: event}

    def score(self, rows: Arrays, base: FittedBase) -> np.ndarray:
        """What a corpus keeps of a base classifier's answers to encoded rows."""
        return base.compress(self.log_probs(rows, base))

    def log_probs(self, rows: Arrays, base: FittedBase) -> np.ndarray:
        """A base classifier's answers to encoded rows, float32 `[N, C]`."""
        some = next(iter(rows.values()))
        return base.log_probs(to_features(rows, self.features.num_codes, len(some)))

    def _event_times(self, rows: pa.Table) -> np.ndarray:
        times = Times.read(rows, self.event_roles)
        refuse(times.reason)
        return times.event


def refuse(reason: np.ndarray) -> None:
    """Raises UserError for the first row that has a reason of `timeline.REASONS`."""
    bad = np.flatnonzero(reason)
    if len(bad):
        what = REASONS[reason[bad[0]]]
        raise UserError(f"{ROWS}: row {bad[0]}: {what}; mend it, or leave it out")


def _is_convertible(own: pa.DataType, other: pa.DataType) -> bool:
    """Whether values of one type mean the same as another: times and numbers do not."""
    has_text = pa.types.is_string(own) or pa.types.is_string(other)
    return has_text or (pa.types.is_nested(own) and pa.types.is_nested(other))


def save_schema(uri: str, schema: pa.Schema) -> None:
    """Writes the columns of a table to `<uri>/table.arrow`, `uri` being its corpus."""
    with write_atomic(_file_uri(uri)) as file, pa.ipc.new_file(file, schema):
        pass


def load_schema(uri: str) -> pa.Schema:
    """Reads the columns of the table of a corpus; raises UserError if it cannot."""
    data = read_bytes(_file_uri(uri))
    try:
        return pa.ipc.open_file(data).schema
    except pa.ArrowException as error:
        raise UserError(f"{_file_uri(uri)}: damaged: {error}; remake the corpus") from error


def _file_uri(uri: str) -> str:
    return f"{uri}/table.arrow"
