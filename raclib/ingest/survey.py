"""One pass over a table: what each column holds, in bounded memory."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

MAX_DISTINCT = 10_000
SAMPLE_TEXTS = 2_000  # texts of a batch whose words are counted


@dataclass
class ColumnSurvey:
    """What one column was seen to hold.

    Attributes:
        name: Name of the column.
        type: Its Arrow type.
        num_rows: Rows seen.
        num_missing: Of these null, NaN or an empty string.
        distinct: Different values that were there, until there were more than `MAX_DISTINCT`.
        num_compared: Values among which `distinct` was counted.
        num_words, num_texts: Words of some of the texts, and how many of them were counted.
        sizes: Different lengths of lists (at most two are kept).
        is_whole: Whether every number was whole.
    """

    name: str
    type: pa.DataType
    num_rows: int = 0
    num_missing: int = 0
    distinct: pa.Array | None = None
    num_compared: int = 0
    num_words: int = 0
    num_texts: int = 0
    sizes: set[int] = field(default_factory=set)
    is_whole: bool = True

    def __post_init__(self) -> None:
        if not types.is_nested(self.type):
            self.distinct = pa.array([], self.type)

    @property
    def missing(self) -> float:
        """Share of missing values."""
        return self.num_missing / max(1, self.num_rows)

    @property
    def num_distinct(self) -> int:
        """Different values seen; `MAX_DISTINCT` or more where counting stopped."""
        return 0 if self.distinct is None else len(self.distinct)

    @property
    def has_many(self) -> bool:
        """Whether there are more different values than were counted."""
        return self.num_distinct > MAX_DISTINCT

    @property
    def differs_always(self) -> bool:
        """Whether no value came twice."""
        return self.num_distinct > 1 and self.num_distinct == self.num_compared

    @property
    def words(self) -> float:
        """Mean number of words of a text."""
        return self.num_words / max(1, self.num_texts)

    def add(self, values: pa.Array) -> None:
        """Looks at some more values."""
        self.num_rows += len(values)
        present = values.filter(is_present(values))
        self.num_missing += len(values) - len(present)
        if types.is_list(self.type) or types.is_large_list(self.type):
            found = pc.unique(pc.list_value_length(present)).to_pylist()
            self.sizes = set(sorted(self.sizes | set(found))[:2])
        if is_text(self.type):
            some = present.slice(0, SAMPLE_TEXTS)
            self.num_words += int(pc.sum(pc.count_substring_regex(some, r"\S+")).as_py() or 0)
            self.num_texts += len(some)
        if types.is_floating(self.type) and self.is_whole:
            self.is_whole = bool(
                pc.all(pc.equal(pc.trunc(present), present)).as_py() in (None, True)
            )
        if self.distinct is not None and not self.has_many:
            self.num_compared += len(present)
            self.distinct = pc.unique(pa.concat_arrays([self.distinct, pc.unique(present)]))


def survey(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> dict[str, ColumnSurvey]:
    """Looks at every value of a table once.

    Args:
        batches: The rows, all of the schema.
        schema: Columns.

    Returns:
        What each column holds, by its name.
    """
    found = {column.name: ColumnSurvey(column.name, column.type) for column in schema}
    for batch in batches:
        for name, column in found.items():
            column.add(batch.column(name))
    return found


def is_text(kind: pa.DataType) -> bool:
    """Whether values are strings."""
    return types.is_string(kind) or types.is_large_string(kind)


def is_present(values: pa.Array) -> pa.Array:
    """Where a value is neither null, NaN nor an empty string; boolean of the same length."""
    if is_text(values.type):
        return pc.fill_null(pc.greater(pc.binary_length(values), 0), False)
    if types.is_floating(values.type):
        return pc.is_finite(pc.fill_null(values, float("nan")))
    return values.is_valid()
