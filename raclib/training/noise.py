"""The randomness of a step, the same whatever number of workers shares its batch."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CHANGES = 1


@dataclass(frozen=True)
class Noise:
    """Uniform numbers in [0, 1), float64, one row an example of the local batch.

    Attributes:
        draw_MBS2: For the draws: M sets, S slots, two numbers each.
        input_B: Decides whether the classifier sees the input.
        item_BS: Decides which retrieved rows it sees.
        change_BX: For the changes of `rule_changes`; X is 0 where nothing changes.
    """

    draw_MBS2: Tensor
    input_B: Tensor
    item_BS: Tensor
    change_BX: Tensor

    def to(self, device: torch.device) -> "Noise":
        """The same on a device."""
        return Noise(*(values.to(device) for values in vars(self).values()))


def step_noise(
    seed: int,
    step: int,
    positions: slice,
    batch_size: int,
    num_sets: int,
    num_draws: int,
    num_change: int = 0,
) -> Noise:
    """The noise of examples at `positions` of the global batch of a step.

    It is a function of (seed, step, position), so a resumed run, and a run on another number of
    workers, draws the same rows.
    """
    draws = num_sets * num_draws * 2
    rng = np.random.default_rng((seed, step))
    uniform = torch.from_numpy(rng.random((batch_size, draws + 1 + num_draws)))[positions]
    draw_BMS2 = uniform[:, :draws].unflatten(1, (num_sets, num_draws, 2))
    # Numbers of their own, so that a run draws the same rows with changes and without.
    rng = np.random.default_rng((seed, step, CHANGES))
    change_BX = torch.from_numpy(rng.random((batch_size, num_change)))[positions]
    return Noise(draw_BMS2.transpose(0, 1), uniform[:, draws], uniform[:, draws + 1 :], change_BX)
