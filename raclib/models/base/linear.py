"""Logistic regression."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding_bag

from raclib.models.base.config import BaseConfig
from raclib.models.base.features import Features, moments, split_last

MAX_STEPS = 20
# Largest gradient at which nothing is gained any more.
TOLERANCE = 1e-4
# Inverse strengths of the penalty that are tried, as scikit-learn's C, on so many rows at most.
INVERSE_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
CHOICE_ROWS = 10_000


Inputs = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LinearBase:
    """Multinomial logistic regression of standardised numbers, embedding and categories.

    scikit-learn's would read one-hot categories and, as it reckons in float64, copies wide float32
    inputs at every step; so it is fitted by PyTorch's L-BFGS.

    Attributes:
        weight_DC: Of numbers and embedding, float32.
        table_VC: Of codes, those of one category after the other, float32.
        bias_C: float32.
        mean_D: Mean of numbers and embedding over the rows fitted on.
        scale_D: Their standard deviation; 1 where it is 0.
        sizes: Codes of each category.
    """

    weight_DC: np.ndarray
    table_VC: np.ndarray
    bias_C: np.ndarray
    mean_D: np.ndarray
    scale_D: np.ndarray
    sizes: tuple[int, ...]

    @classmethod
    def fit(
        cls, config: BaseConfig, features: Features, label: np.ndarray, num_classes: int, seed: int
    ) -> Self:
        """See `BaseClassifier.fit`."""
        mean_D, scale_D = moments(features.dense())
        inputs, label_N = _inputs(features, mean_D, scale_D, features.sizes), torch.tensor(label)
        widths = (len(mean_D), sum(features.sizes))
        parameters = [torch.zeros(width, num_classes) for width in widths]
        parameters.append(torch.zeros(num_classes))
        inverse_penalty = _choose(parameters, inputs, label_N, np.random.default_rng(seed))
        _minimise(parameters, inputs, label_N, inverse_penalty)
        weight_DC, table_VC, bias_C = (parameter.detach().numpy() for parameter in parameters)
        return cls(weight_DC, table_VC, bias_C, mean_D, scale_D, features.sizes)

    def log_probs(self, features: Features) -> np.ndarray:
        """See `BaseClassifier.log_probs`."""
        inputs = _inputs(features, self.mean_D, self.scale_D, self.sizes)
        parameters = [torch.tensor(a) for a in (self.weight_DC, self.table_VC, self.bias_C)]
        return _logits(parameters, inputs).log_softmax(dim=1).numpy()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """See `BaseClassifier.to_arrays`."""
        return {**vars(self), "sizes": np.array(self.sizes, np.int64)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """See `BaseClassifier.from_arrays`."""
        weights = {name: array for name, array in arrays.items() if name != "sizes"}
        return cls(**weights, sizes=tuple(arrays["sizes"].tolist()))


def _choose(
    parameters: list[Tensor], inputs: Inputs, label_N: Tensor, generator: np.random.Generator
) -> float:
    """The inverse penalty that is best on the last tenth of the rows.

    From strong to weak, each from where the last ended, until nothing is gained.
    """
    early, late = split_last(len(label_N))
    if len(early) > CHOICE_ROWS:
        early = np.sort(generator.choice(early, CHOICE_ROWS, replace=False))
    best_loss, best = float("inf"), INVERSE_PENALTIES[0]
    for inverse_penalty in INVERSE_PENALTIES:
        _minimise(parameters, _take(inputs, early), label_N[early], inverse_penalty)
        with torch.no_grad():
            loss = cross_entropy(_logits(parameters, _take(inputs, late)), label_N[late]).item()
        if loss >= best_loss:
            break
        best_loss, best = loss, inverse_penalty
    return best


def _minimise(
    parameters: list[Tensor], inputs: Inputs, label_N: Tensor, inverse_penalty: float
) -> None:
    """Least sum of cross-entropy and half the squares of weight and table over `inverse_penalty`.

    Starts from the parameters as they are.
    """
    penalty = 0.5 / (inverse_penalty * len(label_N))
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=MAX_STEPS,
        tolerance_grad=TOLERANCE,
        tolerance_change=TOLERANCE / 1000,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(_logits(parameters, inputs), label_N)
        loss = loss + penalty * sum(part.square().sum() for part in parameters[:2])
        loss.backward()
        return loss

    optimizer.step(closure)


def _inputs(
    features: Features, mean_D: np.ndarray, scale_D: np.ndarray, sizes: tuple[int, ...]
) -> Inputs:
    """Standardised inputs, float32 `[N, D]`, and places in the table, int64 `[N, c]`."""
    starts = np.cumsum([0, *sizes], dtype=np.int64)[:-1]
    dense_ND = (features.dense() - mean_D) / scale_D
    return torch.from_numpy(dense_ND), torch.from_numpy(features.codes(sizes) + starts)


def _take(inputs: Inputs, rows: np.ndarray) -> Inputs:
    return inputs[0][rows], inputs[1][rows]


def _logits(parameters: list[Tensor], inputs: Inputs) -> Tensor:
    weight_DC, table_VC, bias_C = parameters
    dense_ND, places_Nc = inputs
    logits_NC = torch.addmm(bias_C, dense_ND, weight_DC)
    if places_Nc.shape[1]:
        logits_NC = logits_NC + embedding_bag(places_Nc, table_VC, mode="sum")
    return logits_NC
