"""What requests and answers hold."""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model

from raclib.ingest.rows import RowReader
from raclib.serving.service.columns import row_type, value_type
from raclib.serving.service.label_times import LabelTimes

Id = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
Row = TypeVar("Row")


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PredictRequest(_Asked, Generic[Row]):
    """Rows to predict."""

    rows: Annotated[list[Row], Field(min_length=1)]
    evidence: Annotated[int, Field(ge=0, description="Past rows to show for each row.")] = 0
    remember: Annotated[
        bool, Field(description="Keep the rows, so that /v1/labels may label them later.")
    ] = False
    ids: Annotated[
        list[Id] | None, Field(description="Of each row to remember; given where left out.")
    ] = None


class RowsRequest(_Asked, Generic[Row]):
    """Labelled rows."""

    rows: Annotated[list[Row], Field(min_length=1)]
    ids: Annotated[
        list[Id] | None,
        Field(description="Of each row: a row that is sent again is taken in once."),
    ] = None


class Evidence(BaseModel):
    """A past row that had to do with an answer."""

    id: Annotated[int, Field(description="Its number in the corpus.")]
    label: str
    event_time: Annotated[str | int, Field(description="When it happened.")]
    label_time: Annotated[str | int, Field(description="When its label was known.")]
    weight: float


class Prediction(BaseModel):
    """The answer to a row."""

    probabilities: Annotated[dict[str, float], Field(description="Of each class.")]
    base: Annotated[
        dict[str, float] | None, Field(description="What the base classifier alone says.")
    ]
    evidence: list[Evidence]
    id: Annotated[str | None, Field(description="Where the row is remembered.")] = None


class PredictAnswer(BaseModel):
    """The answers to rows, by one version of the corpus."""

    predictions: list[Prediction]
    corpus_version: int


class RowsAnswer(BaseModel):
    """Rows that are in the corpus from a version on."""

    rows: Annotated[list[int], Field(description="Their numbers in the corpus.")]
    ids: list[str]
    corpus_version: int


class LabelAnswer(BaseModel):
    """A label that is in the corpus from a version on."""

    row: Annotated[int, Field(description="The number in the corpus of the row with this label.")]
    corpus_version: int


class QualityAnswer(BaseModel):
    """How served answers did on the labels that came since."""

    num_labels: int
    window: Annotated[int, Field(description="Labels that came last, which scores are over.")]
    scores: dict[str, dict[str, float]]
    over_time: list[dict[str, Any]]


class Health(BaseModel):
    """A replica that holds its keys."""

    status: str
    replica: Annotated[str, Field(description="Which of them answered.")]
    corpus_version: int
    rows: int


class Refusal(BaseModel):
    """Why a request is refused, in one line."""

    detail: str


def request_types(reader: RowReader) -> tuple[Any, Any, Any]:
    """Types of the requests to predict, to add rows and to label one, for the table of a corpus."""
    roles, times = reader.roles, LabelTimes(reader)
    schema = reader.schema
    inputs = [schema.field(name) for name in reader.inputs]
    optional = [roles.label_time] if roles.label_time and times.is_optional else []
    needed = {name for name in roles.reserved if name not in optional}
    row: Any = row_type("Row", inputs, [roles.time], [])
    labelled: Any = row_type("LabelledRow", schema, needed, optional)
    kind = value_type(times.column.type)
    label = create_model(
        "LabelRequest",
        __base__=_Asked,
        id=Id,
        label=value_type(schema.field(roles.label).type),
        label_time=(kind | None, None) if times.is_optional else (kind, ...),
    )
    predict, rows = PredictRequest[row], RowsRequest[labelled]
    return predict, rows, label
