"""Columns of labels as numbers of classes."""

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclib.errors import UserError

MIN_CLASSES, MAX_CLASSES = 2, 1000
_INTEGER = re.compile(r"0|-?[1-9]\d*")


def class_names(column: pa.Array | pa.ChunkedArray, name: str = "label") -> pa.Array:
    """The class of each row as a string, null where there is no label.

    `true` and `false`, integers in decimal (also where they come as whole floats or decimals), or
    strings as they are. Null, NaN and the empty string are no label.

    Args:
        column: N booleans, integers, whole floats, decimals without a scale, strings or a
            dictionary of these.
        name: What the column is called in errors.

    Raises:
        UserError: if numbers are not whole or the type is none of these.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = column.type
    if pa.types.is_dictionary(kind):
        return class_names(column.dictionary_decode(), name)
    if pa.types.is_floating(kind):
        column = _whole(column, name)
    elif pa.types.is_decimal(kind) and kind.scale != 0:
        raise UserError(f"{name}: of type {kind}, a number; {_REMEDY}")
    elif not (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    ):
        raise UserError(f"{name}: of type {kind}; give booleans, integers or strings")
    names = column.cast(pa.string())
    return pc.if_else(pc.equal(names, ""), None, names)


@dataclass
class LabelCounts:
    """How often each class was seen.

    Attributes:
        name: What the column is called in errors.
        counts: Rows by class.
        num_missing: Rows without a label.
    """

    name: str = "label"
    counts: Counter[str] = field(default_factory=Counter)
    num_missing: int = 0

    def add(self, names: pa.Array) -> None:
        """Counts the labels of a batch.

        Args:
            names: As `class_names` gives them.

        Raises:
            UserError: if there are too many classes by now.
        """
        self.num_missing += names.null_count
        counts = pc.value_counts(names.drop_null())
        values, numbers = counts.field("values"), counts.field("counts")
        self.counts.update(dict(zip(values.to_pylist(), numbers.to_pylist(), strict=True)))
        if len(self.counts) > MAX_CLASSES:
            raise UserError(
                f"{self.name}: {len(self.counts):,} classes already in the first "
                f"{self.counts.total():,} labels, at most {MAX_CLASSES:,} are allowed; a number or "
                "an id? choose another column, or sort its values into classes"
            )


@dataclass(frozen=True)
class ClassIndex:
    """The classes of a table and their order.

    Args:
        names: Class names; `names[c]` is class c.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, labels: LabelCounts) -> "ClassIndex":
        """The classes that were counted: by number where all are integers, else by letters.

        Raises:
            UserError: if there are fewer than two.
        """
        names = list(labels.counts)
        if len(names) < MIN_CLASSES:
            only = f"1 class ({names[0]!r})" if names else "no label at all"
            raise UserError(
                f"{labels.name}: {only}, at least {MIN_CLASSES} classes are needed; choose another "
                "column, or more rows"
            )
        if all(map(_INTEGER.fullmatch, names)):
            return cls(tuple(sorted(names, key=int)))
        return cls(tuple(sorted(names)))

    def encode(self, column: pa.Array | pa.ChunkedArray, name: str = "label") -> np.ndarray:
        """The class numbers of N labels, int16; -1 where there is no label.

        Raises:
            UserError: as `class_names`, and if a label is none of the classes.
        """
        return self.number(class_names(column, name), name)

    def number(self, names: pa.Array, label: str = "label") -> np.ndarray:
        """As `encode`, of names that `class_names` gave."""
        codes = pc.index_in(names, pa.array(self.names, pa.string()), skip_nulls=True)
        unknown = names.filter(pc.and_(pc.is_valid(names), pc.is_null(codes)))
        if len(unknown):
            raise UserError(
                f"{label}: {unknown[0].as_py()!r} is none of the {len(self.names)} known classes; "
                "mend it, or leave the label empty"
            )
        return codes.fill_null(-1).to_numpy().astype(np.int16)


_REMEDY = "labels are classes: sort the numbers into classes, or choose another column"


def _whole(column: pa.Array, name: str) -> pa.Array:
    """Floats as integers; NaN is missing."""
    column = pc.if_else(pc.is_nan(column), None, column.cast(pa.float64()))
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        raise UserError(f"{name}: numbers with fractions; {_REMEDY}") from None
