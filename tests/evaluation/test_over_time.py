"""Tables and figures hold what was measured."""

import numpy as np
import pandas as pd
import pytest

from raclib.evaluation.over_time import compare
from raclib.evaluation.report import plot_over_time, print_spread, print_table
from raclib.metrics import SCORES, score


@pytest.fixture(scope="module")
def comparison():
    rng = np.random.default_rng(0)
    label, group = rng.integers(0, 2, 300), np.repeat([0, 2], 150)
    good = np.clip(label * 0.6 + rng.random(300) * 0.4, 0, 1)
    return compare(label, group, {"good": good, "coin": rng.random(300)}, 50, 0), label, group, good


def test_every_method_is_scored_in_every_group(comparison):
    table, label, group, good = comparison
    assert len(table) == 2 * 2 * len(SCORES)
    expected = score(label[group == 2], good[group == 2])
    mine = table[(table["method"] == "good") & (table["group"] == 2)].set_index("score")
    for name in SCORES:
        assert mine.loc[name, "value"] == pytest.approx(float(expected[name]))
        assert mine.loc[name, "low"] <= mine.loc[name, "value"] <= mine.loc[name, "high"]
    assert (table["num_examples"] == 150).all()


def test_the_table_shows_values_and_half_widths(comparison, capsys):
    print_table(comparison[0], {0: "before", 1: "nothing here", 2: "after"})
    text = capsys.readouterr().out
    row = comparison[0].set_index(["method", "group", "score"]).loc[("good", 2, "log_loss")]
    assert f"{row['value']:.3f} ± {(row['high'] - row['low']) / 2:.3f}" in text
    assert "before (150 test examples" in text
    assert "nothing here" not in text


def test_the_spread_shows_mean_lowest_and_highest(capsys):
    scores = pd.DataFrame({"method": ["a", "a", "b"], **{name: [0.2, 0.4, 0.9] for name in SCORES}})
    print_spread(scores, "three runs")
    text = capsys.readouterr().out
    assert "0.300 (0.200-0.400)" in text
    assert "0.900 (0.900-0.900)" in text


def test_the_figure_has_a_line_a_method_and_marks_the_cutoff(comparison):
    times = pd.to_datetime(["2014-01-01", "2015-01-01", "2016-01-01"])
    figure = plot_over_time(comparison[0], times, pd.Timestamp("2015-06-01"))
    assert len(figure.axes) == 3
    for axis in figure.axes:
        # A line a method, and the dashed one.
        assert len(axis.lines) == 3
