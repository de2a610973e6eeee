"""Which rows are learned from, retrieved from and tested on."""

import itertools
from dataclasses import dataclass

import numpy as np

from raclib.errors import UserError
from raclib.tasks.table.config import SplitConfig


@dataclass(frozen=True)
class Splits:
    """Sorted corpus row ids, int64; the first four sets are before the cutoff, and disjoint where
    histories have a size.

    Attributes:
        train: Examples to learn to predict.
        train_history: Rows they may retrieve.
        validation: Examples to validate on.
        validation_history: Rows those may retrieve.
        test: Examples of every time bin; they may retrieve any earlier row of the corpus.
        test_bin: Time bin of each test example.
        bin_edges: Edges of the bins, ms since 1970, one more than there are bins.
    """

    train: np.ndarray
    train_history: np.ndarray
    validation: np.ndarray
    validation_history: np.ndarray
    test: np.ndarray
    test_bin: np.ndarray
    bin_edges: np.ndarray


def make_splits(
    time: np.ndarray,
    event: np.ndarray,
    cutoff: int,
    config: SplitConfig,
    seed: int,
    late_only: bool = False,
) -> Splits:
    """Splits the rows of a corpus.

    Rows that a model learns to predict, or is validated on, are never test rows: they would flatter
    the bins before the cutoff.

    Args:
        time: When the labels of all rows were known, in corpus order, ms since 1970.
        event: When the rows themselves happened; the same where labels were known at once.
        cutoff: Training and validation rows are those whose label was known before this.
        config: Sizes.
        seed: Seed of the random choice.
        late_only: Learn to predict only rows of the later half of those before the cutoff.

    Raises:
        UserError: if there are too few rows before the cutoff.
    """
    rng = np.random.default_rng(seed)
    num_before = int(np.searchsorted(time, cutoff))
    sizes = [
        config.train_examples,
        config.train_history or 0,
        config.validation_examples,
        config.validation_history or 0,
    ]
    if sum(sizes) > num_before:
        raise UserError(
            f"split: train_examples, train_history, validation_examples and validation_history "
            f"need {sum(sizes)} rows before the cutoff, the corpus has {num_before}; "
            "make them smaller"
        )
    shuffled = rng.permutation(num_before)
    if late_only:
        shuffled = _late_first(shuffled, config.train_examples)
    parts = [np.sort(part) for part in np.split(shuffled, np.cumsum(sizes))[:4]]
    for place, size in ((1, config.train_history), (3, config.validation_history)):
        if size is None:
            parts[place] = np.arange(num_before)
    is_candidate = np.ones(len(time), dtype=bool)
    is_candidate[parts[0]] = is_candidate[parts[2]] = False
    edges = np.linspace(event.min(), event.max() + 1, config.num_bins + 1).astype(np.int64)
    test, test_bin = _draw_bins(np.flatnonzero(is_candidate), event, edges, config, rng)
    train, train_history, validation, validation_history = parts
    return Splits(train, train_history, validation, validation_history, test, test_bin, edges)


def _late_first(shuffled: np.ndarray, num_train: int) -> np.ndarray:
    is_late = shuffled >= len(shuffled) // 2
    if num_train > is_late.sum():
        raise UserError(
            f"split.train_examples: {num_train} is above the {is_late.sum()} rows of the later "
            "half before the cutoff, from which base.unseen: earlier learns; make it smaller"
        )
    return np.concatenate([shuffled[is_late], shuffled[~is_late]])


def _draw_bins(
    candidates: np.ndarray,
    event: np.ndarray,
    edges: np.ndarray,
    config: SplitConfig,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    candidates = candidates[np.argsort(event[candidates], kind="stable")]
    bounds = np.searchsorted(event[candidates], edges)
    chosen = [
        np.sort(rng.permutation(candidates[low:high])[: config.examples_per_bin])
        for low, high in itertools.pairwise(bounds)
    ]
    bins = np.repeat(np.arange(config.num_bins), [len(rows) for rows in chosen])
    return np.concatenate(chosen), bins
