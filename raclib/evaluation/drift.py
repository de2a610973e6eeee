"""Methods over tables and seeds: scores after the cutoff in one table and one figure."""

from collections.abc import Collection, Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.box import SIMPLE
from rich.table import Table

from raclib.evaluation.comparison import AFTER, OURS
from raclib.evaluation.report import HEADINGS, print_rich, spread

SHOWN = ("log_loss", "accuracy", "balanced_at_prior", "auroc", "average_precision")
RELATIVE = "relative_log_loss"


def gather(
    tables: Mapping[tuple[str, int], pd.DataFrame], ours: Collection[str] = OURS
) -> pd.DataFrame:
    """Scores after the cutoff: a row a table, seed and method, a column a score.

    `RELATIVE` is the log-loss in units of that of the table's best rival, the one whose mean over
    seeds is least.

    Args:
        tables: For each table and seed what `over_time.compare` gives before and after the cutoff.
        ours: Methods that are no rivals.
    """
    parts = [
        found[found["group"] == AFTER]
        .pivot(index="method", columns="score", values="value")
        .reindex(found["method"].unique())
        .reset_index()
        .assign(table=table, seed=seed)
        for (table, seed), found in tables.items()
    ]
    scores = pd.concat(parts, ignore_index=True)
    parts = [_with_relative(part, ours) for _, part in scores.groupby("table", sort=False)]
    # A score that is defined nowhere was kept by no run.
    columns = ["table", "seed", "method", RELATIVE, *SHOWN]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)


def _with_relative(scores: pd.DataFrame, ours: Collection[str]) -> pd.DataFrame:
    """Scores of one table, and the log-loss in units of the best rival's of the same seed."""
    by_seed = scores.pivot(index="seed", columns="method", values="log_loss")
    best = by_seed.drop(columns=list(ours), errors="ignore").mean().idxmin()
    return scores.assign(**{RELATIVE: scores["log_loss"] / scores["seed"].map(by_seed[best])})


def means(scores: pd.DataFrame) -> dict[str, float]:
    """Mean of every score over seeds, `<table>/<method>/<score>`, as MLflow can name them."""
    found = scores.groupby(["table", "method"])[[RELATIVE, *SHOWN]].mean().stack()
    names = ["/".join(key).replace(",", "").replace("+", "and") for key in found.index]
    return {name: float(value) for name, value in zip(names, found, strict=True) if value == value}


def print_summary(scores: pd.DataFrame) -> None:
    """Prints mean, lowest and highest of each score over seeds: a section a table."""
    num_seeds = scores["seed"].nunique()
    shown = Table(
        "", "", "log-loss / best rival's", *(HEADINGS[name] for name in SHOWN), box=SIMPLE
    )
    shown.title = f"after the cutoff: mean (lowest-highest) of {num_seeds} seeds"
    for table, part in scores.groupby("table", sort=False):
        for place, (method, mine) in enumerate(part.groupby("method", sort=False)):
            cells = (_cell(mine[name]) for name in (RELATIVE, *SHOWN))
            shown.add_row("" if place else str(table), str(method), *cells)
        shown.add_section()
    print_rich(shown)


def _cell(values: pd.Series) -> str:
    return spread(values).replace(" ", "\n") if values.notna().any() else ""


def plot(scores: pd.DataFrame) -> Figure:
    """Log-loss in units of the best rival's, mean and range over seeds: a series a method."""
    tables, methods = scores["table"].unique(), scores["method"].unique()
    figure = Figure(figsize=(8, 1.5 + 0.8 * len(tables)), layout="constrained")
    axis = figure.subplots()
    found = scores.groupby(["method", "table"])[RELATIVE].agg(["mean", "min", "max"])
    for number, method in enumerate(methods):
        mine = found.loc[method].reindex(tables)
        height = np.arange(len(tables)) + 0.6 * (number / max(1, len(methods) - 1) - 0.5)
        reach = np.abs(mine[["min", "max"]].to_numpy().T - mine["mean"].to_numpy())
        marker = "D" if method in OURS else "o"
        axis.errorbar(mine["mean"], height, xerr=reach, fmt=marker, label=str(method))
    axis.axvline(1, color="black", linestyle="--", linewidth=1)
    axis.set(xscale="log", xlabel="log-loss after the cutoff, in units of the best rival's")
    axis.set_yticks(range(len(tables)), list(tables))
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    axis.xaxis.set_minor_formatter(matplotlib.ticker.ScalarFormatter())
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
