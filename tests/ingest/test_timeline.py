"""Times, labels and the cutoff of a table."""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raclib.errors import UserError
from raclib.ingest import guards
from raclib.ingest.guards import delay_bias
from raclib.ingest.show import show_labels
from raclib.ingest.timeline import (
    NO_LABEL,
    NO_LABEL_TIME,
    NO_TIME,
    Roles,
    Timeline,
    TimelineReader,
    Times,
    parse_cutoff,
    why_skipped,
)

DAY = 86_400_000
ROLES = Roles("time", "label", "decided")
SCHEMA = pa.schema({name: pa.int64() for name in ("time", "label", "decided", "x")})


def read(roles: Roles, *batches: dict) -> Timeline:
    reader = TimelineReader(roles)
    for batch in batches:
        reader.add(pa.record_batch(batch))
    return reader.finish()


def dates(*days):
    start = dt.datetime(2020, 1, 1)
    return pa.array([None if day is None else start + dt.timedelta(day) for day in days])


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (Roles("when", "label"), "time: no column is called 'when'; there are time, label, dec"),
        (Roles("time", "fraud"), "label: no column is called 'fraud'; there are"),
        (Roles("time", "label", "closed"), "label_time: no column is called 'closed'"),
        (Roles("time", "time"), "label: 'time' is a time too; name the column to predict"),
        (Roles("time", "label", "label"), "label: 'label' is a time too"),
    ],
)
def test_columns_of_times_and_label_are_there_and_each_for_one_purpose(roles, message):
    with pytest.raises(UserError, match=message):
        roles.check(SCHEMA)


def test_roles_say_what_each_column_is():
    ROLES.check(SCHEMA)
    Roles("time", "label", "time").check(SCHEMA)
    assert ROLES.reserved == {
        "time": "the time",
        "label": "the label",
        "decided": "the time of the label",
    }
    assert Roles("time", "label", "time").reserved == {"time": "the time", "label": "the label"}


def test_a_label_known_before_its_row_is_known_when_the_row_is():
    rows = {"time": dates(3, 3, None, 3), "label": [1, 0, 1, 1], "decided": dates(1, 5, 1, None)}
    times = Times.read(pa.record_batch(rows), ROLES)
    assert (times.known[:2] - times.event[:2]).tolist() == [0, 2 * DAY]
    assert times.is_early.tolist() == [True, False, False, False]
    assert times.reason.tolist() == [0, 0, NO_TIME, NO_LABEL_TIME]
    names = pa.array(["1", None, None, "1"])
    assert why_skipped(times, names).tolist() == [0, NO_LABEL, NO_LABEL, NO_LABEL_TIME]


def test_times_may_be_of_two_kinds():
    roles = Roles("time", "label", "decided", "s")
    rows = {"time": [0, 86_400], "label": [1, 0], "decided": ["1970-01-02", "1970-01-03T00:00Z"]}
    times = Times.read(pa.record_batch(rows), roles)
    assert times.event.tolist() == [0, DAY]
    assert times.known.tolist() == [DAY, 2 * DAY]


@given(
    labels=st.lists(st.sampled_from(["b", "a", "10", "9", None, ""]), min_size=6, max_size=40),
    size=st.integers(1, 7),
)
def test_classes_are_numbered_alike_whatever_the_batches(labels, size):
    labels = [*labels, "z", "y"]
    batches = [
        {"time": dates(*range(at, at + len(part))), "label": pa.array(part, pa.string())}
        for at, part in ((at, labels[at : at + size]) for at in range(0, len(labels), size))
    ]
    found = read(Roles("time", "label"), *batches)
    assert list(found.classes.names) == sorted({label for label in labels if label})
    kept = [label for label in labels if label]
    assert [found.classes.names[code] for code in found.label] == kept
    assert found.num_unlabelled == len(labels) - len(kept)
    assert len(found.event) == len(kept)


def test_skipped_rows_are_counted_by_reason_and_early_labels_too():
    found = read(
        ROLES,
        {"time": dates(3, None, 3), "label": ["a", "b", None], "decided": dates(1, 1, 1)},
        {"time": dates(3, 3), "label": ["b", "a"], "decided": dates(None, 9)},
    )
    assert found.skipped == {
        "time that cannot be read": 1,
        "label_time that cannot be read": 1,
        "no label": 1,
    }
    assert found.num_early == 1
    assert found.num_unlabelled == 1


@pytest.mark.parametrize(
    ("rows", "unit", "message"),
    [
        (
            {"time": ["soon", "later"], "label": [0, 1]},
            None,
            r"data: no row can be used: time that cannot be read \(2\)",
        ),
        (
            {"time": [1_600_000_000, 1_600_000_001], "label": [0, 1]},
            None,
            "time: numbers that look like unit 's': 2020-09-13 to 2020-09-13; give --time_unit s",
        ),
        (
            {"time": dates(1, 2), "label": [0, 1]},
            "s",
            None,
        ),
        (
            {"time": [[1], [2]], "label": [0, 1]},
            None,
            "time: of type list<.*>; give timestamps, dates",
        ),
        (
            {"time": dates(1, 2), "label": pa.array([None, None], pa.string())},
            None,
            "label: no label at all, at least 2 classes are needed",
        ),
        (
            {"time": dates(1, 2), "label": ["a", "a"]},
            None,
            r"label: 1 class \('a'\), at least 2 classes are needed",
        ),
        (
            {"time": dates(1, 2), "label": [0.5, 1.0]},
            None,
            "label: numbers with fractions; labels are classes",
        ),
        (
            {"time": dates(*range(1001)), "label": list(range(1001))},
            None,
            "label: 1,001 classes already in the first 1,001 labels, at most 1,000",
        ),
    ],
)
def test_times_and_labels_that_cannot_be_are_one_line(rows, unit, message):
    roles = Roles("time", "label", time_unit=unit)
    if message is None:
        read(roles, rows)  # dates need no unit: they may stand beside a time in numbers
        return
    with pytest.raises(UserError, match=message) as error:
        read(roles, rows)
    assert "\n" not in str(error.value)


EVENT = np.arange(100, dtype=np.int64) * DAY


@given(share=st.floats(0.001, 0.999), seed=st.integers(0, 1000), ties=st.integers(1, 30))
def test_about_a_share_of_the_rows_is_from_the_cutoff_on(share, seed, ties):
    event = np.random.default_rng(seed).permutation(100) // ties * DAY
    cutoff = parse_cutoff(str(share), event)
    assert cutoff in event
    assert abs((event >= cutoff).mean() - share) <= 0.01 + ties / 100


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2020-01-01", "2020-01-01"),
        ("2020-01-01T12:30", "2020-01-01T12:30"),
        ("2020-01-01 02:00+02:00", "2020-01-01"),
        ("9999-12-31", "9999-12-31"),
    ],
)
def test_a_date_is_a_moment_in_utc(value, expected):
    assert parse_cutoff(value, EVENT) == np.datetime64(expected, "ms").astype(np.int64)


@pytest.mark.parametrize("value", ["yesterday", "now", "NaT", "", "2020-13-01", "99999-01-01"])
def test_what_is_no_date_is_one_line(value):
    with pytest.raises(UserError, match=r"cutoff: .* is not a date; write it as 2021-06-01, or"):
        parse_cutoff(value, EVENT)


@pytest.mark.parametrize("value", ["0", "1", "-0.2", "7", "2021", "nan", "inf"])
def test_what_is_no_share_is_one_line(value):
    with pytest.raises(UserError, match=r"cutoff: .*; give a date, such as 2021-06-01, or a share"):
        parse_cutoff(value, EVENT)


def test_before_the_cutoff_two_classes_must_be_known_and_after_it_rows_must_come():
    days, late = list(range(20)), [*range(10), *range(110, 120)]
    rows = {"time": dates(*days), "label": [*"ab" * 5, *"ab" * 5], "decided": dates(*late)}
    found = read(ROLES, rows)
    assert found.cutoff("2020-01-05") == pd.Timestamp("2020-01-05").value // 10**6
    one = {**rows, "label": [*"a" * 10, *"b" * 10]}
    with pytest.raises(UserError, match=r"cutoff: 2020-01-19: before it labels of 1 class were kn"):
        read(ROLES, one).cutoff("2020-01-19")
    with pytest.raises(UserError, match=r"cutoff: 2019-01-01: before it labels of 0 classes were"):
        found.cutoff("2019-01-01")
    with pytest.raises(UserError, match=r"cutoff: 2030-01-01: no row is from then on; give an ear"):
        found.cutoff("2030-01-01")


def test_a_label_known_at_the_cutoff_itself_is_not_known_before_it():
    rows = {"time": dates(0, 1, 2), "label": ["a", "b", "a"]}
    with pytest.raises(UserError, match="labels of 1 class were known"):
        read(Roles("time", "label"), rows).cutoff("2020-01-02")
    read(Roles("time", "label"), rows).cutoff("2020-01-02T00:00:00.001")


def test_times_and_labels_of_all_rows_wait_in_files(bytes_per_row, monkeypatch, capsys):
    monkeypatch.setattr(guards, "MAX_DELAYS", 1000)
    roles = Roles("time", "label", "decided", "ms")

    def look(num_rows):
        def work():
            reader = TimelineReader(roles)
            for lo in range(0, num_rows, 2**16):
                row = np.arange(lo, min(lo + 2**16, num_rows))
                columns = {"time": row, "label": row % 5, "decided": row + 1000 * (row % 5)}
                reader.add(pa.record_batch({name: pa.array(of) for name, of in columns.items()}))
            timeline = reader.finish()
            cutoff = timeline.cutoff("0.4")
            show_labels(timeline, cutoff)
            delay_bias(timeline, cutoff)

        return work

    # One copy of times, to find the cutoff in.
    assert 7 < bytes_per_row(look) < 12
