"""One page for people: a row in, the answer, the past cases that decided it, quality over time."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from pyarrow import types
from pydantic import TypeAdapter, ValidationError
from ray.exceptions import RayError

from raclib.errors import UserError
from raclib.serving.service import api
from raclib.serving.service.cases import past_cases
from raclib.serving.service.failures import first_mistake
from raclib.serving.service.outcomes import METHODS
from raclib.serving.service.replica import Replica

NUM_CASES = 8
MAX_CHOICES = 200
WIDTH, HEIGHT = 640, 160
TEMPLATES = Environment(
    loader=PackageLoader("raclib.serving.service"), autoescape=True, undefined=StrictUndefined
)


@dataclass(frozen=True)
class Field:
    """A field of the form.

    Attributes:
        name: The column.
        kind: What the column holds, in a word.
        choices: Values that are known.
        value: What was given.
    """

    name: str
    kind: str
    choices: list[str]
    value: str = ""


class Page:
    """The page of a replica.

    Args:
        replica: What answers.
        request_type: Validates rows.
    """

    def __init__(self, replica: Replica, request_type: Any) -> None:
        self._replica, self._request = replica, TypeAdapter(request_type)
        self._template = TEMPLATES.get_template("page.html")

    async def show(self, given: dict[str, str] | None = None, **found: Any) -> str:
        """The page with an empty form, or with what was given and found."""
        reader, corpus = self._replica.predictor.reader, self._replica.predictor.corpus
        fields = [_field(reader, name, (given or {}).get(name, "")) for name in reader.inputs]
        shown = {"problem": None, "answer": None, "cases": None, **found}
        return self._template.render(
            fields=fields,
            label=reader.roles.label,
            corpus_version=corpus.version,
            num_rows=len(corpus),
            quality=await self._quality(),
            **shown,
        )

    async def answer(self, body: bytes) -> str:
        """The page with the answer to the row of a form."""
        given = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        reader = self._replica.predictor.reader
        try:
            row = {name: _value(reader.schema.field(name), given) for name in reader.inputs}
            asked = self._request.validate_python({"rows": [row], "evidence": NUM_CASES})
            found = await api.predict(self._replica, asked)
        except ValidationError as error:
            return await self.show(given, problem=first_mistake(error.errors()))
        except UserError as error:
            return await self.show(given, problem=str(error))
        answer = found.predictions[0]
        cases = past_cases(self._replica.predictor.memory, reader, asked.rows[0], answer.evidence)
        return await self.show(given, answer=answer, cases=cases)

    async def _quality(self) -> dict[str, Any] | None:
        try:
            found = await self._replica.quality()
        except RayError:
            return None
        return {
            "num_labels": found.num_labels,
            "last": found.last,
            "lines": _lines(found.over_time),
            "width": WIDTH,
            "height": HEIGHT,
        }


def _field(reader: Any, name: str, value: str) -> Field:
    known = reader.features.categories.get(name, [])[:MAX_CHOICES]
    return Field(name, str(reader.schema.field(name).type), known, value)


def _value(column: pa.Field, given: dict[str, str]) -> Any:
    """What a form says of a column; empty is missing."""
    text, kind = given.get(column.name, "").strip(), column.type
    if not text:
        return None
    try:
        if types.is_integer(kind):
            return int(text)
        if types.is_floating(kind):
            return float(text)
        if types.is_boolean(kind):
            return {"true": True, "false": False}[text.lower()]
        if types.is_nested(kind):
            return [float(part) for part in text.strip("[]").split(",")]
    except (ValueError, KeyError):
        raise UserError(f"{column.name}: cannot be read as {kind}") from None
    return text


def _lines(over_time: list[tuple[int, Any]]) -> list[tuple[str, str, float]]:
    """Of each method the points of its log-loss in the figure, and the last value."""
    found = []
    top = max((s["log_loss"] for _, scores in over_time for s in scores.values()), default=1.0)
    last = over_time[-1][0] if over_time else 1
    for method in METHODS:
        values = [
            (num, scores[method]["log_loss"]) for num, scores in over_time if method in scores
        ]
        if values:
            points = np.array(values, float) / [last, top or 1.0]
            places = points * [WIDTH, -HEIGHT] + [0, HEIGHT]
            found.append((method, " ".join(f"{x:.1f},{y:.1f}" for x, y in places), values[-1][1]))
    return found
