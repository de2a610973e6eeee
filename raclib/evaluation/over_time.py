"""Scores of several methods over groups of examples: time bins, or before and after a change."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from raclib.metrics import SCORES, intervals, score


def compare(
    label: np.ndarray,
    group: np.ndarray,
    probabilities: Mapping[str, np.ndarray],
    num_bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """Every score of every method in every group.

    All methods are resampled with the same seed, so their intervals rest on the same examples.

    Args:
        label: 0 to C - 1, integers `[N]`.
        group: Group of each example, integers `[N]`.
        probabilities: For each method, the probabilities of the C classes, `[N, C]`.
        num_bootstrap: Bootstrap samples behind an interval.
        seed: Seed of the bootstrap.

    Returns:
        One row a (method, group, score): `value`, and `low` and `high`, its 95 % interval. NaN
        where a score is not defined, or not in every bootstrap sample.
    """
    rows = []
    for number in np.unique(group):
        chosen = group == number
        for method, probability in probabilities.items():
            values = score(label[chosen], probability[chosen])
            limits = intervals(label[chosen], probability[chosen], num_bootstrap, seed)
            rows += [
                (method, number, chosen.sum(), name, values[name], *limits[name]) for name in SCORES
            ]
    columns = ["method", "group", "num_examples", "score", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
