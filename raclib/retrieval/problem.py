"""What is drawn from: scaled queries, keys and eligible intervals, checked once."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from raclib.errors import UserError
from raclib.retrieval.product import ROUND_ROWS, product
from raclib.retrieval.table import KeyTable, QuantizedKeys

MASKED = -1e38  # the score of a row that is not eligible: finite, so that it makes no NaN
FLOOR = -1e30  # scores below it are masked
BLOCK_SCORES = 2**21  # scores held at once, 8 MB in float32: with fewer, calls cost too much
GPU_ROOM = 8  # times more is held at once on a GPU, where each step of a loop costs a launch


def room(numbers: int, device: torch.device) -> int:
    """How many numbers a pass may hold at once on a device, given how many on a CPU."""
    return numbers if device.type == "cpu" else GPU_ROOM * numbers


def check_finite(found: Tensor) -> None:
    """Raises a UserError where what was made of scores is NaN or infinite."""
    if not bool(found.isfinite().all()):
        raise UserError("scores are not finite: clear keys of NaN, or raise temperature")


class Scored(NamedTuple):
    """Scores of the rows [start, stop) for some examples, for whoever asked to overwrite.

    Attributes:
        start: First row.
        stop: One past the last row.
        examples: Those that may draw from these rows, and perhaps others.
        scores_bSC: MASKED outside an example's interval.
        keys_Cd: The keys, [b, C, d] where examples have their own.
    """

    start: int
    stop: int
    examples: slice
    scores_bSC: Tensor
    keys_Cd: Tensor


@dataclass(frozen=True)
class Problem:
    """Scaled queries, their keys and the interval of rows each example may draw.

    Scores are logits in base 2, since exp2 is the cheapest exponential on every device.

    Attributes:
        queries_BSd: Times scale / temperature * log2(e), in the dtype of `keys.dtype`, contiguous.
        keys: Shared or per example.
        lo_B: First eligible row, int64.
        hi_B: One past the last eligible row, int64.
        slope: scale / temperature, the derivative of a logit by q.k.
    """

    queries_BSd: Tensor
    keys: KeyTable
    lo_B: Tensor
    hi_B: Tensor
    slope: float

    @classmethod
    def build(
        cls,
        queries: Tensor,
        keys: Tensor | QuantizedKeys,
        temperature: float,
        lo: Tensor | None,
        hi: Tensor | None,
        scale: float | None,
    ) -> "Problem":
        """Checks arguments as `draw` documents them; no gradient passes."""
        if queries.dim() != 3 or not all(queries.shape[1:]) or not queries.is_floating_point():
            raise UserError(
                f"queries are {list(queries.shape)} {queries.dtype}: expected floats [B, S, d]"
            )
        if not bool(queries.isfinite().all()):
            raise UserError(
                "queries hold NaN or infinity: lower the learning rate or check the inputs"
            )
        table = KeyTable.wrap(keys, queries)
        slope = _slope(temperature, scale, queries.shape[-1])
        lo_B = _bound("lo", lo, 0, queries, len(table))
        hi_B = _bound("hi", hi, len(table), queries, len(table))
        if bool((lo_B > hi_B).any()):
            raise UserError("lo is above hi for some example: give intervals [lo, hi)")
        scaled_BSd = queries.detach().to(table.dtype) * (slope / math.log(2))
        return cls(scaled_BSd.contiguous(), table, lo_B, hi_B, slope)

    def examples(self, part: slice) -> "Problem":
        """The same for some examples."""
        keys = self.keys.examples(part)
        return Problem(self.queries_BSd[part], keys, self.lo_B[part], self.hi_B[part], self.slope)

    def shared_by(self, example_P: Tensor, slot_P: Tensor) -> "Problem":
        """Some single queries, each as an example of one slot; keys must be shared."""
        queries_P1d = self.queries_BSd[example_P, slot_P][:, None]
        lo_P, hi_P = self.lo_B[example_P], self.hi_B[example_P]
        return Problem(queries_P1d, self.keys, lo_P, hi_P, self.slope)

    def by_interval(self) -> tuple["Problem", Tensor]:
        """Examples ordered by interval, and the order; per-example keys stay where they are."""
        order_B = torch.argsort(self.hi_B, stable=True)
        if self.keys.per_example:
            return self, torch.arange(len(order_B), device=order_B.device)
        queries_BSd, lo_B, hi_B = self.queries_BSd[order_B], self.lo_B[order_B], self.hi_B[order_B]
        return Problem(queries_BSd, self.keys, lo_B, hi_B, self.slope), order_B

    def narrowed(self, multiple: int) -> tuple["Problem", int]:
        """Only rows that some example may draw, from a multiple of `multiple`; and the first."""
        some_B = self.lo_B < self.hi_B
        if not bool(some_B.any()):
            return Problem(
                self.queries_BSd, self.keys.rows(0, 0), self.lo_B, self.lo_B, self.slope
            ), 0
        base = int(self.lo_B[some_B].min()) // multiple * multiple
        keys = self.keys.rows(base, int(self.hi_B[some_B].max()))
        return Problem(self.queries_BSd, keys, self.lo_B - base, self.hi_B - base, self.slope), base

    def scores(self, spans: Iterable[tuple[int, int]]) -> Iterator["Scored"]:
        """Scores the rows of each span [start, stop), some examples at a time.

        Examples that may draw none of them are left out where they lie at either end of the batch:
        ordered by interval, a batch of windows costs what the windows hold.
        """
        batch, slots, _ = self.queries_BSd.shape
        most = room(BLOCK_SCORES, self.lo_B.device)
        lo, hi = (int(self.lo_B.max()), int(self.hi_B.min())) if batch else (0, 0)
        for start, stop in spans:
            part, partial = slice(0, batch), not lo <= start < stop <= hi
            if partial:
                part, partial = self._touching(start, stop)
            keys = self.keys.rows(start, stop)
            shared_Cd = None if keys.per_example else keys.read()
            row_C = torch.arange(start, stop, device=self.lo_B.device)
            for block in _blocks(part, slots, most // (slots * (stop - start))):
                keys_Cd = keys.examples(block).read() if shared_Cd is None else shared_Cd
                scores_bSC = product(self.queries_BSd[block], keys_Cd)
                if partial:
                    outside_bC = (row_C < self.lo_B[block, None]) | (
                        row_C >= self.hi_B[block, None]
                    )
                    scores_bSC.masked_fill_(outside_bC[:, None], MASKED)
                yield Scored(start, stop, block, scores_bSC, keys_Cd)
                del scores_bSC  # before there are others

    def _touching(self, start: int, stop: int) -> tuple[slice, bool]:
        """The run of examples that may draw from these rows, and whether some may not from all."""
        touching_P = ((self.lo_B < stop) & (self.hi_B > start)).nonzero()[:, 0]
        if not len(touching_P):
            return slice(0, 0), False
        part = slice(int(touching_P[0]), int(touching_P[-1]) + 1)
        inside = bool((self.lo_B[part].max() <= start) & (self.hi_B[part].min() >= stop))
        return part, not inside


def _blocks(part: slice, slots: int, most: int) -> Iterator[slice]:
    """Up to so many examples at a time, but as few by oddly many queries as can be."""
    unit = ROUND_ROWS // math.gcd(ROUND_ROWS, slots)
    most = max(most // unit * unit or most, 1)
    start = part.start
    while start < part.stop:
        left = part.stop - start
        size = min(most, left // unit * unit or left)
        yield slice(start, start + size)
        start += size


def _slope(temperature: float, scale: float | None, width: int) -> float:
    if not (math.isfinite(temperature) and temperature > 0):
        raise UserError(f"temperature is {temperature}: it must be above 0")
    factor = 1 / math.sqrt(width) if scale is None else scale
    if not math.isfinite(factor):
        raise UserError(f"scale is {scale}: it must be a finite number")
    return factor / temperature


def _bound(name: str, bound: Tensor | None, default: int, queries: Tensor, num_keys: int) -> Tensor:
    batch = len(queries)
    if bound is None:
        return torch.full((batch,), default, device=queries.device)
    if bound.shape != (batch,) or bound.is_floating_point():
        raise UserError(f"{name} is {list(bound.shape)} {bound.dtype}: expected int64 [{batch}]")
    if batch and (int(bound.min()) < 0 or int(bound.max()) > num_keys):
        raise UserError(f"{name} leaves 0..{num_keys}, the number of keys: clip the intervals")
    return bound.to(queries.device, torch.int64)
