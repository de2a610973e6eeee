"""The types that travel between data, models and training."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from raclib.arrays import Arrays

Split = Literal["train", "validation", "test"]
"""A set of examples: learned from, validated on, tested on."""

Batch = dict[str, Tensor]
"""Named tensors of examples, or of retrieved rows; the first axes are the same in all of them."""


def to_tensors(arrays: Arrays, device: torch.device) -> Batch:
    """Arrays as tensors on a device; on the CPU only read-only arrays are copied."""
    return {
        name: torch.from_numpy(np.require(array, requirements="W")).to(device)
        for name, array in arrays.items()
    }
