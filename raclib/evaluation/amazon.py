"""The comparison of the Amazon task: methods, time bins, before and after the rule change."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from raclib.evaluation.baselines import neighbour_vote, recent_share
from raclib.evaluation.over_time import compare
from raclib.evaluation.report import plot_over_time, print_table
from raclib.ingest.config import date_to_ms
from raclib.retrieval.keys import KeySet
from raclib.run.tracking import RunLogger
from raclib.tasks.amazon.labels import label_reviews
from raclib.tasks.amazon.task import AmazonTask

BEFORE, AFTER = 0, 1
TIME_AXIS = "time of the review (dashed: the labelling rule changes)"
PERIODS = {BEFORE: "before the rule change", AFTER: "after the rule change"}


@dataclass(frozen=True)
class Comparison:
    """What methods are worth on the test examples.

    Attributes:
        by_bin: Scores in time bins; see `compare`.
        by_period: Scores before and after the rule change.
        figure: Scores over time.
    """

    by_bin: pd.DataFrame
    by_period: pd.DataFrame
    figure: Figure


def baselines(task: AmazonTask) -> dict[str, np.ndarray]:
    """Probabilities of the two lines that learn nothing, `[N, 2]` each, for the test examples."""
    config, rows = task.config, task.splits.test
    time, label = read_labels(task)
    recent = recent_share(
        time, label, time[rows], task.num_classes, config.evaluate.num_recent_labels
    )
    keys = KeySet.load(task.corpus)
    votes = neighbour_vote(
        keys,
        label,
        keys.keys[torch.from_numpy(rows)],
        torch.from_numpy(time[rows]),
        task.num_classes,
        config.split.window,
        config.evaluate.num_neighbours,
    )
    return {"recent majority": recent, "nearest neighbours": votes}


def evaluate(task: AmazonTask, probabilities: Mapping[str, np.ndarray]) -> Comparison:
    """Compares the methods over time, and before and after the rule change."""
    config, splits = task.config, task.splits
    time, label = read_labels(task)
    cutoff = date_to_ms(config.rule.cutoff)
    test_label = label[splits.test]
    period = np.where(time[splits.test] < cutoff, BEFORE, AFTER)
    num_bootstrap = config.evaluate.num_bootstrap
    by_bin = compare(test_label, splits.test_bin, probabilities, num_bootstrap, config.seed)
    by_period = compare(test_label, period, probabilities, num_bootstrap, config.seed)
    middle = (splits.bin_edges[:-1] + splits.bin_edges[1:]) // 2
    figure = plot_over_time(
        by_bin, pd.to_datetime(middle, unit="ms"), pd.to_datetime(cutoff, unit="ms"), TIME_AXIS
    )
    return Comparison(by_bin, by_period, figure)


def read_labels(task: AmazonTask) -> tuple[np.ndarray, np.ndarray]:
    """Time and label of every row of the corpus."""
    time = task.corpus.read("time")
    return time, label_reviews(task.corpus.read("rating"), time, task.config.rule)


def report(comparison: Comparison, job: RunLogger, loggers: Mapping[str, RunLogger]) -> None:
    """Prints the tables and logs tables, figure and scores: one MLflow run a method."""
    job.log_figure(comparison.figure, "over_time")
    job.log_table(comparison.by_bin, "over_time")
    job.log_table(comparison.by_period, "before_and_after")
    for method, logger in loggers.items():
        for period, name in ((BEFORE, "before"), (AFTER, "after")):
            logger.log(_scores(comparison.by_period, method, period, name))
        for number in comparison.by_bin["group"].unique():
            logger.log(_scores(comparison.by_bin, method, number, "over_time"), int(number))
    print_table(comparison.by_period, PERIODS)


def _scores(table: pd.DataFrame, method: str, group: int, prefix: str) -> dict[str, float]:
    part = table[(table["method"] == method) & (table["group"] == group)]
    defined = part[["score", "value"]].dropna().values
    return {f"{prefix}/{name}": float(value) for name, value in defined}
