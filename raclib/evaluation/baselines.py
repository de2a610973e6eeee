"""Two lines nobody should lose to: recent labels, and a vote of nearest neighbours."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from raclib.retrieval.keys import KeySet
from raclib.retrieval.nearest import distance_bias, nearest
from raclib.retrieval.table import QuantizedKeys


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
) -> np.ndarray:
    """Frequencies of the classes among the keys nearest to each query.

    Args:
        keys: Keys of the whole corpus, and when their labels were known.
        label: These labels, 0 to C - 1; -1 where there is none: such a key has no vote.
        queries_Nd: Keys of the rows to predict.
        time_N: Times of the rows to predict; keys of earlier times are known.
        num_classes: C.
        window: Keys of the sliding window.
        num_neighbours: Numbers of neighbours that vote; one search serves them all.

    Returns:
        `[len(num_neighbours), N, C]`.
    """
    assert not isinstance(keys.keys, QuantizedKeys)
    label_K = torch.from_numpy(label).to(keys.keys.device)
    bias_K = distance_bias(keys.keys).masked_fill_(label_K < 0, -torch.inf)
    lo_N, hi_N = keys.window(time_N, window)
    rows_NM = nearest(queries_Nd, keys.keys, max(num_neighbours), lo_N, hi_N, bias_K).rows_BN
    # A place that found no key has a vote of weight 0.
    weight_NM, label_NM = (rows_NM >= 0).double(), label_K[rows_NM].clamp_min(0)
    votes = []
    for num in num_neighbours:
        count_NC = weight_NM.new_zeros(len(rows_NM), num_classes)
        count_NC.scatter_add_(1, label_NM[:, :num], weight_NM[:, :num])
        votes.append(_share(count_NC.cpu().numpy()))
    return np.stack(votes)


def _share(count_NC: np.ndarray) -> np.ndarray:
    # One more label, shared by all classes, keeps a run of equal labels from claiming certainty.
    return (count_NC + 1 / count_NC.shape[1]) / (count_NC.sum(axis=1, keepdims=True) + 1)
