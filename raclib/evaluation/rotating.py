"""What the rotating task shows: accuracy over time, beside what is possible and what is simple."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.table import Table
from scipy.stats import norm
from torch.nn.functional import one_hot

from raclib.evaluation.report import spread
from raclib.metrics import score
from raclib.run.terminal import print_rich
from raclib.tasks.rotating.config import RotatingConfig
from raclib.tasks.rotating.task import RotatingTask, turn
from raclib.training.predict import Predictions
from raclib.training.task import parts

CPU = torch.device("cpu")
BAYES, FROZEN, RECENT = "best possible", "direction frozen", "mean of the most recent rows"


def over_time(method: str, seed: int, found: Predictions, num_bins: int) -> pd.DataFrame:
    """Scores of one run in equal time bins of the test, whose examples are in time order."""
    edges = np.linspace(0, len(found.label), num_bins + 1).astype(int)
    rows = [
        {"method": method, "seed": seed, "time": (number + 0.5) / num_bins}
        | score(found.label[low:high], found.probability[low:high])
        for number, (low, high) in enumerate(pairwise(edges))
    ]
    return pd.DataFrame(rows)


def lines(config: RotatingConfig) -> pd.DataFrame:
    """Accuracy over time of the Bayes classifier and of one that keeps the direction of
    `train_until`, both in closed form, a point a bin."""
    time = (np.arange(config.num_bins) + 0.5) / config.num_bins
    half = config.separation / 2
    turned = turn(torch.from_numpy(time)) - turn(torch.tensor(config.train_until))
    found = {BAYES: np.full(len(time), norm.cdf(half)), FROZEN: norm.cdf(half * turned.cos())}
    return pd.concat(
        pd.DataFrame({"method": method, "seed": -1, "time": time, "accuracy": accuracy})
        for method, accuracy in found.items()
    )


def recent_rule(task: RotatingTask) -> Predictions:
    """The side of the signed mean of the `num_recent` most recent rows on which an input lies."""
    found = list(_recent_parts(task))
    return Predictions(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _recent_parts(task: RotatingTask) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    dim, count = task.config.dim, task.config.num_recent
    for rows in parts(task, "test"):
        batch = task.load("test", rows, CPU)
        recent_BN1 = batch["times"].topk(count).indices.unsqueeze(-1)
        inputs_BND = batch["keys"][..., :dim].gather(1, recent_BN1.expand(-1, -1, dim))
        mean_BD = (inputs_BND * batch["sign"].gather(1, recent_BN1)).mean(1)
        side_B = (batch["x"][:, :dim] * mean_BD).sum(-1)
        yield one_hot((side_B > 0).long(), 2).float().numpy(), batch["label"].numpy()


def summarize(scores: pd.DataFrame, train_until: float) -> pd.DataFrame:
    """Mean accuracy of each run before and after the end of training, and in the last bin."""
    later = scores["time"] > train_until
    by_run = ["method", "seed"]
    return pd.DataFrame(
        {
            "before": scores[~later].groupby(by_run, sort=False)["accuracy"].mean(),
            "after": scores[later].groupby(by_run, sort=False)["accuracy"].mean(),
            "last": scores.groupby(by_run, sort=False)["accuracy"].last(),
        }
    ).reset_index()


def print_summary(summary: pd.DataFrame) -> None:
    """Prints one line a method: mean, lowest and highest accuracy over seeds."""
    table = Table("accuracy", "times trained on", "later times", "last bin")
    for method, part in summary.groupby("method", sort=False):
        cells = [spread(part[column]) for column in ("before", "after", "last")]
        table.add_row(str(method), *cells)
    print_rich(table)


def plot(scores: pd.DataFrame, train_until: float) -> Figure:
    """Accuracy against time: means over seeds with the range, lines for what needs no training."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    for method, part in scores.groupby("method", sort=False):
        line = part.pivot_table(index="time", columns="seed", values="accuracy")
        dashes = "--" if method in (BAYES, FROZEN, RECENT) else "-"
        axis.plot(line.index, line.mean(axis=1), label=str(method), linestyle=dashes)
        axis.fill_between(line.index, line.min(axis=1), line.max(axis=1), alpha=0.2)
    axis.axvline(train_until, color="black", linestyle=":", linewidth=1)
    axis.set(xlabel="time (dotted: training ends)", ylabel="accuracy", ylim=(0, 1))
    axis.legend(fontsize="small", loc="lower left")
    axis.grid(alpha=0.3)
    return figure
