"""What columns are taken as, by their values and as told."""

import datetime as dt

import pyarrow as pa
import pytest

from raclib.errors import UserError
from raclib.ingest.columns import ColumnsConfig, choose_columns
from raclib.ingest.show import show_columns
from raclib.ingest.survey import survey

NUM = 2000


def choose(columns: dict[str, pa.Array], reserved=None, **told):
    batch = pa.record_batch(columns)
    return choose_columns(survey([batch], batch.schema), ColumnsConfig(**told), reserved or {})


def role_of(values, name="x", **told):
    values = pa.array(values) if isinstance(values, list) else values
    others = {"other": pa.array(range(len(values)))}
    found = choose({name: values, **others}, **told)
    return next(column for column in found if column.name == name)


@pytest.mark.parametrize(
    ("values", "role", "why"),
    [
        ([1.5, None, 2.0], "numeric", "numbers"),
        ([3, 1, 3], "numeric", "numbers"),
        (pa.array([1, 2], pa.decimal128(10, 2)), "numeric", "numbers"),
        ([True, False, None], "categorical", "true or false"),
        ([dt.date(2020, 1, 1), dt.date(2020, 1, 2)], "numeric", "a date or time"),
        ([dt.timedelta(1), None], "numeric", "a date or time"),
        (["a", "b", "a"], "categorical", "strings that come again"),
        ([f"v{number // 2}" for number in range(NUM * 2)], "entity", "more than 1,000"),
        ([f"v{number}" for number in range(NUM)], "ignore", "never the same twice"),
        ([f"the {n} of them all" for n in range(NUM)], "text", "5 words on average"),
        ([[1.0, 2.0], [3.0, 4.0], None], "embedding", "lists of numbers of one length"),
        (pa.array([[1, 2]], pa.list_(pa.int32(), 2)), "embedding", "lists of numbers"),
        ([[1.0, 2.0], [3.0]], "ignore", "lists of different lengths"),
        ([[1.0, 2.0], []], "ignore", "lists of different lengths"),
        (pa.array([[], []], pa.list_(pa.int64())), "ignore", "lists without an element"),
        (pa.array([None, None], pa.list_(pa.int64())), "ignore", "holds nothing"),
        ([["a"], ["b"]], "ignore", "lists of string, not of numbers"),
        ([[{"a": 1}], None], "ignore", "lists of struct<a: int64>, not of numbers"),
        ([{"a": 1}, None], "ignore", "nested (struct): give its parts as columns"),
        ([7, 7], "ignore", "constant"),
        ([7, None], "numeric", "numbers"),
        (["", ""], "ignore", "holds nothing"),
        ([float("nan"), None, float("inf")], "ignore", "holds nothing"),
        (pa.nulls(2), "ignore", "holds nothing"),
        ([b"a", b"b"], "ignore", "binary: nothing to learn from"),
        (pa.array([(1, 2, 3), (1, 2, 4)], pa.month_day_nano_interval()), "ignore", "nothing to"),
    ],
)
def test_a_column_is_taken_as_what_its_values_are(values, role, why):
    found = role_of(values)
    assert found.role == role
    assert why in found.why


@pytest.mark.parametrize(
    ("name", "values", "role"),
    [
        ("user_id", [1, 2, 1], "entity"),
        ("terminal-ID", [1.0, 2.0, None, 1.0], "entity"),
        ("id", [1, 2, 3], "ignore"),
        ("user_id", [1.5, 2.0, 1.5], "numeric"),
        ("paid", [1, 2, 1], "numeric"),
    ],
)
def test_whole_numbers_called_an_id_are_one(name, values, role):
    assert role_of(values, name).role == role


def test_what_the_user_says_holds_in_the_users_order():
    columns = {name: pa.array([0.1, 0.9, 0.5]) for name in ("a", "b", "c", "d")}
    found = choose(columns, score=["d", "b"], ignore=["c"])
    assert [(column.name, column.role) for column in found] == [
        ("d", "score"),
        ("b", "score"),
        ("c", "ignore"),
        ("a", "numeric"),
    ]
    assert found[0].why == "as told"


def test_times_and_label_are_no_input_and_say_what_they_are():
    columns = {name: pa.array([1, 2, 1]) for name in ("when", "label", "x")}
    when, label, _ = choose(columns, {"when": "the time", "label": "the label"}, ignore=["when"])
    assert (when.role, when.why) == ("ignore", "the time")
    assert (label.role, label.why) == ("ignore", "the label")


@pytest.mark.parametrize(
    ("values", "told", "message"),
    [
        ([1, 2], {"numeric": ["y"]}, r"columns\.numeric: no column is called 'y'; there are x, ot"),
        ([1, 2], {"numeric": ["x"], "entity": ["x"]}, "'x' is both numeric and entity; choose one"),
        ([1, 2], {"entity": ["x", "x"]}, r"columns\.entity: 'x' is named twice"),
        (["a", "b"], {"numeric": ["x"]}, r"columns\.numeric: 'x' holds string, which cannot be"),
        ([1, 2], {"text": ["x"]}, "holds int64, which cannot be text; choose another role"),
        ([1, 2], {"embedding": ["x"]}, "holds int64, which cannot be embedding"),
        ([[1], [1, 2]], {"embedding": ["x"]}, "holds list<.*> of different lengths, which cannot"),
        (pa.array([[]], pa.list_(pa.int64())), {"embedding": ["x"]}, "without an element, which"),
        ([[1], [2]], {"categorical": ["x"]}, "holds list<.*>, which cannot be categorical"),
        ([b"a", b"b"], {"entity": ["x"]}, "holds binary, which cannot be entity"),
        (["a", "b"], {"score": ["x"]}, "holds string, which cannot be score"),
        ([1, 2], {"ignore": ["x", "other"]}, "no column is left to learn from; name some with"),
        ([1, 2], {"score": ["x"], "ignore": ["other"]}, "no column is left to learn from"),
    ],
)
def test_what_cannot_be_is_one_line(values, told, message):
    with pytest.raises(UserError, match=message) as error:
        role_of(values, **told)
    assert "\n" not in str(error.value)


def test_the_label_cannot_be_an_input():
    columns = {name: pa.array([1, 2]) for name in ("label", "x")}
    with pytest.raises(UserError, match=r"columns\.numeric: 'label' is the label; leave it out"):
        choose(columns, {"label": "the label"}, numeric=["label"])


def test_the_plan_names_every_column_as_it_is(capsys):
    columns = {"amount[usd]": pa.array([1.5, None]), ":x:": pa.array([[1], [2]])}
    batch = pa.record_batch(columns)
    surveys = survey([batch], batch.schema)
    show_columns(choose_columns(surveys, ColumnsConfig(), {}), surveys)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["amount[usd]", "numeric", "numbers", "50.0%", "1"] in lines
    assert [":x:", "embedding", "lists", "of", "numbers", "of", "one", "length"] in lines
