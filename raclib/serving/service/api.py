"""From a validated request to its answer."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from xxhash import xxh3_128_hexdigest

from raclib.errors import UserError
from raclib.ingest.rows import RowReader
from raclib.serving.answers import Answers
from raclib.serving.predictor import Evidence
from raclib.serving.service import messages
from raclib.serving.service.asked import NewLabels, NewRows, Remember
from raclib.serving.service.columns import to_array, to_table
from raclib.serving.service.label_times import LabelTimes
from raclib.serving.service.outcomes import METHODS
from raclib.serving.service.replica import Replica


async def predict(replica: Replica, asked: Any) -> messages.PredictAnswer:
    """Class probabilities of rows, and the past rows that decided them."""
    limits, reader = replica.config.limits, replica.predictor.reader
    if asked.evidence > limits.evidence:
        raise UserError(f"evidence: {asked.evidence}; at most {limits.evidence} rows are shown")
    if asked.ids is not None and not asked.remember:
        raise UserError("ids: are for rows to remember; say remember too, or leave them out")
    ids = _ids(asked, limits.rows)
    columns = [reader.schema.field(name) for name in reader.inputs]
    rows = to_table(asked.rows, pa.schema(columns))
    answers, evidence = await replica.explain(rows, asked.evidence)
    if asked.remember:
        said = _all_answers(answers, await replica.rivals(rows))
        what = ids, _digests(asked.rows), rows, said, answers.version
        await replica.remember(Remember(*what))
    shown = _Shown(reader)
    predictions = [
        messages.Prediction(
            probabilities=shown.by_class(answers.probabilities_NC[row]),
            base=None if answers.base_NC is None else shown.by_class(answers.base_NC[row]),
            evidence=shown.evidence(answers, evidence, row),
            id=ids[row] if asked.remember else None,
        )
        for row in range(len(rows))
    ]
    return messages.PredictAnswer(predictions=predictions, corpus_version=answers.version)


async def add_rows(replica: Replica, asked: Any) -> messages.RowsAnswer:
    """Takes in labelled rows."""
    reader = replica.predictor.reader
    ids = _ids(asked, replica.config.limits.rows)
    rows = LabelTimes(reader).fill(to_table(asked.rows, reader.schema))
    done = await replica.add(NewRows(ids, _digests(asked.rows), rows))
    return messages.RowsAnswer(rows=done.rows, ids=ids, corpus_version=done.version)


async def label(replica: Replica, asked: Any) -> messages.LabelAnswer:
    """Labels a row that is known by its id, or corrects its label from then on."""
    reader = replica.predictor.reader
    kind = reader.schema.field(reader.roles.label).type
    known, label_time = LabelTimes(reader).of(asked.label_time)
    labels = to_array([asked.label], kind)
    reader.classes.encode(labels, "label")
    done = await replica.add(NewLabels([asked.id], labels, np.array([known]), label_time))
    return messages.LabelAnswer(row=done.rows[0], corpus_version=done.version)


async def quality(replica: Replica) -> messages.QualityAnswer:
    """How served answers did on the labels that came since."""
    found = await replica.quality()
    return messages.QualityAnswer(
        num_labels=found.num_labels,
        window=replica.config.quality.window,
        scores=found.last,
        over_time=[{"num_labels": num, "scores": scores} for num, scores in found.over_time],
    )


class _Shown:
    """Answers and evidence as they are shown.

    Args:
        reader: Knows the classes, and whether times are dates.
    """

    def __init__(self, reader: RowReader) -> None:
        self._names, self._has_dates = reader.classes.names, reader.roles.has_dates

    def by_class(self, probability_C: np.ndarray) -> dict[str, float]:
        return dict(zip(self._names, probability_C.tolist(), strict=True))

    def time(self, ms: int) -> str | int:
        return f"{np.datetime64(ms, 'ms')}Z" if self._has_dates else ms

    def evidence(self, answers: Answers, found: Evidence, row: int) -> list[messages.Evidence]:
        parts = answers.rows_NE, answers.weights_NE, *found
        shown = zip(*(part[row].tolist() for part in parts), strict=True)
        return [
            messages.Evidence(
                id=number,
                label=self._names[label],
                event_time=self.time(event),
                label_time=self.time(known),
                weight=weight,
            )
            for number, weight, label, event, known in shown
            if number >= 0
        ]


def _all_answers(answers: Answers, rivals_N2C: np.ndarray) -> np.ndarray:
    """By each of `METHODS`, float32 `[N, M, C]`; NaN where there is none."""
    served_NC, base_NC = answers.probabilities_NC, answers.base_NC
    base_NC = np.full_like(served_NC, np.nan) if base_NC is None else base_NC
    found = np.concatenate([np.stack([served_NC, base_NC], axis=1), rivals_N2C], axis=1)
    assert found.shape[1] == len(METHODS)
    return found.astype(np.float32)


def _ids(asked: Any, most: int) -> list[str]:
    """Those of the request, or new ones; raises UserError for too many rows, or a wrong id."""
    if len(asked.rows) > most:
        raise UserError(
            f"rows: {len(asked.rows):,}; at most {most:,} a request, send the rest after"
        )
    if asked.ids is None:
        return [uuid4().hex for _ in asked.rows]
    if len(asked.ids) != len(asked.rows):
        raise UserError(f"ids: {len(asked.ids)} for {len(asked.rows)} rows; give one a row")
    if len(set(asked.ids)) < len(asked.ids):
        raise UserError("ids: one comes twice; give each row its own")
    return asked.ids


def _digests(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Differ where rows do."""
    texts = (json.dumps(row, sort_keys=True, default=str) for row in rows)
    return [xxh3_128_hexdigest(text.encode()) for text in texts]
