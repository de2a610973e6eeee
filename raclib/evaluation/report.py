"""The comparison as a table for the terminal and as a figure."""

import sys
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from raclib.metrics import SCORES

HEADINGS = ("accuracy", "balanced", "AUROC", "log-loss", "calibration")
FILE_WIDTH = 136
LOWER_IS_BETTER = {"log_loss", "calibration_error"}


def print_table(comparison: pd.DataFrame, titles: dict[int, str]) -> None:
    """Prints one table a group: methods down, scores with 95 % intervals across, the best bold."""
    for group, title in titles.items():
        part = comparison[comparison["group"] == group]
        if part.empty:
            continue
        num_examples = part["num_examples"].iloc[0]
        table = Table("", *HEADINGS, box=SIMPLE)
        table.title = f"{title} ({num_examples} test examples; half-width of the 95 % interval)"
        for method in part["method"].unique():
            mine = part[part["method"] == method].set_index("score")
            table.add_row(method, *(_cell(mine.loc[name], part, name) for name in SCORES))
        print_rich(table)


def print_spread(scores: pd.DataFrame, title: str) -> None:
    """Prints mean, lowest and highest score of several runs.

    Args:
        scores: One row a run, with its `method` and a column for each name of `SCORES`.
        title: Heading of the table.
    """
    table = Table("", *HEADINGS, title=title, box=SIMPLE)
    for method, part in scores.groupby("method", sort=False):
        table.add_row(str(method), *(spread(part[name]) for name in SCORES))
    print_rich(table)


def spread(values: pd.Series) -> str:
    """Mean, lowest and highest of some runs, for a cell of a table."""
    return f"{values.mean():.3f} ({values.min():.3f}-{values.max():.3f})"


def print_rich(table: Table) -> None:
    """Prints a table, wide enough for files where there is no terminal."""
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH).print(table)


def _cell(row: pd.Series, part: pd.DataFrame, name: str) -> str:
    values = part.loc[part["score"] == name, "value"]
    best = values.min() if name in LOWER_IS_BETTER else values.max()
    text = f"{row['value']:.3f} ± {(row['high'] - row['low']) / 2:.3f}"
    return f"[bold]{text}[/bold]" if row["value"] == best else text


def plot_over_time(
    comparison: pd.DataFrame,
    times: pd.DatetimeIndex,
    cutoff: pd.Timestamp,
    scores: Sequence[str] = ("accuracy", "balanced_accuracy", "log_loss"),
) -> Figure:
    """Scores against time with 95 % bands, the day of the rule change marked.

    Args:
        comparison: As made by `compare`, with time bins as groups.
        times: Middle of every bin.
        cutoff: Day to mark.
        scores: One panel each.
    """
    figure, axes = plt.subplots(len(scores), 1, figsize=(9, 3 * len(scores)), sharex=True)
    for axis, name in zip(axes, scores, strict=True):
        part = comparison[comparison["score"] == name]
        for method in part["method"].unique():
            mine = part[part["method"] == method]
            when = times[mine["group"]]
            axis.plot(when, mine["value"], label=method)
            axis.fill_between(when, mine["low"], mine["high"], alpha=0.2)
        axis.axvline(cutoff, color="black", linestyle="--", linewidth=1)
        axis.set_ylabel(name.replace("_", " "))
        axis.grid(alpha=0.3)
    axes[0].legend(ncols=2, fontsize="small")
    axes[-1].set_xlabel("time of the review (dashed: the labelling rule changes)")
    figure.tight_layout()
    return figure
