"""Penalties against materialised softmax and autograd."""

import pytest
import reference
import torch
from torch.testing import assert_close

from raclib.retrieval import quantize
from raclib.retrieval.penalties import dissimilarity, draw_entropy, overlap


def problem(per_example, slots=3, batch=5, num_keys=700, width=8):
    generator = torch.Generator().manual_seed(0)
    shape = (batch, num_keys, width) if per_example else (num_keys, width)
    queries = torch.randn(batch, slots, width, generator=generator, requires_grad=True)
    keys = torch.randn(shape, generator=generator)
    bounds = torch.randint(0, num_keys + 1, (batch, 2), generator=generator)
    return queries, keys, bounds.amin(1), bounds.amax(1)


def same_gradient(value, expected, queries):
    assert_close(value, expected.to(value.dtype), rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(value.sum(), queries)
    (reference_gradient,) = torch.autograd.grad(expected.sum(), queries)
    assert_close(gradient, reference_gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 50.0])
def test_entropy(per_example, temperature):
    queries, keys, lo, hi = problem(per_example)
    log_prob = reference.logits_of(queries.double(), keys.double(), temperature, lo, hi)
    log_prob = log_prob.log_softmax(-1)
    expected = -(log_prob.exp() * log_prob.clamp_min(-1e9)).sum(-1)
    same_gradient(draw_entropy(queries, keys, temperature, lo, hi), expected, queries)


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_overlap(per_example, temperature):
    queries, keys, lo, hi = problem(per_example)
    hi = hi.clamp_min(3)
    lo = torch.minimum(lo, hi - 3)
    rows = lo[:, None] + torch.arange(3)
    rows[0, 1] = -1
    prob = reference.logits_of(queries.double(), keys.double(), temperature, lo, hi).softmax(-1)
    expected = torch.zeros((), dtype=torch.float64)
    for slot in range(3):
        for other in {0, 1, 2} - {slot}:
            mass = prob[:, slot].gather(1, rows[:, other, None].clamp_min(0))[:, 0]
            expected = expected + mass.where(rows[:, other] >= 0, 0.0).mean() / 6
    same_gradient(overlap(queries, keys, rows, temperature, lo, hi), expected, queries)


def test_overlap_of_one_slot_is_zero():
    queries, keys, _, _ = problem(False, slots=1)
    assert overlap(queries, keys, torch.zeros(5, 1, dtype=torch.int64)).item() == 0


def test_empty_interval_has_no_entropy_and_no_gradient():
    queries, keys, _, _ = problem(False)
    empty = torch.zeros(5, dtype=torch.int64)
    value = draw_entropy(queries, quantize(keys), 1.0, empty, empty)
    assert (value == 0).all() and (torch.autograd.grad(value.sum(), queries)[0] == 0).all()


def test_dissimilarity():
    similarity = torch.randn(4, 8)
    assert_close(
        dissimilarity(3 * similarity[:, None].expand(-1, 2, -1), similarity), torch.tensor(0.0)
    )
    assert_close(dissimilarity(-similarity[:, None], similarity), torch.tensor(2.0))
