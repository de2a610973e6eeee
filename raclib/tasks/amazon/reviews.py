"""Reviews in the Reviews '23 schema: JSON lines, packed or not, validated, in bounded memory."""

import codecs
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from typing import Annotated, Any, BinaryIO

import numpy as np
import pyarrow as pa
from pydantic import ConfigDict, Field, StrictInt, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from raclib.corpus.urls import public_name
from raclib.errors import UserError
from raclib.ingest.embedding import LINE
from raclib.ingest.formats import BINARY, looks_like, read_head
from raclib.ingest.tally import Tally
from raclib.ingest.text import open_text

# 1973 to 2100: a time in seconds by mistake would lie in January 1970.
MIN_TIMESTAMP_MS, MAX_TIMESTAMP_MS = 10**11, 4_102_444_800_000
# Milliseconds of a unit that other programs count in.
UNITS = {"seconds": 1e3, "microseconds": 1e-3, "nanoseconds": 1e-6}
MAX_LINE_BYTES = 16 * 2**20
BATCH_ROWS = 2048
KNOWN = "give JSON lines, plain, gzip, bz2 or zstd"


class Review(TypedDict):
    """What is read of a line; other fields are ignored."""

    __pydantic_config__ = ConfigDict(strict=True, extra="ignore")  # type: ignore[misc]

    rating: Annotated[float, Field(ge=1, le=5, allow_inf_nan=False)]
    title: str
    text: str
    timestamp: Annotated[StrictInt, Field(ge=MIN_TIMESTAMP_MS, le=MAX_TIMESTAMP_MS)]
    helpful_vote: Annotated[StrictInt, Field(ge=0, lt=2**31)]
    verified_purchase: bool


_REVIEW = TypeAdapter(Review)

COLUMNS = pa.schema(
    {
        "rating": pa.float32(),
        "title": pa.string(),
        "text": pa.string(),
        "timestamp": pa.int64(),
        "helpful_vote": pa.float32(),
        "verified_purchase": pa.int8(),
        LINE: pa.int64(),
    }
)
"""Columns of a batch. `line` counts all lines of all files from 0, malformed ones included."""


def read_reviews(uris: Sequence[str], tally: Tally, strict: bool) -> Iterator[pa.Table]:
    """Yields the valid reviews of some files, in their order, `BATCH_ROWS` lines at a time.

    Args:
        uris: As `find_files` gives them.
        tally: Counts what is read.
        strict: Stop at the first malformed line instead of skipping and counting it.

    Raises:
        UserError: if a file is missing, empty or damaged, no review is valid or, with `strict`, one
            is not. No message holds a review's text.
    """
    for uri in uris:
        with _open(uri, tally) as lines:
            first_line = tally.num_lines
            while batch := list(_take_lines(lines)):
                yield _parse_batch(batch, tally, first_line, public_name(uri) if strict else None)
            if tally.num_lines == first_line:
                raise UserError(f"{public_name(uri)}: empty file; give JSON lines, one a review")
    if not tally.num_rows:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in tally.skipped.most_common(3))
        names = ", ".join(map(public_name, uris))
        raise UserError(f"{names}: no valid review in {tally.num_lines} lines: {reasons}")


def _take_lines(file: BinaryIO) -> Iterator[bytes]:
    """The next lines of a file; one that is too long comes as its beginning."""
    for _ in range(BATCH_ROWS):
        line = file.readline(MAX_LINE_BYTES)
        if not line:
            return
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            rest = iter(partial(file.readline, MAX_LINE_BYTES), b"")
            for _ in takewhile(lambda part: not part.endswith(b"\n"), rest):
                pass
        yield line


def _parse_batch(lines: list[bytes], tally: Tally, first_line: int, name: str | None) -> pa.Table:
    """Parses lines; `name` of the file stops at the first malformed one."""
    reviews, ordinals = [], []
    for line in lines:
        try:
            reviews.append(_REVIEW.validate_json(line))
            ordinals.append(tally.num_lines)
        except ValidationError as error:
            reason = _reason(error, line)
            if name is not None:
                line_number = tally.num_lines - first_line + 1
                raise UserError(
                    f"{name}, line {line_number}: {reason}; mend it, or leave out --strict"
                ) from None
            tally.skipped[reason] += 1
        tally.num_lines += 1
    columns: dict[str, Any] = {
        name: [review[name] for review in reviews]  # type: ignore[literal-required]
        for name in COLUMNS.names
        if name != LINE
    }
    # Arrow converts no bool, and no integer that is not a float's.
    for name, dtype in (("verified_purchase", np.int8), ("helpful_vote", np.float32)):
        columns[name] = np.array(columns[name], dtype)
    return pa.table({**columns, LINE: ordinals}, schema=COLUMNS)


def _reason(error: ValidationError, line: bytes) -> str:
    """Why a line is malformed, without anything of its content."""
    first = error.errors(include_context=False, include_url=False)[0]
    if first["type"] == "json_invalid":
        return "line too long" if len(line) >= MAX_LINE_BYTES else "not valid JSON"
    if first["loc"] == ("timestamp",) and (said := _why_no_time(first["input"])):
        return said
    message = first["msg"][0].lower() + first["msg"][1:]
    return ": ".join([*map(str, first["loc"]), message])


def check_times(time_N: np.ndarray) -> None:
    """Raises UserError where a time, int64, is none that reviews are read with."""
    is_wrong_N = (time_N < MIN_TIMESTAMP_MS) | (time_N > MAX_TIMESTAMP_MS)
    if is_wrong_N.any():
        row = int(is_wrong_N.argmax())
        time = int(time_N[row])
        why = f"timestamp: {time} is not between 1973 and 2100; give milliseconds"
        raise UserError(f"row {row}: {_why_no_time(time) or why}")


def _why_no_time(value: object) -> str | None:
    """What is wrong with a whole number that counts something else than milliseconds."""
    if not isinstance(value, int):
        return None
    for unit, factor in UNITS.items():
        if MIN_TIMESTAMP_MS <= value * factor <= MAX_TIMESTAMP_MS:
            return f"timestamp: {unit}? give milliseconds"
    return None


@contextmanager
def _open(uri: str, tally: Tally) -> Iterator[BinaryIO]:
    """A file's lines, unpacked where the first bytes say that it is packed."""
    head, compression = read_head(uri)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    what = "one JSON array" if text.startswith(b"[") else looks_like(head)
    if what and not (what == BINARY and text.startswith(b"{")):  # else one line of many
        raise UserError(f"{public_name(uri)}: looks like {what}; {KNOWN}")
    with open_text(uri, compression, tally.remarks.append) as lines:
        yield lines
