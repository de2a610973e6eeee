"""Two lines nobody should lose to: recent labels, and a vote of nearest neighbours."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from raclib.corpus import Corpus
from raclib.corpus.reader import take_from
from raclib.models.base.refit import LabelledRows
from raclib.retrieval.keys import KeySet
from raclib.retrieval.nearest import distance_bias, nearest
from raclib.retrieval.table import QuantizedKeys
from raclib.sampling import PIECE_ROWS

STRETCH_ROWS = 2**18
"""Rows whose keys are held at once, beside those of a window."""


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
    has_label = label >= 0
    if not has_label.all():
        time, label = time[has_label], label[has_label]
    hi_N, num_recent = np.searchsorted(time, time_N), min(num_recent, len(time))
    step, count_NC = max(1, PIECE_ROWS // max(1, num_recent)), np.empty((len(time_N), num_classes))
    for start in range(0, len(time_N), step):
        piece = slice(start, start + step)
        place_nR = hi_N[piece, None] - 1 - np.arange(num_recent)
        count_NC[piece] = _count(label[place_nR.clip(0)], place_nR >= 0, num_classes)
    return _share(count_NC)


def _count(label_nR: np.ndarray, is_there_nR: np.ndarray, num_classes: int) -> np.ndarray:
    """How often each class comes in each row, `[n, C]`."""
    number_nR = label_nR + num_classes * np.arange(len(label_nR))[:, None]
    counts = np.bincount(number_nR[is_there_nR], minlength=len(label_nR) * num_classes)
    return counts.reshape(len(label_nR), num_classes)


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
    weight_NM, label_NM = (rows_NM >= 0).double(), label_K[rows_NM].clamp_min(0).long()
    votes = []
    for num in num_neighbours:
        count_NC = weight_NM.new_zeros(len(rows_NM), num_classes)
        count_NC.scatter_add_(1, label_NM[:, :num], weight_NM[:, :num])
        votes.append(_share(count_NC.cpu().numpy()))
    return np.stack(votes)


def windowed_votes(
    corpus: Corpus,
    data: LabelledRows,
    rows: np.ndarray,
    window: int,
    num_neighbours: Sequence[int],
) -> np.ndarray:
    """`neighbour_votes` for rows of a corpus, reading keys of a stretch of time at a time.

    Args:
        corpus: The keys.
        data: Labels and times of all its rows.
        rows: Ids of the rows to predict, int64 `[N]`.
        window: Keys of the sliding window.
        num_neighbours: Numbers of neighbours that vote.

    Returns:
        `[len(num_neighbours), N, C]`.
    """
    queries_Nd = torch.from_numpy(take_from(corpus)(rows, ("key",))["key"]).float()
    time_N = torch.from_numpy(data.event[rows])
    stretch_N = np.searchsorted(data.known, data.event[rows]) // STRETCH_ROWS
    votes = np.empty((len(num_neighbours), len(rows), data.num_classes))
    for stretch in np.unique(stretch_N).tolist():
        lo = max(0, stretch * STRETCH_ROWS - window)
        hi = min((stretch + 1) * STRETCH_ROWS, len(corpus))
        keys = torch.from_numpy(corpus.read("key", lo, hi)).float()
        part, mine = KeySet(keys, torch.from_numpy(data.known[lo:hi])), stretch_N == stretch
        what = queries_Nd[mine], time_N[mine], data.num_classes, window, num_neighbours
        votes[:, mine] = neighbour_votes(part, data.label[lo:hi], *what)
    return votes


def _share(count_NC: np.ndarray) -> np.ndarray:
    # One more label, shared by all classes, keeps a run of equal labels from claiming certainty.
    return (count_NC + 1 / count_NC.shape[1]) / (count_NC.sum(axis=1, keepdims=True) + 1)
