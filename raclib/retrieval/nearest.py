"""The best keys of each query within its interval, exactly."""

from typing import NamedTuple

import torch
from torch import Tensor

from raclib.retrieval.precision import full_precision
from raclib.retrieval.search import PIECE, Search
from raclib.retrieval.table import KeyTable, QuantizedKeys

QUERIES_AT_ONCE = 256


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
        search = Search(queries_bd, table, lo_B[part_b], hi_B[part_b], bias_K)
        rows_bn, scores_bn = search.best(count)
        found = rows_bn.shape[1]  # fewer than N where there are fewer keys
        rows_BN[part_b, :found], scores_BN[part_b, :found] = rows_bn, scores_bn
    return Nearest(rows_BN.masked_fill_(scores_BN == -torch.inf, -1), scores_BN)
