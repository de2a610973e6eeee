import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raclib.retrieval import QuantizedKeys, product, search
from raclib.retrieval import nearest as module
from raclib.retrieval.nearest import distance_bias, nearest


@pytest.fixture(autouse=True, params=["oneDNN", "PyTorch"])
def small_pieces(request, monkeypatch):
    if request.param == "PyTorch":
        monkeypatch.setattr(product, "HAS_ONEDNN", False)
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 3)
    for name in ("ROUND_ROWS", "ROUND_COLUMNS"):
        monkeypatch.setattr(product, name, 1)
    for name, size in {"BLOCK": 3, "DIRECT": 3, "SCORES": 24, "PIECE": 6}.items():
        monkeypatch.setattr(search, name, size)


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


def keys_of(rng, order, num_keys):
    """Small whole numbers, so that sums are exact and many scores are equal."""
    keys_Kd = rng.integers(-2, 3, (num_keys, 2))
    if order == "equal":
        keys_Kd[:] = 1
    elif order != "random":  # every block beats those before it, or none does
        keys_Kd = np.sort(keys_Kd, axis=0)[:: 1 if order == "rising" else -1]
    return torch.from_numpy(keys_Kd.copy())


TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int8]


@given(
    seed=st.integers(0, 2**31),
    num_keys=st.integers(1, 80),
    count=st.integers(1, 12),
    order=st.sampled_from(["random", "equal", "rising", "falling"]),
    dtype=st.sampled_from(TYPES),
    biased=st.booleans(),
)
def test_they_are_those_of_a_stable_sort(seed, num_keys, count, order, dtype, biased):
    rng = np.random.default_rng(seed)
    keys_Kd, queries_Bd = (
        keys_of(rng, order, num_keys),
        torch.from_numpy(rng.integers(-2, 3, (7, 2))),
    )
    lo_B, hi_B = torch.from_numpy(np.sort(rng.integers(0, num_keys + 1, (2, 7)), axis=0))
    bias_K = rng.choice([0, 1, -np.inf], num_keys).astype("f4") if biased else None
    held = keys_Kd.to(dtype)
    if dtype == torch.int8:
        held = QuantizedKeys(held, torch.full((num_keys,), 0.5))
    bias = None if bias_K is None else torch.from_numpy(bias_K)
    found = nearest(queries_Bd.float(), held, count, lo_B, hi_B, bias)

    scores_BK = (queries_Bd @ keys_Kd.T).numpy() * (0.5 if dtype == torch.int8 else 1.0)
    scores_BK = scores_BK + (0 if bias_K is None else bias_K)
    for score_K, lo, hi, rows_N, score_N in zip(scores_BK, lo_B, hi_B, *found, strict=True):
        score_K[: int(lo)] = score_K[int(hi) :] = -np.inf
        wanted = np.argsort(-score_K, kind="stable")[:count]
        wanted = wanted[score_K[wanted] > -np.inf]
        missing = count - len(wanted)
        assert rows_N.tolist() == wanted.tolist() + [-1] * missing
        assert score_N.tolist() == score_K[wanted].tolist() + [-np.inf] * missing


def test_no_queries_find_nothing():
    none = torch.empty(0, dtype=torch.int64)
    assert nearest(torch.empty(0, 2), torch.randn(5, 2), 3, none, none).rows_BN.shape == (0, 3)
