"""What two simple lines would have answered, from the labels that the model saw."""

import numpy as np
import pyarrow as pa
import torch

from raclib.evaluation.baselines import neighbour_votes, recent_share
from raclib.retrieval.keys import KeySet
from raclib.retrieval.table import QuantizedKeys
from raclib.serving.memory import Memory
from raclib.serving.service.config import QualityConfig


def rival_answers(memory: Memory, rows: pa.Table, config: QualityConfig) -> np.ndarray:
    """Answers by recent rates and by a vote of nearest neighbours, float32 `[N, 2, C]`.

    NaN where there are no keys.

    Args:
        memory: The version that answered.
        rows: N rows.
        config: How many labels and neighbours.
    """
    encoded, num_classes = memory.rows.encode(rows), len(memory.rows.classes)
    if memory.history is None:
        return np.full((len(rows), 2, num_classes), np.nan, np.float32)
    keys, time_N = memory.history.keys, torch.from_numpy(encoded["time"])
    assert not isinstance(keys.keys, QuantizedKeys) and keys.rows_K is None
    _, hi_N = keys.window(time_N)
    lo = max(0, int(hi_N.min()) - max(config.num_recent, config.neighbour_window))
    hi = int(hi_N.max())
    label_K = memory.rows.reader.read(np.arange(lo, hi), ())["label"].astype(np.int64)
    label_K[np.isin(np.arange(lo, hi), memory.left_out)] = -1
    some = KeySet(keys.keys[lo:hi], keys.times_K[lo:hi], num_checked=hi - lo)
    times = some.times_K.numpy(), label_K, encoded["time"]
    recent_NC = recent_share(*times, num_classes, config.num_recent)
    votes_NC = neighbour_votes(
        some,
        label_K,
        torch.from_numpy(encoded["key"]).float(),
        time_N,
        num_classes,
        config.neighbour_window,
        [config.num_neighbours],
    )[0]
    return np.stack([recent_NC, votes_NC], axis=1).astype(np.float32)
