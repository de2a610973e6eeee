"""Warnings of biased labels and of columns that give the label away, and their silence."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raclib.ingest.columns import Column
from raclib.ingest.guards import delay_bias, given_away
from raclib.ingest.labels import ClassIndex
from raclib.ingest.timeline import Timeline

DAY = 86_400_000
NUM = 4000
CUTOFF = 200 * DAY


def timeline(delay_days, seed=0) -> Timeline:
    """Rows over 300 days, a third of them fraud, whose labels take that long by class."""
    rng = np.random.default_rng(seed)
    event = rng.integers(0, 300 * DAY, NUM)
    label = (rng.random(NUM) < 1 / 3).astype(np.int16)
    delay = np.array(delay_days)[label] * DAY
    known = event + delay.astype(np.int64)
    return Timeline(event, known, label, ClassIndex(("fine", "fraud")), {}, 0)


def test_a_class_that_is_known_first_is_named_with_both_shares_and_the_cure():
    said = delay_bias(timeline([30, 1]), CUTOFF)
    assert said.startswith("label_time: labels 'fraud' are known 1.0 days after the row (median), ")
    assert "'fine' after 30." in said
    # All the frauds of a month are known, and the other labels only of its first day or two.
    assert "of the labels known by then are 'fraud', 33% of those known" in said.replace(
        "34%", "33%"
    )
    assert said.endswith("the time at which either outcome would be known, unless this is it")
    assert "\n" not in said


def test_the_other_way_round_too():
    assert "labels 'fine' are known 2.0 hours after" in delay_bias(timeline([1 / 12, 20]), CUTOFF)


@pytest.mark.parametrize("delay_days", [[0, 0], [10, 10], [10, 15], [0, 0.01]])
def test_delays_that_are_alike_or_short_are_no_bias(delay_days):
    assert delay_bias(timeline(delay_days), CUTOFF) is None


def test_labels_that_were_not_known_at_the_cutoff_are_not_looked_at():
    table = timeline([30, 1])
    other = table.label.copy()
    late = table.known >= CUTOFF
    other[late] = np.random.default_rng(1).integers(0, 2, late.sum())
    event, known = (
        np.where(late, CUTOFF - 40 * DAY, table.event),
        np.where(late, CUTOFF, table.known),
    )
    garbled = Timeline(event, known, other, table.classes, {}, 0)
    assert delay_bias(garbled, CUTOFF) == delay_bias(table, CUTOFF)


def test_few_labels_say_nothing():
    table = timeline([30, 1])
    few = Timeline(
        *(part[:60] for part in (table.event, table.known, table.label)), table.classes, {}, 0
    )
    assert delay_bias(few, CUTOFF) is None
    assert delay_bias(table, 0) is None


def find(role, values, label):
    sample = pa.table({"x": pa.array(values)})
    return given_away([Column("x", role, "")], sample, np.asarray(label, np.int64))


RNG = np.random.default_rng(0)
TWO = (RNG.random(NUM) < 0.3).astype(np.int64)
RARE = (RNG.random(NUM) < 0.008).astype(np.int64)
MANY = RNG.choice(5, NUM, p=[0.6, 0.2, 0.1, 0.08, 0.02])
RARE_MANY = RNG.choice(3, NUM, p=[0.992, 0.004, 0.004])
NOISE = RNG.normal(size=NUM)


@pytest.mark.parametrize("label", [TWO, RARE, MANY], ids=["two", "rare", "many"])
@pytest.mark.parametrize(
    ("role", "make"),
    [
        ("numeric", lambda label: label),
        ("numeric", lambda label: np.where(RNG.random(NUM) < 0.001, -1, label)),
        ("categorical", lambda label: [f"state {value}" for value in label]),
        ("entity", lambda label: [f"{value}-{number % 4}" for number, value in enumerate(label)]),
        ("categorical", lambda label: [str(value) if value else None for value in label]),
    ],
    ids=["copy", "near copy", "category", "id", "missing tells"],
)
def test_a_column_that_is_the_label_is_found(label, role, make):
    (how,) = find(role, make(label), label).values()
    assert "alone it" in how


@pytest.mark.parametrize("label", [TWO, RARE, MANY, RARE_MANY], ids=["two", "rare", "many", "3"])
def test_columns_that_say_nothing_are_not(label):
    rng = np.random.default_rng(7)
    for _ in range(10):
        assert not find("numeric", rng.normal(size=NUM), label)
        assert not find("numeric", rng.integers(0, 3, NUM), label)
        assert not find("categorical", rng.integers(0, 50, NUM).astype(str), label)
        assert not find("entity", rng.integers(0, 3000, NUM), label)
        assert not find("numeric", np.where(rng.random(NUM) < 0.9, np.nan, NOISE), label)


def test_numbers_beyond_those_of_32_bits_are_no_error():
    assert not find("numeric", 1e300 * NOISE, TWO)
    assert not find("numeric", np.where(NOISE > 0, np.nan, 1e40), TWO)


def test_strong_columns_are_not():
    assert not find("numeric", TWO + 0.4 * NOISE, TWO), "an AUROC of 0.96"
    assert not find("categorical", np.where(RNG.random(NUM) < 0.7, TWO, 2).astype(str), TWO)
    right = np.where(RNG.random(NUM) < 0.97, MANY, 0)
    assert not find("categorical", right.astype(str), MANY)


def test_texts_scores_and_short_tables_are_not_looked_at():
    sample = pa.table({"x": pa.array(TWO)})
    assert not given_away([Column("x", "score", "")], sample, TWO)
    assert not find("numeric", TWO[:40], TWO[:40])


def test_one_class_alone_cannot_be_given_away():
    assert not find("numeric", NOISE, np.zeros(NUM, np.int64))


def test_ids_that_never_come_twice_say_nothing():
    label = pd.Series(TWO).sort_values().to_numpy()
    assert not find("entity", np.arange(NUM), label)
