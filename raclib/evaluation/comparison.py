"""The comparison of methods on a corpus: time bins, before and after the cutoff."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from raclib.evaluation.ours import OURS
from raclib.evaluation.over_time import compare, gaps
from raclib.evaluation.report import plot_over_time, print_table
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


def evaluate(
    task: CorpusTask,
    probabilities: Mapping[str, np.ndarray],
    wording: Wording,
    ours: Collection[str] = OURS,
) -> Comparison:
    """Compares the methods over time, and before and after the cutoff.

    Args:
        task: The test examples.
        probabilities: For each method, `[N, C]`; shown in this order.
        wording: What people are told.
        ours: Methods that are no rivals.
    """
    config, splits = task.config, task.splits
    prior_C = known_rates(task.read_labels()[: task.num_before], task.num_classes)
    found = task.read_rows(splits.test, (task.event,))
    test_label, event = found["label"], found[task.event]
    period = np.where(event < task.cutoff, BEFORE, AFTER)
    sampling = config.evaluate.num_bootstrap, config.seed
    by_bin = compare(test_label, splits.test_bin, probabilities, *sampling, prior_C)
    rivals = [name for name in probabilities if name not in ours]
    by_period = pd.concat(
        [
            compare(test_label, period, probabilities, *sampling, prior_C),
            gaps(test_label, period, probabilities, rivals, *sampling),
        ]
    )
    middle = (splits.bin_edges[:-1] + splits.bin_edges[1:]) // 2
    if wording.has_dates:
        times, cutoff = pd.to_datetime(middle, unit="ms"), pd.to_datetime(task.cutoff, unit="ms")
        figure = plot_over_time(by_bin, times, cutoff, wording.time)
    else:
        figure = plot_over_time(by_bin, middle, task.cutoff, wording.time)
    return Comparison(by_bin, by_period, figure)


def known_rates(label: np.ndarray, num_classes: int) -> np.ndarray:
    """Rates of the classes among labels, `[C]`; a class without one counts as a mean class."""
    count_C = np.bincount(label[label >= 0], minlength=num_classes)
    return np.where(count_C > 0, count_C / count_C.sum(), 1 / num_classes)


def report(
    comparison: Comparison,
    chosen: Mapping[str, int],
    job: RunLogger,
    loggers: Mapping[str, RunLogger],
    wording: Wording,
) -> None:
    """Prints the tables and logs tables, figure and scores: one MLflow run a method.

    Args:
        comparison: What methods are worth.
        chosen: What was chosen for simple lines before the cutoff.
        job: The run around them.
        loggers: The run of each method.
        wording: What people are told.
    """
    job.log({f"chosen/{name}": value for name, value in chosen.items()})
    job.log_figure(comparison.figure, "over_time")
    job.log_table(comparison.by_bin, "over_time")
    job.log_table(comparison.by_period, "before_and_after")
    for method, logger in loggers.items():
        for period, name in ((BEFORE, "before"), (AFTER, "after")):
            logger.log(_scores(comparison.by_period, method, period, name))
        numbers = comparison.by_bin["group"].unique().tolist()
        logger.log_steps({n: _scores(comparison.by_bin, method, n, "over_time") for n in numbers})
    print_table(comparison.by_period, {BEFORE: wording.before, AFTER: wording.after})
    said = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in chosen.items())
    print(f"chosen before the cutoff: {said}")


def _scores(table: pd.DataFrame, method: str, group: int, prefix: str) -> dict[str, float]:
    part = table[(table["method"] == method) & (table["group"] == group)]
    defined = part[["score", "value"]].dropna().values
    return {f"{prefix}/{name}": float(value) for name, value in defined}
