"""Several answers to one question, weighed by how each did on labels that came since."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.special import log_softmax, logsumexp

NUM_RECENT = 400


@dataclass(frozen=True)
class Record:
    """How answers did on rows whose labels are known.

    A label is looked at only for rows that happened after it was known. Weights are those of a
    Bayesian who takes one of the answers for right throughout the last rows, and none for likelier
    before (Cesa-Bianchi and Lugosi 2006, Prediction, Learning, and Games, chapter 3): over these
    the mixture loses at most ln(A) more than the best of A answers.

    Attributes:
        known_N: When the labels became known, ms since 1970, rising.
        log_prob_NA: Log-probability that each of A answers gave to the label, float64.
    """

    known_N: np.ndarray
    log_prob_NA: np.ndarray

    @classmethod
    def of(cls, known_N: np.ndarray, label_N: np.ndarray, answers: Sequence[np.ndarray]) -> Self:
        """The record of some rows, in any order.

        Args:
            known_N: When their labels became known.
            label_N: These labels.
            answers: What each method said of them, log-probabilities `[N, C]`.
        """
        order = np.argsort(known_N, kind="stable")
        mine = np.arange(len(label_N)), label_N
        log_prob_AN = np.array([log_probs[mine] for log_probs in answers], np.float64)
        return cls(known_N[order], log_prob_AN.T[order])

    def mix(self, time_M: np.ndarray, answers: Sequence[np.ndarray]) -> np.ndarray:
        """Log-probabilities `[M, C]`: the mixture of the answers to rows of these times.

        Args:
            time_M: When they happened, ms since 1970.
            answers: What each method says of them, log-probabilities `[M, C]`.
        """
        weighed = [
            log_probs + log_weight_M[:, None]
            for log_probs, log_weight_M in zip(answers, self.log_weights(time_M).T, strict=True)
        ]
        return logsumexp(weighed, axis=0)

    def join(self, later: Self, keep_N: np.ndarray) -> Self:
        """The same with rows whose labels became known later, and only some of its own.

        Args:
            later: The record of those rows.
            keep_N: Which of its own, bool.
        """
        known = np.concatenate([self.known_N[keep_N], later.known_N])
        return replace(
            self,
            known_N=known,
            log_prob_NA=np.concatenate([self.log_prob_NA[keep_N], later.log_prob_NA]),
        )

    def log_weights(self, time_M: np.ndarray) -> np.ndarray:
        """Of each answer at each time, ms since 1970, `[M, A]`."""
        hi_M = np.searchsorted(self.known_N, time_M)
        lo_M = np.maximum(hi_M - NUM_RECENT, 0)
        # Each sum on its own: differences of running sums would depend on rows before them.
        padded_NA = np.pad(self.log_prob_NA, ((0, 1), (0, 0)))
        sums_MA = np.add.reduceat(padded_NA, np.stack([lo_M, hi_M], axis=1).ravel())[::2]
        sums_MA[lo_M == hi_M] = 0.0
        return log_softmax(sums_MA, axis=1)
