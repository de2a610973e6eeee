"""Warnings about tables whose labels are biased by when they are known, or given away."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from raclib.ingest.categories import to_strings
from raclib.ingest.columns import Column
from raclib.ingest.numbers import DAY_MS, to_numbers
from raclib.ingest.timeline import Timeline
from raclib.sampling import draw_part

GIVEN_AWAY = 0.99
MIN_ROWS = 50
MAX_DELAYS = 2**20  # rows whose delays are looked at; drawn at random where there are more
MIN_DELAY_RATIO = 2.0
MIN_SHARE_CHANGE = 0.05
NUM_FOLDS = 2
MAX_LEAVES = 64
MAX_NUMBER = 1e30


def delay_bias(timeline: Timeline, cutoff: int) -> str | None:
    """What is wrong with labels whose delay differs between classes; None if little.

    Of the rows just before a moment, those of the faster class are known first: a model fitted on
    what is known then takes that class for commoner than it is. The labels known at one moment are
    compared with those known a stretch later, at the cutoff, for the last rows before the moment,
    as many as the stretch has. Nine in ten labels take no longer than it.

    Args:
        timeline: Times and labels of all rows.
        cutoff: ms since 1970; a label that became known from then on is not looked at.
    """
    rows = draw_part(timeline.known < cutoff, MAX_DELAYS, np.random.default_rng(0))
    event, known, label = (part[rows] for part in (timeline.event, timeline.known, timeline.label))
    delay = known - event
    medians = pd.Series(delay).groupby(label).median()
    counts = pd.Series(label).value_counts()
    medians = medians[counts[medians.index] >= MIN_ROWS].sort_values()
    if len(medians) < 2 or medians.iloc[-1] < MIN_DELAY_RATIO * medians.iloc[0] + 1:
        return None
    stretch = np.quantile(delay, 0.9)
    moment = cutoff - stretch
    last = (event < moment) & (event >= moment - stretch)
    early, fast = last & (known < moment), label == medians.index[0]
    if early.sum() < MIN_ROWS:
        return None
    seen, true = fast[early].mean(), fast[last].mean()
    if seen - true < MIN_SHARE_CHANGE:
        return None
    names = timeline.classes.names
    quick, slow = names[medians.index[0]], names[medians.index[-1]]
    return (
        f"label_time: labels {quick!r} are known {_days(medians.iloc[0])} after the row (median), "
        f"{slow!r} after {_days(medians.iloc[-1])}: of the last rows before a moment {seen:.0%} of "
        f"the labels known by then are {quick!r}, {true:.0%} of those known {_days(stretch)} "
        f"later; models take {quick!r} for commoner than it is; give --label_time a column with "
        "the time at which either outcome would be known, unless this is it"
    )


def given_away(columns: Sequence[Column], sample: pa.Table, label: np.ndarray) -> dict[str, str]:
    """Columns that all but give the label away, and how.

    Each column alone predicts the label of rows it was not fitted on: numbers by a small tree,
    other values by the labels that went with them. Two classes: AUROC above 0.99; more: accuracy
    above 0.99, with at most a tenth of the errors of always saying the commonest class.

    Args:
        columns: What each column is taken as.
        sample: Rows whose label was known at the cutoff.
        label: Their labels, int64 `[N]`.
    """
    codes, values = np.unique(label, return_inverse=True)
    if len(label) < MIN_ROWS or len(codes) < 2:
        return {}
    fold = np.random.default_rng(0).permutation(len(label)) % NUM_FOLDS
    found = {}
    for column in columns:
        if column.role in ("numeric", "categorical", "entity"):
            what = _strength(column, sample, values, fold)
            if what:
                found[column.name] = what
    return found


def _strength(column: Column, sample: pa.Table, label: np.ndarray, fold: np.ndarray) -> str | None:
    from sklearn.metrics import roc_auc_score

    if column.role == "numeric":
        # Trees hold numbers in 32 bits, and refuse those that do not fit.
        numbers = to_numbers(sample, column.name).clip(-MAX_NUMBER, MAX_NUMBER)
        chance_NC = _by_tree(numbers, label, fold)
    else:
        chance_NC = _by_value(to_strings(sample[column.name]).to_pandas(), label, fold)
    if chance_NC.shape[1] == 2:
        auroc = roc_auc_score(label, chance_NC[:, 1])
        return f"alone it has an AUROC of {auroc:.3f}" if auroc > GIVEN_AWAY else None
    error = (chance_NC.argmax(axis=1) != label).mean()
    commonest = 1 - np.bincount(label).max() / len(label)
    if 1 - error > GIVEN_AWAY and error <= commonest / 10:
        return f"alone it is right for {1 - error:.1%} of the rows"
    return None


def _by_tree(numbers: np.ndarray, label: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Shares of the classes [N, C] by a tree that did not see the row."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=MAX_LEAVES, min_samples_leaf=5, random_state=0)
    out = np.zeros((len(label), label.max() + 1))
    for n in range(NUM_FOLDS):
        fit, rest = np.flatnonzero(fold != n), np.flatnonzero(fold == n)
        tree.fit(numbers[fit, None], label[fit])
        out[rest[:, None], tree.classes_] = tree.predict_proba(numbers[rest, None])
    return out


def _by_value(values: pd.Series, label: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Shares of the classes [N, C] among other rows of the same value."""
    codes = pd.factorize(values)[0] + 1
    out = np.zeros((len(label), label.max() + 1))
    for n in range(NUM_FOLDS):
        rest = fold == n
        prior = np.bincount(label[~rest], minlength=out.shape[1]) / max(1, (~rest).sum())
        counts = np.zeros((codes.max() + 1, out.shape[1]))
        np.add.at(counts, (codes[~rest], label[~rest]), 1)
        counts += prior
        out[rest] = (counts / counts.sum(axis=1, keepdims=True))[codes[rest]]
    return out


def _days(ms: float) -> str:
    days = ms / DAY_MS
    return f"{days:.1f} days" if days >= 1 else f"{days * 24:.1f} hours"
