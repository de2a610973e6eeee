"""Which kind of base classifier suits rows: chosen on labels known before the cutoff."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from raclib.models.base.classifier import fit_base
from raclib.models.base.config import BaseConfig, Kind
from raclib.models.base.features import Read, pieces
from raclib.sampling import rows_at

MAX_ROWS = 50_000
LATE_SHARE = 0.2


def choose_kind(
    config: BaseConfig,
    read: Read,
    label: np.ndarray,
    used_N: np.ndarray,
    num_classes: int,
    seed: int,
) -> BaseConfig:
    """The configuration with the kind of least log-loss on the last fifth of the rows.

    Boosted trees are tried where they are installed and rows have no embedding, which is too many
    columns for them.

    Args:
        config: Of the kind `auto`.
        read: Features of rows by number.
        label: Integers `[N]`, in the order in which labels became known.
        used_N: Whether the label was known at the cutoff, bool.
        num_classes: C.
        seed: The same gives the same.
    """
    num_used = int(np.count_nonzero(used_N))
    num_early = int(num_used * (1 - LATE_SHARE))
    some = read(rows_at(used_N, np.arange(min(1, num_used))))
    has_trees = some.embedding is None and find_spec("lightgbm") is not None
    if not has_trees or not num_early:
        return replace(config, kind="linear")
    generator = np.random.default_rng(seed)

    def draw(first: int, num_rows: int) -> np.ndarray:
        places = generator.choice(num_rows, min(num_rows, MAX_ROWS), replace=False)
        return rows_at(used_N, first + np.sort(places))

    early, late = draw(0, num_early), draw(num_early, num_used - num_early)
    features = read(early)

    def loss(kind: Kind) -> float:
        fitted = fit_base(
            replace(config, kind=kind), features, label[early].astype(np.int64), num_classes, seed
        )
        parts = (late[piece] for piece in pieces(late))
        return -sum(
            float(fitted.log_probs(read(part))[np.arange(len(part)), label[part]].sum())
            for part in parts
        )

    kinds: tuple[Kind, ...] = ("linear", "lightgbm")
    return replace(config, kind=min(kinds, key=loss))
