"""Two lines nobody should lose to: recent labels, and a vote of nearest neighbours."""

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from raclib.retrieval.keys import KeySet
from raclib.retrieval.table import QuantizedKeys

TILE = 8192


def recent_share(
    time: np.ndarray, label: np.ndarray, rows: np.ndarray, num_recent: int
) -> np.ndarray:
    """Share of label 1 among the last labels before each row, `[N]`; its majority is above 0.5.

    Args:
        time: Times of all corpus rows, ascending.
        label: Their labels.
        rows: Row ids to predict.
        num_recent: Labels looked at; fewer where the corpus begins (0.5 where there is none).
    """
    hi = np.searchsorted(time, time[rows])
    lo = np.maximum(hi - num_recent, 0)
    sums = np.concatenate([[0], np.cumsum(label)])
    # Half a label of each kind keeps a run of equal labels from claiming certainty.
    return (sums[hi] - sums[lo] + 0.5) / (hi - lo + 1)


def neighbour_vote(
    keys: KeySet,
    label: np.ndarray,
    queries_Nd: Tensor,
    time_N: Tensor,
    window: int,
    num_neighbours: int,
    batch_size: int = 256,
) -> np.ndarray:
    """Share of label 1 among the keys of highest product with each query, in its window, `[N]`.

    Args:
        keys: Keys of the whole corpus.
        label: Labels of the whole corpus.
        queries_Nd: Keys of the rows to predict, in time order.
        time_N: Their times.
        window: Rows of the sliding window.
        num_neighbours: Neighbours that vote.
        batch_size: Queries at a time.
    """
    assert not isinstance(keys.keys, QuantizedKeys)
    votes = [np.empty(0)]
    batches = zip(queries_Nd.split(batch_size), time_N.split(batch_size), strict=True)
    num_batches = -(-len(queries_Nd) // batch_size)
    for queries_Bd, time_B in tqdm(batches, "neighbours", num_batches, unit="batch"):
        lo_B, hi_B = keys.window(time_B, window)
        scores_BN, rows_BN = _search(queries_Bd, keys.keys, lo_B, hi_B, num_neighbours)
        found_BN = torch.isfinite(scores_BN).cpu().numpy()
        positive_B = (label[rows_BN.cpu().numpy()] * found_BN).sum(axis=1)
        votes.append((positive_B + 0.5) / (found_BN.sum(axis=1) + 1))
    return np.concatenate(votes)


def _search(
    queries_Bd: Tensor, keys_Kd: Tensor, lo_B: Tensor, hi_B: Tensor, num: int
) -> tuple[Tensor, Tensor]:
    """Exact best keys of a batch, tile by tile; -inf where there are fewer than `num`."""
    best_BN = queries_Bd.new_full((len(queries_Bd), num), -torch.inf)
    rows_BN = torch.zeros_like(best_BN, dtype=torch.int64)
    for start in range(int(lo_B.min()), int(hi_B.max()), TILE):
        ids_T = torch.arange(start, min(start + TILE, int(hi_B.max())), device=keys_Kd.device)
        scores_BT = queries_Bd @ keys_Kd[ids_T[0] : ids_T[-1] + 1].to(queries_Bd.dtype).T
        eligible_BT = (ids_T >= lo_B[:, None]) & (ids_T < hi_B[:, None])
        scores_BT.masked_fill_(~eligible_BT, -torch.inf)
        scores_BX = torch.cat([best_BN, scores_BT], dim=1)
        rows_BX = torch.cat([rows_BN, ids_T.expand(len(queries_Bd), -1)], dim=1)
        best_BN, places_BN = scores_BX.topk(num, dim=1)
        rows_BN = rows_BX.gather(1, places_BN)
    return best_BN, rows_BN
