"""What was read of a source, and what was skipped."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tally:
    """What was read so far.

    Attributes:
        num_lines: Rows, skipped ones included.
        skipped: Number of skipped rows by reason.
        remarks: What was odd about files that were read to their end nevertheless.
    """

    num_lines: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        """Rows that were not skipped."""
        return self.num_lines - self.skipped.total()

    def to_json(self) -> dict[str, Any]:
        """JSON value of the tally."""
        return {
            "num_lines": self.num_lines,
            "skipped": dict(self.skipped),
            "remarks": self.remarks,
        }
