"""Which kind of base classifier suits rows: chosen on labels known before the cutoff."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from raclib.models.base.classifier import fit_base
from raclib.models.base.config import BaseConfig, Kind
from raclib.models.base.features import Read, pieces

MAX_ROWS = 50_000
LATE_SHARE = 0.2


def choose_kind(
    config: BaseConfig, read: Read, label: np.ndarray, rows: np.ndarray, num_classes: int, seed: int
) -> BaseConfig:
    """The configuration with the kind of least log-loss on the last fifth of the rows.

    Boosted trees are tried where they are installed and rows have no embedding, which is too many
    columns for them.

    Args:
        config: Of the kind `auto`.
        read: Features of rows by number.
        label: int64 `[N]`.
        rows: Numbers of the rows whose label was known at the cutoff, in that order.
        num_classes: C.
        seed: The same gives the same.
    """
    has_trees = read(rows[:1]).embedding is None and find_spec("lightgbm") is not None
    early, late = np.split(rows, [int(len(rows) * (1 - LATE_SHARE))])
    if not has_trees or not len(early):
        return replace(config, kind="linear")
    generator = np.random.default_rng(seed)
    early, late = (
        np.sort(generator.choice(part, min(len(part), MAX_ROWS), replace=False))
        for part in (early, late)
    )

    features = read(early)

    def loss(kind: Kind) -> float:
        fitted = fit_base(replace(config, kind=kind), features, label[early], num_classes, seed)
        parts = (late[piece] for piece in pieces(late))
        return -sum(
            float(fitted.log_probs(read(part))[np.arange(len(part)), label[part]].sum())
            for part in parts
        )

    kinds: tuple[Kind, ...] = ("linear", "lightgbm")
    return replace(config, kind=min(kinds, key=loss))
