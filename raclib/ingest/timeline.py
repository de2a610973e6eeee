"""When rows happened, when their labels were known, and what the labels are."""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclib.errors import UserError
from raclib.ingest.labels import ClassIndex, LabelCounts, class_names
from raclib.ingest.times import is_number, to_milliseconds
from raclib.sampling import PIECE_ROWS

REASONS = ("", "time that cannot be read", "label_time that cannot be read", "no label")
"""Why a row cannot be retrieved, by number; 0 is none."""
NO_TIME, NO_LABEL_TIME, NO_LABEL = 1, 2, 3
SPOOLED = "int64", "int64", "int16"
"""Types of what a timeline keeps of a row: `event`, `known`, `label`."""


@dataclass(frozen=True)
class Roles:
    """The columns of a table that are no input.

    Attributes:
        time: When the row happened; decides what it may see.
        label: What is predicted.
        label_time: When the label was known; None where it was known at once.
        time_unit: Unit of times that are plain numbers.
    """

    time: str
    label: str
    label_time: str | None = None
    time_unit: str | None = None

    def check(self, schema: pa.Schema) -> None:
        """Raises UserError unless the table has these columns, each for one purpose."""
        named = {"time": self.time, "label": self.label, "label_time": self.label_time}
        for role, name in named.items():
            if name is not None and name not in schema.names:
                raise UserError(
                    f"{role}: no column is called {name!r}; there are {', '.join(schema.names)}"
                )
        if self.label in (self.time, self.label_time):
            raise UserError(f"label: {self.label!r} is a time too; name the column to predict")

    @property
    def has_dates(self) -> bool:
        """Whether times are moments; else they order the rows."""
        return self.time_unit != "row"

    @property
    def reserved(self) -> dict[str, str]:
        """What each of these columns is."""
        found = {self.time: "the time", self.label: "the label"}
        if self.label_time is not None and self.label_time != self.time:
            found[self.label_time] = "the time of the label"
        return found


@dataclass(frozen=True)
class Times:
    """Times of some rows, ms since 1970, int64 `[N]`.

    A label that was known before its row happened counts as known when it happened: a row may
    never see itself.

    Attributes:
        event: When rows happened.
        known: When labels were known, never before `event`.
        reason: Place in `REASONS` of why a row's times cannot be read, int8.
        is_early: Where the label's own time was before the row's.
    """

    event: np.ndarray
    known: np.ndarray
    reason: np.ndarray
    is_early: np.ndarray

    @classmethod
    def read(cls, rows: pa.RecordBatch | pa.Table, roles: Roles) -> "Times":
        """Reads the times of rows."""
        event, no_event = _to_ms(rows, roles.time, roles.time_unit)
        known, no_known = event, no_event
        if roles.label_time is not None:
            known, no_known = _to_ms(rows, roles.label_time, roles.time_unit)
        reason = np.where(no_event, NO_TIME, NO_LABEL_TIME * no_known).astype(np.int8)
        is_early = (known < event) & ~no_event & ~no_known
        return cls(event, np.maximum(event, known), reason, is_early)


@dataclass
class Timeline:
    """All times and labels of a table: mapped files, 18 bytes a row, none of them in memory.

    Attributes:
        event: When rows happened, ms since 1970, of those that can be retrieved.
        known: When their labels were known.
        label: Numbers of the classes, int16.
        classes: Their names.
        skipped: Rows that cannot be retrieved, by reason; those without a label can be predicted.
        num_early: Labels known before the row happened; they count as known when it happened.
    """

    event: np.ndarray
    known: np.ndarray
    label: np.ndarray
    classes: ClassIndex
    skipped: dict[str, int]
    num_early: int

    @property
    def num_unlabelled(self) -> int:
        """Rows without a label."""
        return self.skipped.get(REASONS[NO_LABEL], 0)

    def cutoff(self, value: str) -> int:
        """The cutoff in ms: a date, or such that about this share of the rows is from then on.

        Raises:
            UserError: if it is neither, or of fewer than two classes a label was known before it,
                or no row is from then on.
        """
        found = parse_cutoff(value, self.event)
        num_known = len(np.unique(self.label[self.known < found]))
        if num_known < 2:
            raise UserError(
                f"cutoff: {value}: before it labels of {num_known} class{'es' * (num_known != 1)} "
                "were known, models need two; give a later one"
            )
        if not (self.event >= found).any():
            raise UserError(f"cutoff: {value}: no row is from then on; give an earlier one")
        return found


@dataclass
class TimelineReader:
    """Gathers a timeline, batch by batch.

    Attributes:
        roles: Which columns hold what.
    """

    roles: Roles
    counts: LabelCounts = field(default_factory=LabelCounts)
    skipped: Counter[str] = field(default_factory=Counter)
    num_early: int = 0
    spools: tuple[IO[bytes], ...] = field(default_factory=lambda: _spool())
    num_rows: int = 0

    def add(self, rows: pa.RecordBatch) -> None:
        """Looks at some more rows."""
        times, names = Times.read(rows, self.roles), class_names(rows[self.roles.label])
        self.counts.add(names)
        reason = why_skipped(times, names)
        keep = reason == 0
        self.skipped.update(count_reasons(reason))
        self.num_early += int(times.is_early[keep].sum())
        found = times.event[keep], times.known[keep], self._codes(names)[keep]
        for spool, values in zip(self.spools, found, strict=True):
            spool.write(values.tobytes())
        self.num_rows += len(found[0])

    def finish(self) -> Timeline:
        """The timeline of all that was seen; raises UserError if there are too few classes."""
        classes = ClassIndex.of(self.counts)
        if not self.num_rows:
            reasons = ", ".join(f"{name} ({count})" for name, count in self.skipped.items())
            raise UserError(f"data: no row can be used: {reasons}")
        event, known, label = (
            _map(spool, dtype) for spool, dtype in zip(self.spools, SPOOLED, strict=True)
        )
        seen = list(self.counts.counts)
        order = np.array([classes.names.index(name) for name in seen], np.int16)
        for lo in range(0, self.num_rows, PIECE_ROWS):
            label[lo : lo + PIECE_ROWS] = order[label[lo : lo + PIECE_ROWS]]
        return Timeline(event, known, label, classes, dict(self.skipped), self.num_early)

    def _codes(self, names: pa.Array) -> np.ndarray:
        """Places of the names among those counted so far; -1 for none."""
        seen = pa.array(list(self.counts.counts), pa.string())
        places = pc.index_in(names, seen, skip_nulls=True)
        return places.fill_null(-1).to_numpy().astype(np.int16)


def _spool() -> tuple[IO[bytes], ...]:
    """Unnamed files that vanish with what reads them."""
    return tuple(tempfile.TemporaryFile() for _ in SPOOLED)


def _map(spool: IO[bytes], dtype: str) -> np.ndarray:
    with spool:
        spool.flush()
        return np.memmap(spool, dtype, mode="r+")


def why_skipped(times: Times, names: pa.Array) -> np.ndarray:
    """Place in `REASONS` of why each row cannot be retrieved, int8 `[N]`; 0 for those that can."""
    no_label = names.is_null().to_numpy(zero_copy_only=False)
    return np.where(no_label, np.int8(NO_LABEL), times.reason)


def count_reasons(reason: np.ndarray) -> Counter[str]:
    """How many rows are skipped, by reason."""
    counts = np.bincount(reason, minlength=len(REASONS)).tolist()
    return Counter({name: num for name, num in zip(REASONS, counts, strict=True) if name and num})


def parse_cutoff(value: str, event: np.ndarray) -> int:
    """See `Timeline.cutoff`."""
    try:
        share = float(value)
    except ValueError:
        return _parse_date(value)
    if not 0 < share < 1:
        raise UserError(
            f"cutoff: {value}; give a date, such as 2021-06-01, or a share of the rows between 0 "
            "and 1 that comes after it"
        )
    place = min(len(event) - 1, round(len(event) * (1 - share)))
    return int(np.partition(event, place)[place])


def _parse_date(value: str) -> int:
    (time,), (is_missing,) = to_milliseconds(pa.array([value], pa.string()))
    if is_missing:
        raise UserError(
            f"cutoff: {value!r} is not a date; write it as 2021-06-01, or give a share of the "
            "rows, such as 0.4"
        )
    return int(time)


def _to_ms(
    rows: pa.RecordBatch | pa.Table, name: str, time_unit: str | None
) -> tuple[np.ndarray, np.ndarray]:
    # A table may have one time as a number, another as a date.
    unit = time_unit if is_number(rows[name].type) else None
    return to_milliseconds(rows[name], unit, name)
