"""Keys in whatever form they are stored, read as floats a piece at a time."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from raclib.errors import UserError

FLOAT_KEYS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class QuantizedKeys(NamedTuple):
    """Keys of one byte a number: row n stands for `values[n] * scales[n]`.

    Attributes:
        values: int8 [..., K, d].
        scales: float32 [..., K].
    """

    values: Tensor
    scales: Tensor


def quantize(keys: Tensor) -> QuantizedKeys:
    """Rounds float keys [..., K, d] to int8, the largest entry of a row at 127."""
    largest = keys.abs().amax(-1, keepdim=True).float()
    scales = largest.clamp_min(torch.finfo(torch.float32).tiny) / 127
    values = (keys / scales).round_().clamp_(-127, 127).to(torch.int8)
    return QuantizedKeys(values, scales.squeeze(-1))


@dataclass(frozen=True)
class KeyTable:
    """Read access to shared keys [K, d] or per-example keys [B, K, d].

    Attributes:
        values: The stored keys.
        scales: One factor a row, or None.
        dtype: What pieces are read as: float32, or float64 for float64 keys and queries.
    """

    values: Tensor
    scales: Tensor | None
    dtype: torch.dtype

    @classmethod
    def wrap(cls, keys: Tensor | QuantizedKeys, queries: Tensor) -> "KeyTable":
        """Checks keys against the queries [B, S, d] that will be scored with them."""
        values, scales = keys if isinstance(keys, QuantizedKeys) else (keys, None)
        if values.dtype not in (FLOAT_KEYS if scales is None else (torch.int8,)):
            raise UserError(f"keys are {values.dtype}: give floats, or int8 as QuantizedKeys")
        if scales is not None and scales.shape != values.shape[:-1]:
            raise UserError(
                f"scales are {list(scales.shape)}, the keys {list(values.shape)}: one scale a row"
            )
        batch, _, width = queries.shape
        if values.dim() not in (2, 3) or values.shape[-1] != width:
            raise UserError(
                f"keys are {list(values.shape)}: expected [K, {width}] or [B, K, {width}]"
            )
        if values.dim() == 3 and len(values) != batch:
            raise UserError(
                f"keys hold {len(values)} examples, the queries {batch}: make them equal"
            )
        if values.device != queries.device:
            raise UserError(f"keys are on {values.device}, queries on {queries.device}: move one")
        if scales is not None:
            if scales.device != values.device or not scales.is_floating_point():
                raise UserError(
                    f"scales are {scales.dtype} on {scales.device}: give float32 beside the keys"
                )
            scales = scales.float().contiguous()
        exact = scales is None and values.dtype == queries.dtype == torch.float64
        return cls(values, scales, torch.float64 if exact else torch.float32)

    def __len__(self) -> int:
        return self.values.shape[-2]

    @property
    def per_example(self) -> bool:
        """Whether each example has keys of its own."""
        return self.values.dim() == 3

    def rows(self, start: int, stop: int) -> "KeyTable":
        """The rows [start, stop) as a view."""
        scales = None if self.scales is None else self.scales[..., start:stop]
        return KeyTable(self.values[..., start:stop, :], scales, self.dtype)

    def examples(self, part: slice) -> "KeyTable":
        """The keys of some examples as a view: all of them where keys are shared."""
        if not self.per_example:
            return self
        return self.select(part)

    def select(self, index: slice | Tensor) -> "KeyTable":
        """Picks by the first dimension."""
        scales = None if self.scales is None else self.scales[index]
        return KeyTable(self.values[index], scales, self.dtype)

    def read(self) -> Tensor:
        """The keys as floats of `dtype`: no copy where they are stored so."""
        values = self.values.to(self.dtype)
        return values if self.scales is None else values.mul_(self.scales[..., None])

    def gather(self, rows_BT: Tensor) -> Tensor:
        """Rows by number, [B, T, d]."""
        if not self.per_example:
            # Several times faster than indexing with a tensor.
            row_P = rows_BT.flatten()
            scales = None if self.scales is None else self.scales.index_select(0, row_P)
            flat = KeyTable(self.values.index_select(0, row_P), scales, self.dtype).read()
            return flat.view(*rows_BT.shape, self.values.shape[-1])
        example_B1 = torch.arange(len(rows_BT), device=rows_BT.device)[:, None]
        scales = None if self.scales is None else self.scales[example_B1, rows_BT]
        return KeyTable(self.values[example_B1, rows_BT], scales, self.dtype).read()
