"""What a task says of its rows, so that a corpus can be made of them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from raclib.corpus import Field
from raclib.corpus.manifest import TIME

LINE = "line"
"""Column that counts all lines of a source from 0, malformed ones included."""


@dataclass(frozen=True)
class RowSchema:
    """What the columns of rows are. Picklable.

    Attributes:
        noun: What one row is called, in messages, in files and in what the corpus says of itself.
        columns: Columns of a batch, `LINE` among them.
        texts: Columns that the encoder reads.
        fields: Narrow fields of the corpus: type, and the column that each comes from. `time`, ms
            since 1970, is one: rows are sorted by it.
    """

    noun: str
    columns: pa.Schema
    texts: tuple[str, ...]
    fields: Mapping[str, tuple[Field, str]]

    @property
    def nouns(self) -> str:
        """What several rows are called."""
        return f"{self.noun}s"

    @property
    def time(self) -> str:
        """The column that rows are sorted by."""
        return self.fields[TIME][1]


@dataclass
class Tally:
    """What was read so far.

    Attributes:
        num_lines: Lines, malformed ones included.
        skipped: Number of malformed lines by reason.
    """

    num_lines: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def num_rows(self) -> int:
        """Valid rows."""
        return self.num_lines - self.skipped.total()

    def to_json(self) -> dict[str, Any]:
        """JSON value of the tally."""
        return {"num_lines": self.num_lines, "skipped": dict(self.skipped)}


class Source(Protocol):
    """Rows in some order. Picklable."""

    def describe(self) -> dict[str, Any]:
        """What a corpus must say of its rows: no path, no credentials."""
        ...

    def fetch(self, folder: str) -> "Source":
        """The source with its files at hand; downloads those of the web to a folder."""
        ...

    def batches(self, tally: Tally) -> Iterator[pa.Table]:
        """Batches with the columns of the schema; counts what it reads."""
        ...
