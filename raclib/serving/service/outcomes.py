"""How served answers did on the labels that came since, beside simple lines."""

import numpy as np

from raclib.metrics import score

METHODS = ("served", "base", "recent_rates", "nearest_neighbours")
"""The answer that was given, the base classifier's own, and the two lines of
`evaluation.baselines`."""
SCORES = ("log_loss", "accuracy", "calibration_error")
Scores = dict[str, dict[str, float]]
"""Of each method, its scores by name."""
MAX_ROWS = 10_000
MAX_NUMBERS = 2**24
NUM_BINS = 40


class Outcomes:
    """The last rows that were answered and then got a label; at most so many as memory allows.

    Args:
        num_classes: C.

    Attributes:
        total: How many there were ever.
    """

    def __init__(self, num_classes: int) -> None:
        self.total, self._limit = 0, min(MAX_ROWS, MAX_NUMBERS // (len(METHODS) * num_classes))
        none_NMC = np.empty((0, len(METHODS), num_classes), np.float32)
        # Replaced as one: others read them meanwhile.
        self._rows = np.empty(0, np.int64), none_NMC

    def add(self, label: np.ndarray, answers_NMC: np.ndarray) -> None:
        """Takes in rows.

        Args:
            label: Numbers of the classes, `[N]`.
            answers_NMC: Probabilities by each of `METHODS`; NaN where it had no answer.
        """
        self.total += len(label)
        before, answered_NMC = self._rows
        label = np.concatenate([before, label])[-self._limit :]
        answers_NMC = np.concatenate([answered_NMC, answers_NMC])[-self._limit :]
        self._rows = label, answers_NMC

    def last(self, window: int) -> Scores:
        """Scores of each method over the last rows; none where it did not answer all of them."""
        label, answers_NMC = self._rows
        return _scores(label[-window:], answers_NMC[-window:])

    def over_time(self, window: int) -> list[tuple[int, Scores]]:
        """How many rows there were by then, and scores over those that came last, oldest first."""
        (label, answers_NMC), total = self._rows, self.total
        ends = np.unique(np.linspace(0, len(label), NUM_BINS + 1).round().astype(int))[1:]
        parts = [slice(max(0, end - window), end) for end in ends.tolist()]
        found = [_scores(label[part], answers_NMC[part]) for part in parts]
        return list(zip((total - len(label) + ends).tolist(), found, strict=True))


def _scores(label: np.ndarray, answers_NMC: np.ndarray) -> Scores:
    if not len(label):
        return {}
    found = {}
    for method, answers_NC in zip(METHODS, answers_NMC.transpose(1, 0, 2), strict=True):
        if np.isfinite(answers_NC).all():
            values = score(label, answers_NC)
            found[method] = {name: values[name] for name in SCORES}
    return found
