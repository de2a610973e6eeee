"""A base classifier that is fitted again while labels become known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from raclib.models.base.classifier import FittedBase
from raclib.models.base.features import Read, pieces
from raclib.models.base.out_of_fold import OutOfFold
from raclib.sampling import draw_part

# Fits one classifier for each set of rows, int64 and ascending.
FitAll = Callable[[Sequence[np.ndarray]], Sequence[FittedBase]]


@dataclass(frozen=True)
class LabelledRows:
    """Rows in the order in which their labels became known.

    Attributes:
        read: What a base classifier sees of rows by number.
        label: Integers `[N]`; -1 for none.
        known: When labels were known, int64 `[N]`, never falling.
        event: When rows happened, int64 `[N]`.
        num_classes: C.
    """

    read: Read
    label: np.ndarray
    known: np.ndarray
    event: np.ndarray
    num_classes: int

    def has_label(self, time: int) -> np.ndarray:
        """Whether there is a label, of the rows whose was known strictly before a time, bool."""
        return self.label[: np.searchsorted(self.known, time)] >= 0


@dataclass(frozen=True)
class RefitBase:
    """A base classifier as it is fitted at some times; each row is answered by the last before it.

    Attributes:
        first: Answers rows that happened before the first of these times.
        times_R: When it was fitted, int64, ascending.
        bases: What was fitted then, on labels known strictly before.
    """

    first: OutOfFold
    times_R: np.ndarray
    bases: Sequence[FittedBase]

    def log_probs(self, data: LabelledRows, rows: np.ndarray) -> np.ndarray:
        """Log-probabilities of the classifier in force when each row happened, float32 `[M, C]`.

        Args:
            data: The rows it was fitted on.
            rows: Numbers of rows, int64 `[M]`, in any order.
        """
        out_MC = np.empty((len(rows), data.num_classes), np.float32)
        number_M = np.searchsorted(self.times_R, data.event[rows], side="right") - 1
        for number in np.unique(number_M).tolist():
            where = np.flatnonzero(number_M == number)
            if number < 0:
                out_MC[where] = self.first.log_probs(data.read, rows[where])
                continue
            for piece in pieces(where):
                part = where[piece]
                out_MC[part] = self.bases[number].log_probs(data.read(rows[part]))
        return out_MC


def refit_times(start: int, end: int, num_refits: int) -> np.ndarray:
    """Equal steps from `start`, the first of them, to `end`, which is after the last; int64."""
    return np.linspace(start, end, num_refits + 1)[:-1].astype(np.int64)


def rows_of_refits(
    data: LabelledRows, times_R: np.ndarray, last: int | None, max_rows: int, seed: int
) -> list[np.ndarray]:
    """Rows that a classifier is fitted on at each of the times, int64, ascending.

    Args:
        data: All rows.
        times_R: Labels known strictly before are seen.
        last: Only the rows that became known last, so many; None for all.
        max_rows: Most of them; drawn at random where there are more.
        seed: Seed of that.
    """
    generator = np.random.default_rng(seed)

    def draw(time: int) -> np.ndarray:
        has_label_M = data.has_label(time)
        first = 0 if last is None else max(0, int(np.count_nonzero(has_label_M)) - last)
        return draw_part(has_label_M, max_rows, generator, first)

    return [draw(time) for time in times_R.tolist()]


def refit_base(
    first: OutOfFold, times_R: np.ndarray, parts: Sequence[np.ndarray], fit_all: FitAll
) -> RefitBase:
    """Fits a base classifier at each of the times.

    A time before which nothing was known has none; the one before it stays in force.

    Args:
        first: Answers rows that happened before the first time.
        times_R: int64, ascending.
        parts: Rows seen at each; see `rows_of_refits`.
        fit_all: Fits.
    """
    has_rows_R = np.array([len(part) > 0 for part in parts], bool)
    fitted = fit_all([part for part in parts if len(part)])
    return RefitBase(first, times_R[has_rows_R], fitted)
