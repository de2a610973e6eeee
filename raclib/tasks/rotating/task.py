"""Rotating decision boundary: data on the device."""

import math

import torch
from torch import Tensor

from raclib.batch import Batch, Split
from raclib.models.fourier import FourierEmbedding
from raclib.tasks.generated import GeneratedTask
from raclib.tasks.rotating.config import RotatingConfig


class RotatingTask(GeneratedTask):
    """Inputs are a class's centre at their time plus noise, with an embedding of time beside.

    The history of an example is rows of earlier times, in no order; their inputs are their keys.
    """

    item_fields = ("keys", "sign")
    config: RotatingConfig

    def __init__(self, config: RotatingConfig, with_history: bool = True) -> None:
        super().__init__(config, with_history)
        # Highest of the frequencies 1, 2, ..., in half turns a unit of time.
        self.embed = FourierEmbedding(config.time_frequencies, 2.0 * config.time_frequencies)
        self.width = config.dim + self.embed.dim
        self.item_dim = self.width + 1
        generator = torch.Generator().manual_seed(config.seed)
        self.axes_2D = _orthonormal_pair(config.dim, generator)

    @property
    def input_dims(self) -> tuple[int, int]:
        """Inputs are keys."""
        return self.width, self.width

    def centre(self, time: Tensor) -> Tensor:
        """Half the way from class 0 to class 1 at times `[...]`, `[..., D]`."""
        angle = turn(time)
        part = torch.stack([angle.cos(), angle.sin()], dim=-1)
        return part @ self.axes_2D.to(time.device) * (self.config.separation / 2)

    def time(self, split: Split, rows_B: Tensor, uniform_B: Tensor) -> Tensor:
        """Times of examples: spread evenly over the test, random before `train_until` else."""
        if split != "test":
            return uniform_B * self.config.train_until
        return (rows_B + uniform_B) / self.config.test_examples

    def make(self, split: Split, rows_B: Tensor, generator: torch.Generator) -> Batch:
        """Examples; `time` [B] and `times` [B, K] of their histories, all earlier."""
        device, batch = generator.device, len(rows_B)
        shape = (batch, self.history_size + 1)
        uniform_BN = torch.rand(shape, generator=generator, device=device)
        time_B = self.time(split, rows_B, uniform_BN[:, 0])
        time_BN = torch.cat([time_B[:, None], time_B[:, None] * uniform_BN[:, 1:]], dim=1)
        label_BN = torch.randint(2, time_BN.shape, generator=generator, device=device)
        sign_BN1 = (2 * label_BN - 1).unsqueeze(-1).float()
        rows_BNd = torch.empty(*time_BN.shape, self.width, device=device)
        # Noise where it is needed: the history is the widest thing of a step.
        place_BND = rows_BNd[..., : self.config.dim]
        noise = torch.randn(place_BND.shape, generator=generator, device=device)
        place_BND.copy_(noise.addcmul_(self.centre(time_BN), sign_BN1))
        rows_BNd[..., self.config.dim :] = self.embed.to(device)(time_BN)
        rows_BNd[..., self.config.dim :] *= self.config.time_weight
        x_BD = rows_BNd[:, 0]
        named = {"x": x_BD, "key": x_BD, "place": x_BD[:, : self.config.dim]}
        named |= {"label": label_BN[:, 0], "time": time_B}
        history = {"keys": rows_BNd[:, 1:], "sign": sign_BN1[:, 1:], "times": time_BN[:, 1:]}
        return {**named, **history}


def turn(time: Tensor) -> Tensor:
    """Angle of the class axis, pi at time 0, 0 at time 1: slow at both ends, as in the paper."""
    return math.pi * (0.5 * torch.cos(math.pi * time) + 0.5)


def _orthonormal_pair(dim: int, generator: torch.Generator) -> Tensor:
    """Two random directions at right angles, `[2, dim]`, by Gram and Schmidt."""
    first_D, second_D = torch.randn(2, dim, generator=generator)
    first_D = first_D / first_D.norm()
    second_D = second_D - (second_D @ first_D) * first_D
    return torch.stack([first_D, second_D / second_D.norm()])
