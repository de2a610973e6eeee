"""Fourier features of a scalar."""

import math

import torch
from torch import Tensor, nn


class FourierEmbedding(nn.Module):
    """Sines and cosines of a scalar at evenly spaced frequencies, as in Perceiver (2103.03206).

    Args:
        num_bands: Number of frequencies, evenly spaced from 1 to `max_frequency / 2`.
        max_frequency: Twice the highest frequency, in half cycles a unit of the input.
    """

    frequencies_F: Tensor

    def __init__(self, num_bands: int, max_frequency: float) -> None:
        super().__init__()
        self.dim = 2 * num_bands + 1
        frequencies_F = torch.linspace(1.0, max_frequency / 2, num_bands) * math.pi
        self.register_buffer("frequencies_F", frequencies_F, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Embeds `values [...]` as `[..., dim]`: the value itself, its sines, its cosines."""
        angles_F = values.unsqueeze(-1) * self.frequencies_F
        return torch.cat([values.unsqueeze(-1), angles_F.sin(), angles_F.cos()], dim=-1)
