"""Which rows are learned from, retrieved from and tested on."""

import itertools
from dataclasses import dataclass

import numpy as np

from raclib.errors import UserError
from raclib.sampling import draw_rows
from raclib.tasks.table.config import SplitConfig


@dataclass(frozen=True)
class Splits:
    """Sorted corpus row ids, int64; the first four sets are before the cutoff, and disjoint where
    histories have a size.

    Attributes:
        train: Examples to learn to predict.
        train_history: Rows they may retrieve; None for all rows before the cutoff.
        validation: Examples to validate on.
        validation_history: Rows those may retrieve; None for all rows before the cutoff.
        test: Examples of every time bin; they may retrieve any earlier row of the corpus.
        test_bin: Time bin of each test example.
        bin_edges: Edges of the bins, ms since 1970, one more than there are bins.
    """

    train: np.ndarray
    train_history: np.ndarray | None
    validation: np.ndarray
    validation_history: np.ndarray | None
    test: np.ndarray
    test_bin: np.ndarray
    bin_edges: np.ndarray


def make_splits(
    num_before: int,
    event: np.ndarray,
    config: SplitConfig,
    seed: int,
    late_only: bool = False,
) -> Splits:
    """Splits the rows of a corpus.

    Rows that a model learns to predict, or is validated on, are never test rows: they would flatter
    the bins before the cutoff.

    Args:
        num_before: Rows whose label was known before the cutoff, the first ones; training and
            validation rows are among them.
        event: When each row of the corpus happened, ms since 1970.
        config: Sizes.
        seed: Seed of the random choice.
        late_only: Learn to predict only rows of the later half of those before the cutoff.

    Raises:
        UserError: if there are too few rows before the cutoff.
    """
    rng = np.random.default_rng(seed)
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
    if late_only:
        drawn = _late_first(rng, num_before, sizes)
    else:
        drawn = draw_rows(rng, num_before, sum(sizes))
    train, train_history, validation, validation_history = (
        np.sort(part) for part in np.split(drawn, np.cumsum(sizes)[:3])
    )
    is_candidate = np.ones(len(event), bool)
    is_candidate[train] = is_candidate[validation] = False
    edges = np.linspace(event.min(), event.max() + 1, config.num_bins + 1).astype(np.int64)
    chosen = [
        _draw_bin(is_candidate, event, bounds, config.examples_per_bin, rng)
        for bounds in itertools.pairwise(edges)
    ]
    return Splits(
        train,
        train_history if config.train_history else None,
        validation,
        validation_history if config.validation_history else None,
        np.concatenate(chosen),
        np.repeat(np.arange(config.num_bins), [len(rows) for rows in chosen]),
        edges,
    )


def _late_first(rng: np.random.Generator, num_before: int, sizes: list[int]) -> np.ndarray:
    """Drawn rows, those of the later half in front."""
    num_early = num_before // 2
    num_late = num_before - num_early
    if sizes[0] > num_late:
        raise UserError(
            f"split.train_examples: {sizes[0]} is above the {num_late} rows of the later "
            "half before the cutoff, from which base.unseen: earlier learns; make it smaller"
        )
    late = num_early + draw_rows(rng, num_late, sum(sizes))
    return np.concatenate([late, draw_rows(rng, num_early, sum(sizes) - len(late))])


def _draw_bin(
    is_candidate: np.ndarray,
    event: np.ndarray,
    bounds: tuple[int, int],
    size: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Candidates of a bin, at most so many, rising."""
    low, high = bounds
    rows = np.flatnonzero(is_candidate & (event >= low) & (event < high))
    # In the order of time, so that a seed draws what it has always drawn.
    rows = rows[np.argsort(event[rows], kind="stable")]
    return np.sort(rows[draw_rows(rng, len(rows), size)])
