"""Tensors that rows are added to, without moving those that are there."""

import torch
from torch import Tensor


def with_room(shape: tuple[int, ...], room: int, dtype: torch.dtype, device: object) -> Tensor:
    """An empty tensor of a shape, whose storage has room for more rows behind it.

    Room takes no memory before it is written: on the CPU the system gives pages when first touched.
    """
    whole = torch.empty((shape[0] + room, *shape[1:]), dtype=dtype, device=device)  # type: ignore[call-overload]
    return whole[: shape[0]]


def grow(rows_K: Tensor, more_N: Tensor) -> Tensor:
    """Both, one after the other.

    The new ones are written behind the first where their storage has room; else all are copied
    once, to storage of twice the size. Earlier results stay what they are, but only the newest may
    be grown again.

    Args:
        rows_K: `[K, ...]`, the first rows of their storage.
        more_N: `[N, ...]`.
    """
    assert rows_K.is_contiguous() and rows_K.storage_offset() == 0, "rows begin their storage"
    shape = torch.Size((len(rows_K) + len(more_N), *rows_K.shape[1:]))
    if shape.numel() * rows_K.element_size() > rows_K.untyped_storage().nbytes():
        moved = with_room(shape, shape[0], rows_K.dtype, rows_K.device)
        moved[: len(rows_K)] = rows_K
    else:
        moved = rows_K.as_strided(shape, torch.empty(shape, device="meta").stride())
    moved[len(rows_K) :] = more_N
    return moved
