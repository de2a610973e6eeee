"""Scores of rows by base classifiers that did not see their labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raclib.errors import UserError
from raclib.models.base.choice import choose_kind
from raclib.models.base.classifier import FittedBase, fit_base
from raclib.models.base.config import BaseConfig
from raclib.models.base.features import Read, pieces
from raclib.sampling import PIECE_ROWS, draw_part


@dataclass(frozen=True)
class OutOfFold:
    """A base classifier, and one for each fold of the rows it was fitted on. Can be pickled.

    Attributes:
        base: Fitted on all rows whose label was known at the cutoff.
        by_fold: Fitted on those rows but the ones of a fold, or on earlier ones: `assign_folds`.
        fold_N: Each row's fold, int16; -1 where its label was not known, or it has none.
    """

    base: FittedBase
    by_fold: Sequence[FittedBase]
    fold_N: np.ndarray

    def log_probs(self, read: Read, rows: np.ndarray) -> np.ndarray:
        """Log-probabilities, float32 `[M, C]`, of rows by classifiers that did not see them.

        Args:
            read: Features of rows, of 8,192 at most at a time.
            rows: Numbers of rows, int64 `[M]`.
        """
        out_MC = np.empty((len(rows), self.base.num_classes), np.float32)
        for piece in pieces(rows):
            out_MC[piece] = self._score(read, rows[piece])
        return out_MC

    def _score(self, read: Read, rows: np.ndarray) -> np.ndarray:
        features, fold_M = read(rows), self.fold_N[rows]
        out_MC = np.empty((len(rows), self.base.num_classes), np.float32)
        for fold in np.unique(fold_M).tolist():
            where = np.flatnonzero(fold_M == fold)
            fitted = self.base if fold < 0 else self.by_fold[fold]
            out_MC[where] = fitted.log_probs(features.take(where))
        return out_MC


def out_of_fold(
    config: BaseConfig,
    read: Read,
    label: np.ndarray,
    num_classes: int,
    known: np.ndarray,
    seed: int,
) -> OutOfFold:
    """Fits a base classifier on rows whose label was known at the cutoff, and one for each fold.

    What is fitted, and so every score, depends on no label of another row.

    Args:
        config: Which kind, how many folds.
        read: Features of rows by number, of `config.max_rows` at most at a time.
        label: Integers `[N]`, in the order in which labels became known; -1 for none.
        num_classes: C.
        known: Whether the label was known at the cutoff, bool `[N]`.
        seed: The same gives the same.

    Raises:
        UserError: if fewer rows are known than there are folds, or the kind's package is missing.
    """
    used_N = known & (label >= 0)
    num_used = int(np.count_nonzero(used_N))
    if num_used < config.num_folds:
        raise UserError(
            f"base.num_folds: {config.num_folds} folds of {num_used} rows whose label was known "
            "at the cutoff; choose a later cutoff"
        )
    if config.kind == "auto":
        config = choose_kind(config, read, label, used_N, num_classes, seed)
    generator = np.random.default_rng(seed)
    fold_N = np.full(len(label), -1, np.int16)
    fold_N[used_N] = assign_folds(config, num_used, generator)
    num_folds = int(fold_N.max()) + 1

    def others(fold: int) -> np.ndarray:
        """Rows that the classifier of a fold is fitted on, bool."""
        others_N = used_N & (fold_N != fold)
        if config.unseen == "earlier":  # of the earlier half
            others_N &= fold_N < num_folds - 1
        return others_N

    def fit(part_N: np.ndarray) -> FittedBase:
        part = draw_part(part_N, config.max_rows, generator)
        return fit_base(config, read(part), label[part].astype(np.int64), num_classes, seed)

    base = fit(used_N)
    if config.kind == "column":
        # The user's score was fitted elsewhere.
        return OutOfFold(base, [base] * num_folds, fold_N)
    return OutOfFold(base, [fit(others(fold)) for fold in range(num_folds)], fold_N)


def assign_folds(config: BaseConfig, num_rows: int, generator: np.random.Generator) -> np.ndarray:
    """The fold of each row, in the order in which labels became known, int16: drawn at random.

    With `unseen: earlier` only those of the earlier half are; the later half is one more fold.
    """
    num_early = num_rows if config.unseen == "folds" else num_rows // 2
    fold_R = np.full(num_rows, config.num_folds, np.int16)
    # Folds of each piece are alike large, so those of all are.
    for lo in range(0, num_early, PIECE_ROWS):
        hi = min(lo + PIECE_ROWS, num_early)
        fold_R[lo:hi] = generator.permutation(hi - lo) % config.num_folds
    return fold_R
