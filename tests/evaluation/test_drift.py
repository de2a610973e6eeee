"""The bench over tables and seeds, from scores that are known."""

import numpy as np
import pandas as pd
import pytest

from raclib.evaluation.comparison import AFTER, BEFORE
from raclib.evaluation.drift import RELATIVE, gather, means, plot, print_summary
from raclib.evaluation.over_time import COLUMNS

METHODS = ("recent rates", "refit, recent rows", "refit + retrieval")
LOSSES = {("a", 0): (0.6, 0.4, 0.2), ("a", 1): (0.3, 0.4, 0.3), ("b", 0): (1.0, 2.0, 3.0)}


def table(losses) -> pd.DataFrame:
    rows = []
    for group, factor in ((BEFORE, 9.0), (AFTER, 1.0)):
        for method, loss in zip(METHODS, losses, strict=True):
            for name, value in (("log_loss", loss * factor), ("accuracy", 0.5), ("auroc", np.nan)):
                rows.append((method, group, 10, name, value, value, value))
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def scores():
    return gather({key: table(losses) for key, losses in LOSSES.items()})


def test_log_loss_is_relative_to_the_rival_that_is_best_over_seeds(scores):
    assert scores["method"].tolist() == list(METHODS) * 3
    found = scores.set_index(["table", "seed", "method"])[RELATIVE]
    # Of table a the second is best by 0.4 to 0.45; ours, though better, is no rival.
    assert found["a", 0].tolist() == pytest.approx([1.5, 1, 0.5])
    assert found["a", 1].tolist() == pytest.approx([0.75, 1, 0.75])
    assert found["b", 0].tolist() == pytest.approx([1, 2, 3])


def test_means_have_names_that_mlflow_takes(scores):
    found = means(scores)
    assert found["a/refit recent rows/log_loss"] == pytest.approx(0.4)
    assert found[f"a/refit and retrieval/{RELATIVE}"] == pytest.approx(0.625)
    assert "a/recent rates/auroc" not in found


def test_the_table_has_a_section_a_table_and_ranges_over_seeds(scores, capsys):
    print_summary(scores)
    text = capsys.readouterr().out
    assert "of 2 seeds" in text
    assert "(0.300-0.600)" in text
    assert "nan" not in text
    assert text.count("recent rates") == 2


def test_the_figure_has_a_series_a_method(scores):
    figure = plot(scores)
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == list(METHODS)
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b"]
    figure.draw_without_rendering()
