"""The comparison as a table for the terminal and as a figure."""

from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.box import SIMPLE
from rich.table import Table

from raclib.evaluation.over_time import GAP
from raclib.run.terminal import print_rich

HEADINGS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "balanced_at_prior": "at the prior",
    "auroc": "AUROC",
    "average_precision": "avg precision",
    "log_loss": "log-loss",
    "calibration_error": "calibration",
    GAP: "to best rival",
}
LOWER_IS_BETTER = {"log_loss", "calibration_error", GAP}


def print_table(comparison: pd.DataFrame, titles: dict[int, str]) -> None:
    """Prints one table a group: methods down, scores with 95 % intervals across, the best bold.

    A score that is NaN throughout the comparison has no column.
    """
    defined = set(comparison.loc[comparison["value"].notna(), "score"])
    names = [name for name in HEADINGS if name in defined]
    for group, title in titles.items():
        part = comparison[comparison["group"] == group]
        if part.empty:
            continue
        num_examples = part["num_examples"].iloc[0]
        table = _table(names)
        table.title = f"{title} ({num_examples} test examples; half-width of the 95 % interval)"
        for method in part["method"].unique():
            mine = part[part["method"] == method].set_index("score")
            table.add_row(method, *(_cell(mine.loc[name], part, name) for name in names))
        print_rich(table)


def print_spread(scores: pd.DataFrame, title: str) -> None:
    """Prints mean, lowest and highest score of several runs.

    Args:
        scores: One row a run, with its `method` and a column for each name of `HEADINGS`; one that
            is NaN throughout is left out.
        title: Heading of the table.
    """
    names = [name for name in HEADINGS if scores[name].notna().any()]
    table = _table(names)
    table.title = title
    for method, part in scores.groupby("method", sort=False):
        # In two lines: six scores with their ranges are wider than most terminals.
        cells = (spread(part[name]).replace(" ", "\n") for name in names)
        table.add_row(str(method), *cells)
    print_rich(table)


def _table(names: Sequence[str]) -> Table:
    return Table("", *(HEADINGS[name] for name in names), box=SIMPLE)


def spread(values: pd.Series) -> str:
    """Mean, lowest and highest of some runs, for a cell of a table."""
    return f"{values.mean():.3f} ({values.min():.3f}-{values.max():.3f})"


def _cell(row: pd.Series, part: pd.DataFrame, name: str) -> str:
    values = part.loc[part["score"] == name, "value"]
    best = values.min() if name in LOWER_IS_BETTER else values.max()
    text = f"{row['value']:.3f} ± {(row['high'] - row['low']) / 2:.3f}"
    return f"[bold]{text}[/bold]" if row["value"] == best else text


def plot_over_time(
    comparison: pd.DataFrame,
    times: pd.DatetimeIndex | np.ndarray,
    cutoff: pd.Timestamp | float,
    xlabel: str,
    scores: Sequence[str] = ("accuracy", "balanced_accuracy", "log_loss"),
) -> Figure:
    """Scores against time with 95 % bands, the cutoff marked.

    Args:
        comparison: As made by `compare`, with time bins as groups.
        times: Middle of every bin: days, or numbers where times are, for example, of rows.
        cutoff: Where the dashed line is.
        xlabel: What times are, and what the dashed line marks.
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
    axes[-1].set_xlabel(xlabel)
    if not isinstance(times, pd.DatetimeIndex):
        axes[-1].xaxis.set_major_formatter("{x:,.0f}")
    figure.tight_layout()
    return figure
