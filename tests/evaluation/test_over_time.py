"""Tables and figures hold what was measured."""

import numpy as np
import pandas as pd
import pytest

from raclib.evaluation.over_time import GAP, compare, gaps
from raclib.evaluation.report import HEADINGS, plot_over_time, print_spread, print_table
from raclib.metrics import SCORES, score
from raclib.run.terminal import FILE_WIDTH

METHODS = ("nearest neighbours", "a coin")


def make(num_classes):
    rng = np.random.default_rng(0)
    label, group = rng.integers(0, num_classes, 300), np.repeat([0, 2], 150)
    noise = rng.dirichlet(np.ones(num_classes), (2, 300))
    good = noise[0] * (1 + 2 * np.eye(num_classes)[label])
    good /= good.sum(axis=1, keepdims=True)
    table = compare(label, group, dict(zip(METHODS, (good, noise[1]), strict=True)), 50, 0)
    return table, label, group, good


@pytest.fixture(scope="module", params=[2, 40])
def comparison(request):
    return make(request.param)


def test_every_method_is_scored_in_every_group(comparison):
    table, label, group, good = comparison
    assert len(table) == 2 * 2 * len(SCORES)
    expected = score(label[group == 2], good[group == 2])
    mine = table[(table["method"] == METHODS[0]) & (table["group"] == 2)].set_index("score")
    for name in SCORES:
        assert mine.loc[name, "value"] == pytest.approx(expected[name], nan_ok=True)
        if not np.isnan(expected[name]):
            assert mine.loc[name, "low"] < mine.loc[name, "high"]
    # The other scores of samples may all lie beside that of the whole: classes are missing in them.
    for name in ("accuracy", "log_loss"):
        assert mine.loc[name, "low"] <= mine.loc[name, "value"] <= mine.loc[name, "high"]
    assert (table["num_examples"] == 150).all()


def test_the_table_shows_values_and_half_widths(comparison, capsys):
    print_table(comparison[0], {0: "before", 1: "nothing here", 2: "after"})
    text = capsys.readouterr().out
    row = comparison[0].set_index(["method", "group", "score"]).loc[(METHODS[0], 2, "log_loss")]
    assert f"{row['value']:.3f} ± {(row['high'] - row['low']) / 2:.3f}" in text
    assert "before (150 test examples" in text
    assert "nothing here" not in text
    assert max(map(len, text.splitlines())) <= FILE_WIDTH


def test_average_precision_has_a_column_where_there_are_two_classes(capsys):
    assert tuple(HEADINGS) == (*SCORES, GAP)
    for num_classes in (2, 3):
        table, *_ = make(num_classes)
        print_table(table, {0: "before"})
        scores = table.pivot(index=["method", "group"], columns="score", values="value")
        print_spread(scores.reset_index().assign(**{GAP: np.nan}), "two runs")
        text = capsys.readouterr().out
        assert text.count("avg precision") == (2 if num_classes == 2 else 0)
        assert "nan" not in text


def test_the_spread_shows_mean_lowest_and_highest(capsys):
    names = ["nearest neighbours"] * 2 + ["b"]
    scores = pd.DataFrame({"method": names, **{name: [0.2, 0.4, 0.9] for name in HEADINGS}})
    print_spread(scores, "three runs")
    text = capsys.readouterr().out
    means, ranges = [line for line in text.splitlines() if "0.300" in line or "0.400)" in line]
    assert means.split()[2:] == ["0.300"] * len(HEADINGS)
    assert ranges.split() == ["(0.200-0.400)"] * len(HEADINGS)
    assert text.count("(0.900-0.900)") == len(HEADINGS)
    assert max(map(len, text.splitlines())) <= FILE_WIDTH


@pytest.mark.parametrize(
    ("times", "cutoff"),
    [
        (pd.to_datetime(["2014-01-01", "2015-01-01", "2016-01-01"]), pd.Timestamp("2015-06-01")),
        (np.array([1_000_000, 3_000_000, 5_000_000]), 2_500_000),
    ],
)
def test_the_figure_has_a_line_a_method_and_marks_the_cutoff(comparison, times, cutoff):
    figure = plot_over_time(comparison[0], times, cutoff, "when (dashed: the rule changes)")
    assert len(figure.axes) == 3
    for axis in figure.axes:
        # A line a method, and the dashed one.
        assert len(axis.lines) == 3
    last = figure.axes[-1]
    assert last.get_xlabel() == "when (dashed: the rule changes)"
    figure.draw_without_rendering()
    if isinstance(times, np.ndarray):
        labels = [label.get_text() for label in last.get_xticklabels()]
        assert "3,000,000" in labels


def test_gaps_are_those_to_the_best_rival_of_a_group():
    rng = np.random.default_rng(0)
    label, group = rng.integers(0, 3, 400), np.repeat([0, 1], 200)
    good, bad = rng.dirichlet(np.ones(3), (2, 400))
    good = 0.5 * good + 0.5 * np.eye(3)[label]
    in_first = (group == 0)[:, None]
    methods = {
        "rival, good first": np.where(in_first, good, bad),
        "rival, good second": np.where(in_first, bad, good),
        "the same as the best": good,
        "ours": 0.9 * np.eye(3)[label] + 0.1 / 3,
    }
    table = gaps(label, group, methods, list(methods)[:2], 200, 0)
    assert set(table["score"]) == {GAP}
    assert (table["num_examples"] == 200).all()
    found = table.set_index(["method", "group"])[["value", "low", "high"]]
    for group_number, best in enumerate(list(methods)[:2]):
        for name in (best, "the same as the best"):
            assert (found.loc[(name, group_number)] == 0).all(), "identical predictions are 0 +- 0"
        value, low, high = found.loc[("ours", group_number)]
        chosen = group == group_number
        losses = [
            score(label[chosen], methods[name][chosen])["log_loss"] for name in ("ours", best)
        ]
        assert value == pytest.approx(losses[0] - losses[1])
        assert low < value < high < 0
        assert found.loc[(list(methods)[1 - group_number], group_number), "low"] > 0


def test_pairs_are_resampled_together():
    """What is hard for both widens no interval."""
    rng = np.random.default_rng(0)
    label, group = np.zeros(400, np.int64), np.zeros(400, np.int64)
    hard = rng.uniform(0.01, 0.99, 400)
    one, other = (np.stack([p, 1 - p], axis=1) for p in (hard, hard * 0.99))
    table = gaps(label, group, {"one": one, "other": other}, ["one"], 200, 0)
    alone = compare(label, group, {"other": other}, 200, 0).set_index("score").loc["log_loss"]
    paired = table[table["method"] == "other"].iloc[0]
    assert paired["value"] == pytest.approx(-np.log(0.99))
    assert paired["high"] - paired["low"] < (alone["high"] - alone["low"]) / 100
