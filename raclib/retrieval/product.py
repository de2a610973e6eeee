"""Products of float32 matrices, by oneDNN where they are on a CPU.

PyTorch leaves float32 products on a CPU to MKL, which does without AVX-512 on AMD's; oneDNN rounds
as it does and takes what the machine has. Other types, devices and builds go as PyTorch sends them.

oneDNN compiles a kernel for every shape and keeps it, and results of ever new sizes between them
would leave holes in memory: it is given round shapes only, of which a draw makes few.
"""

import torch
from torch import Tensor

ROUND_ROWS, ROUND_COLUMNS = 128, 256
ROUND_WIDTH = 16  # of a key: columns of the product of weights and keys


def product(left_xJ: Tensor, right_NJ: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """left @ right.T + bias, float32 or float64 [..., N]; `right` may have leading dimensions.

    No gradient passes.
    """
    if HAS_ONEDNN and _suits(left_xJ, right_NJ):
        return _by_onednn(left_xJ, right_NJ, bias_N)
    found_xN = left_xJ @ right_NJ.mT
    return found_xN if bias_N is None else found_xN.add_(bias_N)


def _suits(left_xJ: Tensor, right_NJ: Tensor) -> bool:
    if left_xJ.dtype != torch.float32 or left_xJ.device.type != "cpu" or right_NJ.dim() != 2:
        return False
    rows, columns = left_xJ.shape[:-1].numel(), len(right_NJ)
    unit = ROUND_WIDTH if columns < ROUND_COLUMNS else ROUND_COLUMNS
    return rows % ROUND_ROWS == 0 and columns % unit == 0


def _by_onednn(left_xJ: Tensor, right_NJ: Tensor, bias_N: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(left_xJ, right_NJ, bias_N, "none", [], "")


def _has_onednn() -> bool:
    """Whether PyTorch has the operator, which is none of its public ones, and it multiplies."""
    left, right = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        found = _by_onednn(left, right, right[:, 0].contiguous())
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(found, left @ right.T + right[:, 0])


HAS_ONEDNN = _has_onednn()
