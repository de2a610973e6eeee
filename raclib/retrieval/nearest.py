"""The best keys of each query within its interval, exactly: a streamed search in two steps.

Keys are scored once, and of each block of neighbouring rows only its best score is looked at. The
best `count` rows lie in the best `count` blocks, which are then scored again row by row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from raclib.retrieval.precision import full_precision
from raclib.retrieval.problem import room
from raclib.retrieval.product import product
from raclib.retrieval.table import KeyTable, QuantizedKeys

BLOCK = 32  # rows
QUERIES_AT_ONCE = 256
SCORES = 2**21  # numbers held at once, 8 MB in float32
PIECE = 2**13  # keys widened at once


class Nearest(NamedTuple):
    """Keys in falling order of their scores, equal ones in the order of their rows.

    Attributes:
        rows_BN: int64; -1 where fewer than N keys are eligible.
        scores_BN: float32; -inf there.
    """

    rows_BN: Tensor
    scores_BN: Tensor


def distance_bias(keys_Kd: Tensor) -> Tensor:
    """Minus half the squared length of each key, float32 `[K]`: see `nearest`."""
    pieces = (keys_bd.float().square().sum(1) for keys_bd in keys_Kd.split(PIECE))
    return torch.cat([torch.zeros(0, device=keys_Kd.device), *pieces]) / -2


@full_precision()
@torch.no_grad()
def nearest(
    queries_Bd: Tensor,
    keys: Tensor | QuantizedKeys,
    count: int,
    lo_B: Tensor,
    hi_B: Tensor,
    bias_K: Tensor | None = None,
) -> Nearest:
    """The `count` keys of highest score with each query; nothing of size B x K is held.

    Queries are taken in the order of their intervals, so that those that are looked at together
    scan little more than each of them has to.

    Args:
        queries_Bd: float32.
        keys: [K, d], any float type, or int8 as `QuantizedKeys`; widened a piece at a time.
        count: N.
        lo_B, hi_B: int64, the keys [lo, hi) that are eligible for each query.
        bias_K: float32, added to the product with a key: -inf leaves a key out, and
            `distance_bias` makes the best keys the nearest ones.
    """
    table = KeyTable.wrap(keys, queries_Bd[:, None])
    rows_BN = torch.full((len(queries_Bd), count), -1, device=queries_Bd.device)
    scores_BN = torch.full(rows_BN.shape, -torch.inf, dtype=table.dtype, device=queries_Bd.device)
    order_B = hi_B.argsort()
    for start in range(0, len(order_B), QUERIES_AT_ONCE):
        part_b = order_B[start : start + QUERIES_AT_ONCE]
        queries_bd = queries_Bd[part_b].to(table.dtype)
        search = _Search(queries_bd, table, lo_B[part_b], hi_B[part_b], bias_K)
        rows_bn, scores_bn = search.rows(search.blocks(count), count)
        found = rows_bn.shape[1]  # fewer than N where there are fewer keys
        rows_BN[part_b, :found], scores_BN[part_b, :found] = rows_bn, scores_bn
    return Nearest(rows_BN.masked_fill_(scores_BN == -torch.inf, -1), scores_BN)


@dataclass(frozen=True)
class _Search:
    """Queries that are looked at together, and what they may find."""

    queries_bd: Tensor
    table: KeyTable
    lo_b: Tensor
    hi_b: Tensor
    bias_K: Tensor | None

    def blocks(self, count: int) -> Tensor:
        """The `count` blocks of highest scores [b, n], rising; all where there are no more."""
        queries, device = len(self.lo_b), self.lo_b.device
        first, end = int(self.lo_b.min()) // BLOCK, -(-int(self.hi_b.max()) // BLOCK)
        ids_bn = torch.empty(queries, 0, dtype=torch.int64, device=device)
        tops_bn = self.queries_bd.new_empty(queries, 0)
        most = max(room(SCORES, device) // queries, 1)
        for start in range(first, end, most):
            stop = min(start + most, end)
            tops_bn = torch.cat([tops_bn, *self._tops(start, stop)], dim=1)
            new_M = torch.arange(start, stop, device=device)
            ids_bn = torch.cat([ids_bn, new_M.expand(queries, -1)], dim=1)
            kept_bn = _largest(tops_bn, count)
            ids_bn, tops_bn = ids_bn.gather(1, kept_bn), tops_bn.gather(1, kept_bn)
        return ids_bn

    def rows(self, blocks_bn: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The best `count` rows of blocks and their scores [b, n], in falling order."""
        row_T = torch.arange(BLOCK, device=blocks_bn.device)
        rows_bX = (blocks_bn[..., None] * BLOCK + row_T).flatten(1)
        numbers = max(rows_bX.shape[1] * self.queries_bd.shape[1], 1)
        step = max(room(SCORES, blocks_bn.device) // numbers, 1)
        pieces = [
            self._scores_of(slice(at, at + step), rows_bX[at : at + step])
            for at in range(0, len(rows_bX), step)
        ]
        scores_bX = torch.cat(pieces)
        best_bn = _largest(scores_bX, count)
        scores_bn, order_bn = scores_bX.gather(1, best_bn).sort(dim=1, descending=True, stable=True)
        return rows_bX.gather(1, best_bn).gather(1, order_bn), scores_bn

    def _tops(self, start: int, stop: int) -> Iterator[Tensor]:
        """The highest score of each block, [b, M] of some at a time; -inf where none counts."""
        rows = min(room(SCORES, self.lo_b.device) // len(self.lo_b), room(PIECE, self.lo_b.device))
        step = max(rows // BLOCK, 1)
        for at in range(start, stop, step):
            scores_bT = self._scores(at * BLOCK, min(at + step, stop) * BLOCK)
            missing = -scores_bT.shape[1] % BLOCK  # of the last block
            if missing:
                scores_bT = F.pad(scores_bT, (0, missing), value=-torch.inf)
            yield scores_bT.unflatten(1, (-1, BLOCK)).amax(-1)

    def _scores(self, start: int, stop: int) -> Tensor:
        """Of the rows [start, stop), as far as there are any; -inf outside the intervals."""
        stop = min(stop, len(self.table))
        bias_T = None if self.bias_K is None else self.bias_K[start:stop]
        scores_bT = product(self.queries_bd, self.table.rows(start, stop).read(), bias_T)
        if start < int(self.lo_b.max()) or stop > int(self.hi_b.min()):
            row_T = torch.arange(start, stop, device=self.lo_b.device)
            outside_bT = (row_T < self.lo_b[:, None]) | (row_T >= self.hi_b[:, None])
            scores_bT.masked_fill_(outside_bT, -torch.inf)
        return scores_bT

    def _scores_of(self, part: slice, rows_cX: Tensor) -> Tensor:
        """Of each query's own rows; -inf outside its interval."""
        outside_cX = (rows_cX < self.lo_b[part, None]) | (rows_cX >= self.hi_b[part, None])
        rows_cX = rows_cX.clamp(max=len(self.table) - 1)  # rows of the last block may be missing
        scores_cX = (self.table.gather(rows_cX) @ self.queries_bd[part, :, None])[..., 0]
        if self.bias_K is not None:
            scores_cX += self.bias_K[rows_cX]
        return scores_cX.masked_fill_(outside_cX, -torch.inf)


def _largest(values_bM: Tensor, count: int) -> Tensor:
    """Columns [b, n] of the `count` largest, rising; of equal ones the first."""
    if values_bM.shape[1] <= count:
        return torch.arange(values_bM.shape[1], device=values_bM.device).expand(values_bM.shape)
    least_b1 = values_bM.topk(count, dim=1, sorted=False).values.amin(1, keepdim=True)
    kept_bM = values_bM >= least_b1
    if int(kept_bM.sum()) > count * len(kept_bM):
        spare_b1 = count - (values_bM > least_b1).sum(1, keepdim=True)
        equal_bM = values_bM == least_b1
        kept_bM &= ~equal_bM | (equal_bM.cumsum(1, dtype=torch.int32) <= spare_b1)
    return kept_bM.nonzero()[:, 1].view(-1, count)
