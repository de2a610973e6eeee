"""Base classifiers that are fitted again over the test span."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from raclib.evaluation.choice import Choice
from raclib.evaluation.fits import SEED, RayFits
from raclib.ingest.base_scores import FeaturesOf
from raclib.models.base import BaseConfig, OutOfFold
from raclib.models.base.refit import (
    FitAll,
    LabelledRows,
    RefitBase,
    refit_base,
    refit_times,
    rows_of_refits,
)
from raclib.tasks.table.config import TableEvaluateConfig


@dataclass(frozen=True)
class Refittable:
    """A base classifier of a corpus that can be fitted again.

    Attributes:
        config: Which kind.
        read: What it sees of rows.
        first: As it was fitted at the cutoff, and out of fold.
    """

    config: BaseConfig
    read: FeaturesOf
    first: OutOfFold


class Refits(NamedTuple):
    """A base classifier fitted at each of some times.

    Attributes:
        all: On all rows known then.
        recent: On those known last.
        num_recent: How many these are.
    """

    all: RefitBase
    recent: RefitBase
    num_recent: int


def make_refits(
    base: Refittable, data: LabelledRows, choice: Choice, config: TableEvaluateConfig, folder: str
) -> Refits:
    """Fits a base classifier again from the cutoff on.

    Args:
        base: What is fitted again.
        data: The rows of the corpus.
        choice: Rows on which the number of recent ones is chosen.
        config: How often, and which numbers are tried.
        folder: Folder or URI where fits are kept.
    """
    fit_all = RayFits(base.config, data, f"{folder}/{base.read.checksum}")
    num = choose_last(base, data, choice, config.num_recent_rows, config.num_refits, fit_all)
    times_R = refit_times(choice.end, int(data.event.max()), config.num_refits)
    everything, recent = (refit(base, data, times_R, last, fit_all) for last in (None, num))
    return Refits(everything, recent, num)


def refit(
    base: Refittable,
    data: LabelledRows,
    times_R: np.ndarray,
    last: int | None,
    fit_all: FitAll,
) -> RefitBase:
    """A base classifier fitted at each of the times on all known rows, or the last so many."""
    parts = rows_of_refits(data, times_R, last, base.config.max_rows, SEED)
    return refit_base(base.first, times_R, parts, fit_all)


def choose_last(
    base: Refittable,
    data: LabelledRows,
    choice: Choice,
    candidates: Sequence[int],
    num_refits: int,
    fit_all: FitAll,
) -> int:
    """How many recent rows to refit on: of least log-loss over so many refits before the cutoff.

    The first of equal ones, or where nothing tells.
    """
    times_R = refit_times(choice.start, choice.end, num_refits)
    answers = {}
    for last in dict.fromkeys(candidates):
        fitted = refit(base, data, times_R, last, fit_all)
        answers[last] = np.exp(fitted.log_probs(data, choice.rows))
    return choice.best(data, answers)
