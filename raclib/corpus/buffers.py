"""Memory for the rows a fetch returns."""

import sys

import numpy as np

from raclib.corpus.gather import Array
from raclib.corpus.manifest import Field


def allocate(num_rows: int, field: Field) -> Array:
    """A writable array `[num_rows, *field.shape]`, not initialised.

    It is page-locked where this process uses a GPU, so that rows can be copied there while the GPU
    works on; PyTorch uses the memory again once the array is gone. It is not imported for this.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return np.empty((num_rows, *field.shape), field.dtype)
    memory = torch.empty(num_rows * field.row_bytes, dtype=torch.uint8, pin_memory=True)
    return memory.numpy().view(field.dtype).reshape(num_rows, *field.shape)
