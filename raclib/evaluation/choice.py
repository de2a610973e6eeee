"""Rows known before the cutoff, on which simple lines choose what they are told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from raclib.metrics import log_losses
from raclib.models.base.refit import LabelledRows
from raclib.sampling import draw_rows, rows_at

EARLY_SHARE = 0.6
MAX_ROWS = 2000
SEED = 0

Candidate = TypeVar("Candidate")


@dataclass(frozen=True)
class Choice:
    """The inner cutoff, and rows that happened after it.

    Attributes:
        start: When 60 % of the labels known before the cutoff were known.
        end: The cutoff.
        rows: int64 `[M]`, of 2,000 at most, in order of time: they happened from `start` on and
            their labels were known before `end`. Empty where labels take too long.
    """

    start: int
    end: int
    rows: np.ndarray

    @classmethod
    def before(cls, data: LabelledRows, cutoff: int) -> "Choice":
        """The rows of a cutoff; nothing depends on what became known from then on."""
        late = data.has_label(cutoff)
        place = int(EARLY_SHARE * np.count_nonzero(late))
        start = int(data.known[rows_at(late, np.array([place]))[0]])
        late &= data.event[: len(late)] >= start
        generator = np.random.default_rng(SEED)
        drawn = rows_at(late, draw_rows(generator, int(np.count_nonzero(late)), MAX_ROWS))
        return cls(start, cutoff, drawn[np.argsort(data.event[drawn], kind="stable")])

    def best(self, data: LabelledRows, answers: Mapping[Candidate, np.ndarray]) -> Candidate:
        """The candidate whose probabilities `[M, C]` of the rows have the least log-loss.

        The first of equal ones.
        """
        label_M = data.label[self.rows]
        losses = {name: log_losses(label_M, found).sum() for name, found in answers.items()}
        return min(losses, key=losses.__getitem__)
