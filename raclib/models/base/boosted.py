"""Boosted trees."""

from typing import Any, Self

import numpy as np
from scipy.special import log_softmax

from raclib.errors import UserError
from raclib.models.base.config import BaseConfig
from raclib.models.base.features import Features, split_last

LEARNING_RATE = 0.1
PATIENCE = 20


class BoostedBase:
    """LightGBM; kept in its text format.

    Args:
        text: The trees.
        sizes: Codes of each category.
    """

    def __init__(self, text: str, sizes: tuple[int, ...]) -> None:
        self.text, self.sizes = text, sizes
        self._booster = _lightgbm().Booster(model_str=text)

    def __reduce__(self) -> tuple[Any, ...]:
        return BoostedBase, (self.text, self.sizes)

    @classmethod
    def fit(
        cls, config: BaseConfig, features: Features, label: np.ndarray, num_classes: int, seed: int
    ) -> Self:
        """See `BaseClassifier.fit`.

        Raises:
            UserError: if LightGBM is not installed.
        """
        lightgbm, sizes = _lightgbm(), features.sizes
        early, late = split_last(len(features))
        inputs_ND = _inputs(features, sizes)
        first = inputs_ND.shape[1] - len(sizes)
        columns = list(range(first, inputs_ND.shape[1]))
        data = lightgbm.Dataset(inputs_ND[early], label[early], categorical_feature=columns)
        booster = lightgbm.train(
            _parameters(num_classes, seed),
            data,
            config.max_rounds,
            valid_sets=[data.create_valid(inputs_ND[late], label[late])],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )
        return cls(booster.model_to_string(num_iteration=booster.best_iteration), sizes)

    def log_probs(self, features: Features) -> np.ndarray:
        """See `BaseClassifier.log_probs`."""
        logits = self._booster.predict(_inputs(features, self.sizes), raw_score=True)
        if logits.ndim == 1:
            logits = np.stack([np.zeros_like(logits), logits], axis=1)
        return log_softmax(logits, axis=1).astype(np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """See `BaseClassifier.to_arrays`."""
        text = np.frombuffer(self.text.encode(), np.uint8)
        return {"text": text, "sizes": np.array(self.sizes, np.int64)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """See `BaseClassifier.from_arrays`."""
        return cls(arrays["text"].tobytes().decode(), tuple(arrays["sizes"].tolist()))


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise UserError(
            "base.kind: lightgbm is not installed; pip install raclib[boosted], or choose linear "
            "or mlp"
        ) from None
    return lightgbm


def _parameters(num_classes: int, seed: int) -> dict[str, Any]:
    objective = {"objective": "binary"}
    if num_classes > 2:
        objective = {"objective": "multiclass", "num_class": str(num_classes)}
    return {
        **objective,
        "learning_rate": LEARNING_RATE,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _inputs(features: Features, sizes: tuple[int, ...]) -> np.ndarray:
    """Numbers, embedding and codes side by side, float32 `[N, n + E + c]`."""
    codes_Nc = features.codes(sizes).astype(np.float32)
    return np.concatenate([features.dense(), codes_Nc], axis=1)
