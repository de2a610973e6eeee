"""Scores of several methods over groups of examples: time bins, or before and after a change."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from raclib.metrics import SCORES, intervals, log_losses, score

GAP = "log_loss_gap"
COLUMNS = ["method", "group", "num_examples", "score", "value", "low", "high"]


def compare(
    label: np.ndarray,
    group: np.ndarray,
    probabilities: Mapping[str, np.ndarray],
    num_bootstrap: int,
    seed: int,
    prior_C: np.ndarray | None = None,
) -> pd.DataFrame:
    """Every score of every method in every group.

    All methods are resampled with the same seed, so their intervals rest on the same examples.

    Args:
        label: 0 to C - 1, integers `[N]`.
        group: Group of each example, integers `[N]`.
        probabilities: For each method, the probabilities of the C classes, `[N, C]`.
        num_bootstrap: Bootstrap samples behind an interval.
        seed: Seed of the bootstrap.
        prior_C: Rates of the classes; see `metrics.score`.

    Returns:
        One row a (method, group, score): `value`, and `low` and `high`, its 95 % interval. NaN
        where a score is not defined, or not in every bootstrap sample.
    """
    rows = []
    for number in np.unique(group):
        chosen = group == number
        for method, probability in probabilities.items():
            values = score(label[chosen], probability[chosen], prior_C)
            limits = intervals(label[chosen], probability[chosen], num_bootstrap, seed, prior_C)
            rows += [
                (method, number, chosen.sum(), name, values[name], *limits[name]) for name in SCORES
            ]
    return pd.DataFrame(rows, columns=COLUMNS)


def gaps(
    label: np.ndarray,
    group: np.ndarray,
    probabilities: Mapping[str, np.ndarray],
    rivals: Collection[str],
    num_bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """Log-loss of every method less that of the best rival of its group, below 0 where it wins.

    The best rival is the one of least log-loss in the group, chosen by hindsight, which favours
    it. Examples are resampled in pairs: what is hard for both widens no interval.

    Args:
        label, group, probabilities, num_bootstrap, seed: As for `compare`.
        rivals: Methods among which the best is looked for; at least one.

    Returns:
        As `compare` does, of the one score `GAP`.
    """
    rows = []
    for number in np.unique(group):
        chosen = group == number
        losses = {
            name: log_losses(label[chosen], probability[chosen])
            for name, probability in probabilities.items()
        }
        best = min((losses[name] for name in rivals), key=np.mean)
        for method, loss in losses.items():
            limits = _mean_interval(loss - best, num_bootstrap, seed)
            value = (loss - best).mean()
            rows.append((method, number, chosen.sum(), GAP, value, *limits))
    return pd.DataFrame(rows, columns=COLUMNS)


def _mean_interval(values_N: np.ndarray, num_samples: int, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a mean."""
    rng = np.random.default_rng(seed)
    means = [
        values_N[rng.integers(0, len(values_N), len(values_N))].mean() for _ in range(num_samples)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
