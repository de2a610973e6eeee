"""Two lines nobody should lose to: recent labels, and a vote of nearest neighbours."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from raclib.retrieval.keys import KeySet
from raclib.retrieval.table import QuantizedKeys

TILE = 8192


def recent_share(
    time: np.ndarray, label: np.ndarray, time_N: np.ndarray, num_classes: int, num_recent: int
) -> np.ndarray:
    """Frequencies of the classes among the last labels known before each row's time, `[N, C]`.

    Args:
        time: When each label of the corpus was known, ascending.
        label: These labels, 0 to C - 1; -1 where there is none, which is passed over.
        time_N: Times of the rows to predict, in any order; labels of earlier times are known.
        num_classes: C.
        num_recent: Labels looked at; fewer where the corpus begins (all classes are alike where
            there is none).
    """
    time, label = time[label >= 0], label[label >= 0]
    hi_N = np.searchsorted(time, time_N)
    lo_N = np.maximum(hi_N - num_recent, 0)
    count_NC = np.empty((len(time_N), num_classes))
    places = np.argsort(label, kind="stable")  # of the labels of each class, ascending
    bounds = np.searchsorted(label[places], np.arange(1, num_classes))
    for number, mine in enumerate(np.split(places, bounds)):
        count_NC[:, number] = np.searchsorted(mine, hi_N) - np.searchsorted(mine, lo_N)
    return _share(count_NC)


def neighbour_votes(
    keys: KeySet,
    label: np.ndarray,
    queries_Nd: Tensor,
    time_N: Tensor,
    num_classes: int,
    window: int,
    num_neighbours: Sequence[int],
    batch_size: int = 256,
) -> np.ndarray:
    """Frequencies of the classes among the keys of highest product with each query.

    Args:
        keys: Keys of the whole corpus, and when their labels were known.
        label: These labels, 0 to C - 1; -1 where there is none: such a key has no vote.
        queries_Nd: Keys of the rows to predict; fastest in time order.
        time_N: Times of the rows to predict; keys of earlier times are known.
        num_classes: C.
        window: Keys of the sliding window.
        num_neighbours: Numbers of neighbours that vote; one search serves them all.
        batch_size: Queries at a time.

    Returns:
        `[len(num_neighbours), N, C]`.
    """
    assert not isinstance(keys.keys, QuantizedKeys)
    label_K = torch.from_numpy(label).to(keys.keys.device)
    has_vote_K = label_K >= 0
    votes_VNC = np.empty((len(num_neighbours), len(queries_Nd), num_classes))
    starts = range(0, len(queries_Nd), batch_size)
    for start in tqdm(starts, "neighbours", unit="batch"):
        part = slice(start, start + batch_size)
        lo_B, hi_B = keys.window(time_N[part], window)
        best_BN, rows_BN = _search(
            queries_Nd[part], keys.keys, has_vote_K, lo_B, hi_B, max(num_neighbours)
        )
        # A place that found no key has a vote of weight 0.
        weight_BN, label_BN = torch.isfinite(best_BN).double(), label_K[rows_BN].clamp_min(0)
        for place, num in enumerate(num_neighbours):
            count_BC = weight_BN.new_zeros(len(best_BN), num_classes)
            count_BC.scatter_add_(1, label_BN[:, :num], weight_BN[:, :num])
            votes_VNC[place, part] = _share(count_BC.cpu().numpy())
    return votes_VNC


def _share(count_NC: np.ndarray) -> np.ndarray:
    # One more label, shared by all classes, keeps a run of equal labels from claiming certainty.
    return (count_NC + 1 / count_NC.shape[1]) / (count_NC.sum(axis=1, keepdims=True) + 1)


def _search(
    queries_Bd: Tensor, keys_Kd: Tensor, has_vote_K: Tensor, lo_B: Tensor, hi_B: Tensor, num: int
) -> tuple[Tensor, Tensor]:
    """Exact best keys of a batch that vote, tile by tile; -inf where there are fewer than `num`."""
    best_BN = queries_Bd.new_full((len(queries_Bd), num), -torch.inf)
    rows_BN = torch.zeros_like(best_BN, dtype=torch.int64)
    for start in range(int(lo_B.min()), int(hi_B.max()), TILE):
        ids_T = torch.arange(start, min(start + TILE, int(hi_B.max())), device=keys_Kd.device)
        scores_BT = queries_Bd @ keys_Kd[ids_T[0] : ids_T[-1] + 1].to(queries_Bd.dtype).T
        eligible_BT = (ids_T >= lo_B[:, None]) & (ids_T < hi_B[:, None]) & has_vote_K[ids_T]
        scores_BT.masked_fill_(~eligible_BT, -torch.inf)
        scores_BX = torch.cat([best_BN, scores_BT], dim=1)
        rows_BX = torch.cat([rows_BN, ids_T.expand(len(queries_Bd), -1)], dim=1)
        best_BN, places_BN = scores_BX.topk(num, dim=1)
        rows_BN = rows_BX.gather(1, places_BN)
    return best_BN, rows_BN
