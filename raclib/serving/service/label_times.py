"""When a label that comes in was known."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclib.errors import UserError
from raclib.ingest.rows import RowReader
from raclib.ingest.timeline import Times
from raclib.ingest.times import is_number, to_milliseconds
from raclib.serving.service.columns import to_array

AHEAD_MS = 5_000
"""Clocks of two machines differ by no more."""
AT_ONCE = -(2**63)
"""Of a label that is known when its row happens."""


@dataclass(frozen=True)
class LabelTimes:
    """Times of the labels of a table: now, unless told otherwise.

    Where times are plain numbers there is no now: such a time must be given, if the table has any.

    Attributes:
        reader: Reads rows of the table.
    """

    reader: RowReader

    @property
    def column(self) -> pa.Field:
        """The column whose type they have: that of label times, else that of the rows'."""
        roles = self.reader.roles
        return self.reader.schema.field(roles.label_time or roles.time)

    @property
    def has_dates(self) -> bool:
        """Whether they are dates."""
        return not is_number(self.column.type)

    @property
    def is_optional(self) -> bool:
        """Whether one may be left out."""
        return self.has_dates or self.reader.roles.label_time is None

    def fill(self, rows: pa.Table) -> pa.Table:
        """Rows whose label times are now where they were left out.

        Raises:
            UserError: if one is before its row's own, or in the future.
        """
        name = self.reader.roles.label_time
        if name is not None and self.has_dates:
            filled = pc.coalesce(rows[name], _now().cast(rows[name].type)[0])
            rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), filled)
        times = Times.read(rows, self.reader.roles)
        if times.is_early.any():
            raise UserError(
                f"rows.{times.is_early.argmax()}.{name}: is before the row's own time; give the "
                "time at which the label was known"
            )
        # What cannot be read is said by who reads rows.
        self._refuse_future(np.where(times.reason == 0, times.known, 0), f"rows.{{}}.{name}")
        return rows

    def of(self, given: Any) -> tuple[int, pa.Array | None]:
        """The time of one label: ms since 1970, and as the table has it; None if it has none.

        Args:
            given: What the request says; None for now.

        Raises:
            UserError: if it cannot be read, or is in the future.
        """
        roles = self.reader.roles
        if given is None and not self.has_dates:
            return AT_ONCE, None
        one = _now() if given is None else to_array([given], self.column.type)
        one = one.cast(self.column.type) if given is None else one
        unit = None if self.has_dates else roles.time_unit
        (known,), (is_missing,) = to_milliseconds(one, unit, "label_time")
        if is_missing:
            raise UserError("label_time: cannot be read; give a date as ISO text")
        self._refuse_future(np.array([known]), "label_time")
        return int(known), one if roles.label_time is not None else None

    def _refuse_future(self, known: np.ndarray, name: str) -> None:
        if not self.has_dates:
            return
        ahead = np.flatnonzero(known > time.time() * 1000 + AHEAD_MS)
        if len(ahead):
            raise UserError(
                f"{name.format(ahead[0])}: is in the future; give the time at which the label was "
                "known"
            )


def _now() -> pa.Array:
    return pa.array([datetime.now(UTC).replace(tzinfo=None)], pa.timestamp("us"))
