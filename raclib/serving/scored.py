"""Answers to rows of a table as columns."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from raclib.serving.answers import Answers
from raclib.serving.predictor import Predictor
from raclib.serving.rows import ServedRows

LINE = "line"
TIME = "time"
MOMENT = pa.timestamp("ms", "UTC")


def probability_columns(classes: Sequence[str], prefix: str = "probability") -> list[str]:
    """A name for the probability of each class."""
    return [f"{prefix}_{name}" for name in classes]


def scored_schema(
    table: pa.Schema, keep: Sequence[str], rows: ServedRows, has_base: bool, count: int
) -> pa.Schema:
    """The columns of scored rows.

    `line` (int64, counts the rows of the table from 0), `time` as the table has it, those that are
    kept, and `probability_<class>` (float32) for each class; null where a row was not predicted.
    With evidence also what the base classifier alone says, `base_probability_<class>`, and lists of
    the rows of the corpus that decided, by falling weight: `evidence_row` (their ids),
    `evidence_label`, `evidence_time` and `evidence_known_time` (when they happened and when their
    labels were known), `evidence_weight` (see `Answers`).

    Args:
        table: Columns of the table.
        keep: Those that are kept.
        rows: What reads its rows.
        has_base: Whether there is a base classifier.
        count: Rows of evidence.
    """
    names = probability_columns(rows.classes)
    if count and has_base:
        names += probability_columns(rows.classes, "base_probability")
    fields = [pa.field(LINE, pa.int64()), pa.field(TIME, table.field(rows.time).type)]
    fields += [table.field(name) for name in keep]
    fields += [pa.field(name, pa.float32()) for name in names]
    if count:
        moment = MOMENT if rows.has_dates else pa.int64()
        evidence = {
            "row": pa.int64(),
            "label": pa.string(),
            "time": moment,
            "known_time": moment,
            "weight": pa.float32(),
        }
        fields += [pa.field(f"evidence_{name}", pa.list_(kind)) for name, kind in evidence.items()]
    return pa.schema(fields)


def answer_columns(predictor: Predictor, answers: Answers, schema: pa.Schema) -> list[pa.Array]:
    """The last columns of `scored_schema`, those that are answers."""
    both = answers.probabilities_NC, answers.base_NC
    if not answers.rows_NE.shape[1]:
        return [pa.array(column) for column in both[0].T]
    found = [pa.array(column) for part_NC in both if part_NC is not None for column in part_NC.T]
    what = predictor.describe(answers.rows_NE)
    label_NE = np.array([*predictor.classes, ""], object)[what.label]
    evidence = answers.rows_NE, label_NE, what.event_time, what.known_time, answers.weights_NE
    kinds = [kind.value_type for kind in schema.types[-len(evidence) :]]
    return found + [
        _lists(values_NE, answers.rows_NE >= 0, kind)
        for values_NE, kind in zip(evidence, kinds, strict=True)
    ]


def _lists(values_NE: np.ndarray, is_there_NE: np.ndarray, kind: pa.DataType) -> pa.ListArray:
    """The values of each row that are there, as a list."""
    ends = np.concatenate([[0], is_there_NE.sum(axis=1).cumsum()])
    values = pa.array(values_NE[is_there_NE], pa.string() if pa.types.is_string(kind) else None)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values.cast(kind))
