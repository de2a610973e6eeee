"""The two lines nobody should lose to, against plain loops."""

import numpy as np
import torch

from raclib.evaluation import baselines
from raclib.evaluation.baselines import neighbour_vote, recent_share
from raclib.retrieval.keys import KeySet


def test_recent_share_looks_at_strictly_earlier_labels_only():
    time = np.array([1, 2, 2, 3, 4, 5])
    label = np.array([0, 1, 1, 1, 0, 0])
    share = recent_share(time, label, np.arange(6), num_recent=2)
    expected = [0.5 / 1, 0.5 / 2, 0.5 / 2, 2.5 / 3, 2.5 / 3, 1.5 / 3]
    np.testing.assert_allclose(share, expected)


def test_votes_equal_a_plain_search(monkeypatch):
    monkeypatch.setattr(baselines, "TILE", 7)
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(0, 60, 100))
    label = rng.integers(0, 2, 100)
    keys = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    found = neighbour_vote(
        KeySet(keys, torch.from_numpy(time)), label, keys, torch.from_numpy(time), 30, 5, 16
    )
    for row in range(100):
        hi = np.searchsorted(time, time[row])
        eligible = np.arange(max(0, hi - 30), hi)
        best = eligible[np.argsort(-(keys[eligible] @ keys[row]).numpy())][:5]
        assert found[row] == (label[best].sum() + 0.5) / (len(best) + 1)
