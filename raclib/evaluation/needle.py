"""What the runs of the needle task show: curves, where they end, how long they explore."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from scipy.stats import linregress

from raclib.evaluation.report import spread
from raclib.run.terminal import print_rich
from raclib.run.tracking import RunLogger

CURVES = {
    "loss": "classification loss",
    "selection/cross_entropy": "selection cross-entropy",
    "selection/entropy": "selection entropy",
}
HITS = "selection/hit_share"
FOUND_LOSS, FOUND_HITS = 0.05, 0.99  # a run that ends beyond both has found its needles
CHANCE = math.log(2)
EXPLORING = 0.9 * CHANCE  # the classification loss of a run that still explores is above it
SMOOTH = 5  # logged points averaged before a curve is compared with a threshold


class LinearFit(NamedTuple):
    """Least squares of exploration length on history size."""

    slope: float
    intercept: float
    r_squared: float
    slope_error: float


def read_curves(loggers: Mapping[tuple[int, int], RunLogger]) -> pd.DataFrame:
    """The curves of runs by (history size, seed): one row a run and logged step."""
    parts = [
        pd.DataFrame({name: logger.curve(name) for name in (*CURVES, HITS)})
        .reset_index()
        .assign(history_size=size, seed=seed)
        for (size, seed), logger in loggers.items()
    ]
    return pd.concat(parts, ignore_index=True)


def summarize(curves: pd.DataFrame) -> pd.DataFrame:
    """One row a run: `loss` and `hit_share` at the end, `found`, and `exploration`, the first step
    after which the loss stays below 90 % of chance (NaN where it never does)."""
    rows = []
    for (size, seed), run in curves.groupby(["history_size", "seed"]):
        smooth = run.set_index("step")[["loss", HITS]].rolling(SMOOTH, min_periods=1).mean()
        loss, hits = smooth.iloc[-1]
        above = smooth.index[smooth["loss"] >= EXPLORING]
        after = smooth.index[smooth.index > (above[-1] if len(above) else 0)]
        exploration = after[0] if len(after) else np.nan
        found = loss < FOUND_LOSS and hits > FOUND_HITS
        rows.append((size, seed, loss, hits, found, exploration))
    columns = ["history_size", "seed", "loss", "hit_share", "found", "exploration"]
    return pd.DataFrame(rows, columns=columns)


def fit_exploration(runs: pd.DataFrame) -> LinearFit | None:
    """Line through the exploration lengths of the runs that ended theirs; None for one size."""
    ended = runs.dropna(subset="exploration")
    if ended["history_size"].nunique() < 2:
        return None
    line = linregress(ended["history_size"], ended["exploration"])
    return LinearFit(line.slope, line.intercept, line.rvalue**2, line.stderr)


def print_runs(runs: pd.DataFrame) -> None:
    """Prints one line a history size: mean and range over seeds."""
    table = Table("rows", "loss at the end", "right row drawn", "found", "exploration, steps")
    for size, part in runs.groupby("history_size"):
        explored = part["exploration"].dropna()
        steps = f"{explored.min():.0f}-{explored.max():.0f}" if len(explored) else "not ended"
        cells = [spread(part["loss"]), spread(part["hit_share"])]
        table.add_row(str(size), *cells, f"{part['found'].sum()} of {len(part)}", steps)
    print_rich(table)


def plot_curves(curves: pd.DataFrame) -> Figure:
    """Losses and entropy of the draw over training: mean over seeds, a line a history size."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    axes = figure.subplots(1, len(CURVES))
    sizes = sorted(curves["history_size"].unique())
    for axis, (name, title) in zip(axes, CURVES.items(), strict=True):
        for size, colour in zip(sizes, _colours(len(sizes)), strict=True):
            lines = curves[curves["history_size"] == size].pivot_table(
                index="step", columns="seed", values=name
            )
            smooth = lines.rolling(SMOOTH, min_periods=1).mean()
            axis.plot(smooth.index, smooth.mean(axis=1), color=colour, label=str(size))
            axis.fill_between(
                smooth.index, smooth.min(axis=1), smooth.max(axis=1), color=colour, alpha=0.15
            )
        axis.set(title=title, xlabel="step", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend(title="rows", fontsize="small", ncols=2)
    return figure


def plot_exploration(runs: pd.DataFrame, line: LinearFit | None) -> Figure:
    """Exploration length against history size, and the line through it."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis: Axes = figure.subplots()
    axis.scatter(runs["history_size"], runs["exploration"], alpha=0.7, label="a run")
    if line is not None:
        ends = np.array([0, runs["history_size"].max()])
        label = f"{line.intercept:.0f} + {line.slope:.2f} K, R² {line.r_squared:.2f}"
        axis.plot(ends, line.intercept + line.slope * ends, color="black", label=label)
    axis.set(xlabel="rows in an example's history (K)", ylabel="steps of exploration")
    axis.legend()
    axis.grid(alpha=0.3)
    return figure


def _colours(count: int) -> np.ndarray:
    return matplotlib.colormaps["viridis"](np.linspace(0, 0.9, count))
