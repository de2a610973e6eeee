import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raclib.retrieval import nearest as module
from raclib.retrieval.nearest import distance_bias, nearest


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(module, "TILE", 7)
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 3)


@given(st.integers(0, 2**31), st.integers(0, 40), st.integers(1, 12), st.sampled_from(["f4", "f2"]))
def test_they_are_those_of_the_smallest_distance_within_the_interval(seed, num_keys, count, dtype):
    rng = np.random.default_rng(seed)
    keys_Kd = torch.from_numpy(rng.standard_normal((num_keys, 3)).astype(dtype))
    queries_Bd = torch.from_numpy(rng.standard_normal((10, 3)).astype("f4"))
    lo_B, hi_B = torch.from_numpy(np.sort(rng.integers(0, num_keys + 1, (2, 10)), axis=0))
    found = nearest(queries_Bd, keys_Kd, count, lo_B, hi_B, distance_bias(keys_Kd))
    for query_d, lo, hi, rows_N in zip(queries_Bd, lo_B, hi_B, found.rows_BN, strict=True):
        distance_X = (keys_Kd[lo:hi].float() - query_d).square().sum(1)
        wanted = (distance_X.argsort()[:count] + lo).tolist()
        assert rows_N.tolist() == wanted + [-1] * (count - len(wanted))


def test_without_a_bias_products_decide_and_a_bias_leaves_keys_out():
    keys_Kd = torch.tensor([[1.0], [3.0], [2.0]])
    bounds = torch.tensor([0]), torch.tensor([3])
    assert nearest(torch.ones(1, 1), keys_Kd, 2, *bounds).rows_BN.tolist() == [[1, 2]]
    bias_K = torch.tensor([0.0, -torch.inf, 0.0])
    found = nearest(torch.ones(1, 1), keys_Kd, 3, *bounds, bias_K)
    assert found.rows_BN.tolist() == [[2, 0, -1]]
    assert found.scores_BN.tolist() == [[2.0, 1.0, -torch.inf]]
