"""Inputs at a fixed scale."""

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """Subtracts a fixed mean and divides by a fixed deviation; constant dimensions become 0."""

    mean_D: Tensor
    factor_D: Tensor

    def __init__(self, mean_D: Tensor, deviation_D: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean_D", mean_D.float())
        # MiniLM has dimensions that never vary: dividing by their zero deviation would make NaN.
        constant_D = deviation_D < 1e-6
        self.register_buffer("factor_D", torch.where(constant_D, 0.0, 1 / deviation_D).float())

    def forward(self, values: Tensor) -> Tensor:
        """Standardised `values [..., D]`, float32."""
        return (values.float() - self.mean_D) * self.factor_D
