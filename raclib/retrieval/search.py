"""A streamed search for the best rows of some queries.

Among many rows it takes two steps. All are scored, but of each block of neighbours only the best
score is looked at: the best `count` rows lie in the best `count` blocks. These are scored again,
row by row.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from raclib.retrieval.problem import room
from raclib.retrieval.product import product
from raclib.retrieval.table import KeyTable

BLOCK = 32  # rows
DIRECT = 512  # times `count`: among fewer rows, blocks cost more than they save
SCORES = 2**21  # numbers held at once, 8 MB in float32
PIECE = 2**13  # keys widened at once


@dataclass(frozen=True)
class Search:
    """Queries that are looked at together, and what they may find.

    Attributes:
        queries_bd: In the type of `table.dtype`.
        table: Shared keys.
        lo_b: First row each query may find, int64.
        hi_b: One past the last.
        bias_K: Added to the product with a key, or None.
    """

    queries_bd: Tensor
    table: KeyTable
    lo_b: Tensor
    hi_b: Tensor
    bias_K: Tensor | None

    def best(self, count: int) -> tuple[Tensor, Tensor]:
        """The best rows and their scores, [b, n] in falling order, equal ones in that of rows.

        Scores are -inf outside a query's interval; n is less than `count` where rows are.
        """
        first, stop = int(self.lo_b.min()), int(self.hi_b.max())
        if stop - first <= DIRECT * count:
            rows_bn, scores_bn = self._units(first, stop, 1, count)
        else:
            blocks_bn, _ = self._units(first, stop, BLOCK, count)
            row_T = torch.arange(BLOCK, device=blocks_bn.device)
            rows_bX = (blocks_bn[..., None] * BLOCK + row_T).flatten(1)
            scores_bX = self._scores_of(rows_bX)
            kept_bn = _largest(scores_bX, count)
            rows_bn, scores_bn = rows_bX.gather(1, kept_bn), scores_bX.gather(1, kept_bn)
        scores_bn, order_bn = scores_bn.sort(dim=1, descending=True, stable=True)
        return rows_bn.gather(1, order_bn), scores_bn

    def _units(self, first: int, stop: int, rows: int, count: int) -> tuple[Tensor, Tensor]:
        """The best `count` runs of so many rows, rising by number, and their best scores."""
        start, end = first // rows, -(-stop // rows)
        ids_bn = torch.empty(len(self.lo_b), 0, dtype=torch.int64, device=self.lo_b.device)
        tops_bn = self.queries_bd.new_empty(ids_bn.shape)
        step = max(room(SCORES, self.lo_b.device) // len(self.lo_b), 1)
        for at in range(start, end, step):
            held = tops_bn.shape[1]
            tops_bM = torch.cat([tops_bn, *self._tops(at, min(at + step, end), rows)], dim=1)
            kept_bn = _largest(tops_bM, count)
            tops_bn = tops_bM.gather(1, kept_bn)
            ids_bn = F.pad(ids_bn, (0, 1))  # what is read of it beyond those held does not count
            old_bn = ids_bn.gather(1, kept_bn.clamp(max=held))
            ids_bn = torch.where(kept_bn < held, old_bn, kept_bn - held + at)
        return ids_bn, tops_bn

    def _tops(self, start: int, stop: int, rows: int) -> Iterator[Tensor]:
        """The best score of each run of so many rows, [b, M] of some at a time."""
        device = self.lo_b.device
        at_once = min(room(SCORES, device) // len(self.lo_b), room(PIECE, device))
        step = max(at_once // rows, 1)
        for at in range(start, stop, step):
            scores_bT = self._scores(at * rows, min(at + step, stop) * rows)
            missing = -scores_bT.shape[1] % rows  # of the last run
            if missing:
                scores_bT = F.pad(scores_bT, (0, missing), value=-torch.inf)
            yield scores_bT if rows == 1 else scores_bT.unflatten(1, (-1, rows)).amax(-1)

    def _scores(self, start: int, stop: int) -> Tensor:
        """Of the rows [start, stop), as far as there are any, [b, T]."""
        stop = min(stop, len(self.table))
        bias_T = None if self.bias_K is None else self.bias_K[start:stop]
        scores_bT = product(self.queries_bd, self.table.rows(start, stop).read(), bias_T)
        if start < int(self.lo_b.max()) or stop > int(self.hi_b.min()):
            row_T = torch.arange(start, stop, device=self.lo_b.device)
            outside_bT = (row_T < self.lo_b[:, None]) | (row_T >= self.hi_b[:, None])
            scores_bT.masked_fill_(outside_bT, -torch.inf)
        return scores_bT

    def _scores_of(self, rows_bX: Tensor) -> Tensor:
        """Of each query's own rows."""
        numbers = rows_bX.shape[1] * self.queries_bd.shape[1]
        step = max(room(SCORES, rows_bX.device) // numbers, 1)
        held_bX = rows_bX.clamp(max=len(self.table) - 1)  # the last block may lack some
        pieces = zip(held_bX.split(step), self.queries_bd.split(step), strict=True)
        found = [(self.table.gather(rows) @ queries[..., None])[..., 0] for rows, queries in pieces]
        scores_bX = torch.cat(found)
        if self.bias_K is not None:
            scores_bX += self.bias_K[held_bX]
        outside_bX = (rows_bX < self.lo_b[:, None]) | (rows_bX >= self.hi_b[:, None])
        return scores_bX.masked_fill_(outside_bX, -torch.inf)


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
