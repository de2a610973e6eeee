"""The score of a classifier that the user runs already."""

from typing import Self

import numpy as np

from raclib.errors import UserError
from raclib.models.base.config import BaseConfig
from raclib.models.base.features import Features

SLACK = 1e-3


class ColumnBase:
    """Takes the probabilities in the table as they are; nothing is fitted.

    Args:
        num_classes: Classes, in the order of the columns.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    @classmethod
    def fit(
        cls, config: BaseConfig, features: Features, label: np.ndarray, num_classes: int, seed: int
    ) -> Self:
        """See `BaseClassifier.fit`."""
        return cls(num_classes)

    def log_probs(self, features: Features) -> np.ndarray:
        """See `BaseClassifier.log_probs`.

        Raises:
            UserError: if there is no score, or it is not probabilities of these classes.
        """
        score_NC = self._two_columns(features)
        # NaN is in no interval.
        wrong = ~((score_NC >= -SLACK) & (score_NC <= 1 + SLACK)).all(axis=1)
        if wrong.any():
            raise UserError(
                f"score: {np.count_nonzero(wrong)} of {len(score_NC)} rows are no probabilities, "
                f"the first {score_NC[wrong.argmax()]}; give numbers from 0 to 1, none missing"
            )
        # A zero becomes the smallest probability that any classifier gives.
        return np.log(np.maximum(score_NC, np.finfo(np.float32).tiny), dtype=np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """See `BaseClassifier.to_arrays`."""
        return {"num_classes": np.array(self.num_classes)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """See `BaseClassifier.from_arrays`."""
        return cls(int(arrays["num_classes"]))

    def _two_columns(self, features: Features) -> np.ndarray:
        score = features.score
        if score is None:
            raise UserError("base.kind: column needs a score in the table; name its columns")
        score = score.astype(np.float32)
        if score.ndim == 1 and self.num_classes == 2:
            return np.stack([1 - score, score], axis=1)
        if score.shape[1:] != (self.num_classes,):
            raise UserError(
                f"score: has shape {score.shape}; give probabilities of {self.num_classes} classes"
            )
        return score
