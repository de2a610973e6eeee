"""What each column of a table is taken as, and why: told by the user, or by its values."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

import pyarrow as pa
from pyarrow import types

from raclib.errors import UserError
from raclib.ingest.survey import ColumnSurvey, is_text

Role = Literal["numeric", "categorical", "entity", "text", "embedding", "score", "ignore"]
MAX_CATEGORIES = 1_000
MIN_TEXT_WORDS = 4.0  # fewer are names and codes
MIN_TEXTS = 50
ID_WORDS = ("id", "uuid", "guid", "key")


@dataclass
class ColumnsConfig:
    """What columns are taken as where that is not left to their values."""

    numeric: list[str] = field(default_factory=list)
    """Numbers, dates and booleans that are read as numbers."""
    categorical: list[str] = field(default_factory=list)
    """Values of which each is a kind of its own."""
    entity: list[str] = field(default_factory=list)
    """Ids of things that come again, such as a terminal or a user: rows of equal id are near."""
    text: list[str] = field(default_factory=list)
    """Texts to embed, together, in this order."""
    embedding: list[str] = field(default_factory=list)
    """Lists of numbers, one length a column."""
    score: list[str] = field(default_factory=list)
    """Probabilities by the classifier that runs already: one a class, in the order of the classes
    (one column of lists will do), or that of the second of two classes."""
    ignore: list[str] = field(default_factory=list)
    """Columns to leave out, such as what is known only after the label."""


@dataclass(frozen=True)
class Column:
    """A column and what it is taken as.

    Attributes:
        name: Name of the column.
        role: What it is taken as.
        why: In a few words, for people.
    """

    name: str
    role: Role
    why: str


def choose_columns(
    surveys: Mapping[str, ColumnSurvey], config: ColumnsConfig, reserved: Mapping[str, str]
) -> list[Column]:
    """What every column is taken as: first those that the user names, in that order.

    The order of scores is that of the classes, so it is the user's.

    Args:
        surveys: What each column holds.
        config: What the user says.
        reserved: Columns with a meaning of their own (time, label), and which; they come out as
            `ignore`.

    Raises:
        UserError: if a column is named that is not there, is named twice, or cannot be what it is
            said to be, or nothing is left to learn from.
    """
    told = _told(surveys, config, reserved)
    found = []
    for name in dict.fromkeys((*told, *surveys)):
        if name in reserved:
            found.append(Column(name, "ignore", reserved[name]))
        elif name in told:
            _check(surveys[name], told[name])
            found.append(Column(name, told[name], "as told"))
        else:
            found.append(Column(name, *_infer(surveys[name])))
    if all(column.role in ("ignore", "score") for column in found):
        raise UserError(
            "columns: no column is left to learn from; name some with --columns.numeric, "
            ".categorical, .entity, .text or .embedding"
        )
    return found


def _told(
    surveys: Mapping[str, ColumnSurvey], config: ColumnsConfig, reserved: Mapping[str, str]
) -> dict[str, Role]:
    told: dict[str, Role] = {}
    for role in get_args(Role):
        for name in getattr(config, role):
            if name not in surveys:
                raise UserError(
                    f"columns.{role}: no column is called {name!r}; there are {', '.join(surveys)}"
                )
            if told.get(name) == role:
                raise UserError(f"columns.{role}: {name!r} is named twice; once will do")
            if name in told:
                raise UserError(f"columns: {name!r} is both {told[name]} and {role}; choose one")
            if name in reserved and role != "ignore":
                raise UserError(f"columns.{role}: {name!r} is {reserved[name]}; leave it out here")
            told[name] = role
    return told


def _infer(survey: ColumnSurvey) -> tuple[Role, str]:
    """Role and reason; the first rule that fits."""
    kind = survey.type
    if types.is_null(kind) or survey.missing == 1:
        return "ignore", "holds nothing"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _infer_list(survey)
    if types.is_nested(kind):
        return "ignore", f"nested ({_outer(kind)}): give its parts as columns"
    if survey.num_distinct == 1 and not survey.num_missing:
        return "ignore", "constant"
    if types.is_boolean(kind):
        return "categorical", "true or false"
    if _is_time(kind):
        return "numeric", "a date or time: distance to the row's own"
    if types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind):
        return _infer_number(survey)
    if is_text(kind):
        return _infer_string(survey)
    return "ignore", f"{kind}: nothing to learn from"


def _infer_list(survey: ColumnSurvey) -> tuple[Role, str]:
    if not _is_number(survey.type.value_type):
        return "ignore", f"lists of {survey.type.value_type}, not of numbers"
    if len(survey.sizes) > 1:
        return "ignore", "lists of different lengths"
    if survey.sizes == {0}:
        return "ignore", "lists without an element"
    return "embedding", "lists of numbers of one length"


def _infer_number(survey: ColumnSurvey) -> tuple[Role, str]:
    is_id = survey.is_whole and survey.name.lower().replace("-", "_").split("_")[-1] in ID_WORDS
    if not is_id:
        return "numeric", "numbers"
    if survey.differs_always:
        return "ignore", "an id that never comes twice"
    return "entity", "whole numbers, called an id"


def _infer_string(survey: ColumnSurvey) -> tuple[Role, str]:
    if survey.words >= MIN_TEXT_WORDS and survey.num_distinct >= MIN_TEXTS:
        return "text", f"{survey.words:.0f} words on average"
    if survey.differs_always and survey.num_distinct > MIN_TEXTS:
        return "ignore", "never the same twice"
    if survey.num_distinct > MAX_CATEGORIES:
        return "entity", f"more than {MAX_CATEGORIES:,} different values"
    return "categorical", "strings that come again"


def _check(survey: ColumnSurvey, role: Role) -> None:
    """Raises UserError where a column cannot be what the user says it is."""
    kind = survey.type
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    fits = {
        "numeric": _is_number(kind) or _is_time(kind) or types.is_boolean(kind),
        "categorical": _is_scalar(kind),
        "entity": _is_scalar(kind),
        "text": is_text(kind),
        "embedding": is_list and _is_number(kind.value_type) and _has_one_size(survey),
        "score": _is_number(kind) or (is_list and _is_number(kind.value_type)),
        "ignore": True,
    }
    if not fits[role]:
        sizes = " of different lengths" if len(survey.sizes) > 1 else ""
        sizes = " without an element" if survey.sizes == {0} else sizes
        raise UserError(
            f"columns.{role}: {survey.name!r} holds {kind}{sizes}, which cannot be {role}; choose "
            "another role for it, or ignore it"
        )


def _is_number(kind: pa.DataType) -> bool:
    return types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind)


def _has_one_size(survey: ColumnSurvey) -> bool:
    return len(survey.sizes) <= 1 and survey.sizes != {0}


def _is_time(kind: pa.DataType) -> bool:
    return types.is_temporal(kind) and not types.is_interval(kind)


def _is_scalar(kind: pa.DataType) -> bool:
    """Whether values can be written as strings."""
    return _is_number(kind) or _is_time(kind) or types.is_boolean(kind) or is_text(kind)


def _outer(kind: pa.DataType) -> str:
    return str(kind).partition("<")[0]


assert [item.name for item in fields(ColumnsConfig)] == list(get_args(Role))
