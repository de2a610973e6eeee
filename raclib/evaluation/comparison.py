"""The comparison of methods on a corpus: time bins, before and after the cutoff."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from raclib.evaluation.baselines import neighbour_vote, recent_share
from raclib.evaluation.over_time import compare
from raclib.evaluation.report import plot_over_time, print_table
from raclib.retrieval.keys import KeySet
from raclib.run.tracking import RunLogger
from raclib.tasks.table.corpus_task import CorpusTask

BEFORE, AFTER = 0, 1


@dataclass(frozen=True)
class Wording:
    """What people are told.

    Attributes:
        before, after: Names of the two periods.
        time: What the time of a figure is, and what its dashed line.
        has_dates: Whether times are dates, not the order of rows.
    """

    before: str
    after: str
    time: str
    has_dates: bool = True


REVIEWS = Wording(
    "before the rule change",
    "after the rule change",
    "time of the review (dashed: the labelling rule changes)",
)


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


def baselines(task: CorpusTask) -> dict[str, np.ndarray]:
    """Probabilities of the two lines that learn nothing, `[N, C]` each, for the test examples."""
    config, rows = task.config, task.splits.test
    label, event = task.read_labels(), task.read_event_times()[rows]
    known = task.corpus.read("time")
    recent = recent_share(known, label, event, task.num_classes, config.evaluate.num_recent_labels)
    keys = KeySet.load(task.corpus)
    votes = neighbour_vote(
        keys,
        label,
        keys.keys[torch.from_numpy(rows)],
        torch.from_numpy(event),
        task.num_classes,
        config.split.window,
        config.evaluate.num_neighbours,
    )
    return {"recent majority": recent, "nearest neighbours": votes}


def evaluate(
    task: CorpusTask, probabilities: Mapping[str, np.ndarray], wording: Wording
) -> Comparison:
    """Compares the methods over time, and before and after the cutoff."""
    config, splits = task.config, task.splits
    test_label = task.read_labels()[splits.test]
    period = np.where(task.read_event_times()[splits.test] < task.cutoff, BEFORE, AFTER)
    num_bootstrap = config.evaluate.num_bootstrap
    by_bin = compare(test_label, splits.test_bin, probabilities, num_bootstrap, config.seed)
    by_period = compare(test_label, period, probabilities, num_bootstrap, config.seed)
    middle = (splits.bin_edges[:-1] + splits.bin_edges[1:]) // 2
    if wording.has_dates:
        times, cutoff = pd.to_datetime(middle, unit="ms"), pd.to_datetime(task.cutoff, unit="ms")
        figure = plot_over_time(by_bin, times, cutoff, wording.time)
    else:
        figure = plot_over_time(by_bin, middle, task.cutoff, wording.time)
    return Comparison(by_bin, by_period, figure)


def report(
    comparison: Comparison, job: RunLogger, loggers: Mapping[str, RunLogger], wording: Wording
) -> None:
    """Prints the tables and logs tables, figure and scores: one MLflow run a method."""
    job.log_figure(comparison.figure, "over_time")
    job.log_table(comparison.by_bin, "over_time")
    job.log_table(comparison.by_period, "before_and_after")
    for method, logger in loggers.items():
        for period, name in ((BEFORE, "before"), (AFTER, "after")):
            logger.log(_scores(comparison.by_period, method, period, name))
        for number in comparison.by_bin["group"].unique():
            logger.log(_scores(comparison.by_bin, method, number, "over_time"), int(number))
    print_table(comparison.by_period, {BEFORE: wording.before, AFTER: wording.after})


def _scores(table: pd.DataFrame, method: str, group: int, prefix: str) -> dict[str, float]:
    part = table[(table["method"] == method) & (table["group"] == group)]
    defined = part[["score", "value"]].dropna().values
    return {f"{prefix}/{name}": float(value) for name, value in defined}
