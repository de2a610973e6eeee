"""Rows come with the exact probabilities: against enumeration, at many rows, and at extremes."""

import itertools
import math

import pytest
import reference
import torch
from scipy import stats
from torch.testing import assert_close

from raclib.retrieval.layout import tile_size

LEAST_P_VALUE = 1e-3  # seeds are fixed: a failure is a fault, not bad luck


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def fits(rows, prob):
    """Chi-square p-value of draws against probabilities; rare neighbours share a bin."""
    counts = torch.bincount(rows.flatten(), minlength=len(prob)).double()
    expected = prob.double() * rows.numel()
    assert counts[expected == 0].sum() == 0
    bin_of = ((expected.cumsum(0) - expected / 2) / 20).long().unique(return_inverse=True)[1]
    counts, expected = (torch.bincount(bin_of, each) for each in (counts, expected))
    rare = expected < 5
    counts, expected = (
        torch.cat([each[~rare], each[rare].sum()[None]]) for each in (counts, expected)
    )
    kept = expected > 0
    return stats.chisquare(counts[kept], expected[kept], sum_check=False).pvalue


def second_law(first, second):
    """Law of the row in slot 2, from the laws of both slots over all rows."""
    given = first / (1 - second)
    return second * (given.sum() - given)


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("num_keys, slots", [(3, 3), (5, 2), (8, 3)])
def test_every_ordering_has_its_probability(draw, num_keys, slots, per_example):
    batch, width = draw.few(20_000, 500), 4
    keys = torch.randn(num_keys, width, generator=seeded(0))
    queries = torch.randn(1, slots, width, generator=seeded(1))
    orderings = torch.tensor(list(itertools.permutations(range(num_keys), slots)))
    logits = reference.logits_of(queries.double(), keys.double()).expand(len(orderings), -1, -1)
    prob = reference.log_prob_of(logits, orderings).sum(-1).exp()
    assert_close(prob.sum().item(), 1.0)

    held = keys.expand(batch, -1, -1) if per_example else keys
    rows = draw(queries.expand(batch, -1, -1), held, generator=seeded(2)).rows
    code = num_keys ** torch.arange(slots)
    index_of = torch.full((num_keys**slots,), -1)
    index_of[(orderings * code).sum(-1)] = torch.arange(len(orderings))
    assert fits(index_of[(rows * code).sum(-1)], prob) > LEAST_P_VALUE


def test_ten_thousand_rows_in_windows(draw):
    batch, num_keys, lo, hi = draw.few(40_000, 200), 10_000, 137, 9_001
    keys = torch.randn(num_keys, 4, generator=seeded(3))
    queries = 2 * torch.randn(1, 2, 4, generator=seeded(4))
    bounds = (torch.full((batch,), lo), torch.full((batch,), hi))
    with torch.no_grad():
        rows = draw(queries.expand(batch, -1, -1), keys, 1.0, *bounds, generator=seeded(5)).rows
    one = (torch.tensor([lo]), torch.tensor([hi]))
    first, second = reference.logits_of(queries.double(), keys.double(), 1.0, *one)[0].softmax(-1)
    assert fits(rows[:, 0], first) > LEAST_P_VALUE
    assert fits(rows[:, 1], second_law(first, second)) > LEAST_P_VALUE


def test_flat_over_more_rows_than_float32_counts(draw):
    num_keys, regions = draw.few(2**25, 2**14), 8
    uniforms = torch.rand(16, 8, 2, dtype=torch.float64, generator=seeded(6))
    out = draw(torch.ones(16, 8, 1), torch.zeros(num_keys, 1).bfloat16(), uniforms=uniforms)
    assert fits(out.rows * regions // num_keys, torch.full((regions,), 1 / regions)) > LEAST_P_VALUE
    assert fits(out.rows % 2, torch.full((2,), 0.5)) > LEAST_P_VALUE
    left = num_keys - torch.arange(8.0).expand(16, -1)
    assert_close(out.log_prob, -left.log())
    assert_close(out.entropy, torch.full((16, 8), math.log(num_keys)))
    # Where all rows weigh the same, a uniform says which row comes: none is out of reach.
    tile = tile_size(num_keys)
    exact = (uniforms[:, 0, 0] * (num_keys // tile)).long() * tile + (
        uniforms[:, 0, 1] * tile
    ).long()
    assert torch.equal(out.rows[:, 0], exact)


def peaked(num_keys, seed):
    """One key of all but 1e-7 of the mass at temperature 0.001, in a random place."""
    logits = torch.randn(num_keys, generator=seeded(seed), dtype=torch.float64)
    logits[num_keys // 3] = -torch.inf
    logits[num_keys // 3] = logits.logsumexp(0) + math.log(1e7 - 1)
    return (0.001 * logits[:, None]).float()


@pytest.mark.parametrize("num_keys", [200, 5000, 100_000])
def test_slots_after_a_row_of_nearly_all_mass(draw, num_keys):
    if num_keys > draw.few(num_keys, 5000):
        pytest.skip("too slow in Triton's interpreter")
    batch, keys = draw.few(5_000, 100), peaked(num_keys, 7)
    with torch.no_grad():
        out = draw(torch.ones(batch, 3, 1), keys, 0.001, generator=seeded(8), scale=1.0)
    assert (out.rows[:, 0] == num_keys // 3).all()
    assert (out.greedy[:, 0] == num_keys // 3).all()
    rest = (keys[:, 0].double() / 0.001).index_fill(0, torch.tensor(num_keys // 3), -torch.inf)
    prob = rest.softmax(0)
    assert fits(out.rows[:, 1], prob) > LEAST_P_VALUE
    assert fits(out.rows[:, 2], second_law(prob, prob)) > LEAST_P_VALUE


@pytest.mark.parametrize("num_keys", [200, 5000, 100_000])
def test_log_prob_and_gradient_after_a_row_of_nearly_all_mass(draw, num_keys):
    if num_keys > draw.few(num_keys, 5000):
        pytest.skip("too slow in Triton's interpreter")
    keys = peaked(num_keys, 9)
    queries = torch.ones(4, 3, 1, requires_grad=True)
    out = draw(queries, keys, 0.001, generator=seeded(10), scale=1.0)
    exact = queries.detach().double().requires_grad_()
    logits = reference.logits_of(exact, keys.double(), 0.001, scale=1.0)
    log_prob = reference.log_prob_of(logits, out.rows)
    assert_close(out.log_prob.double(), log_prob, rtol=0, atol=1e-4)
    (gradient,) = torch.autograd.grad(out.log_prob.sum(), queries)
    (expected,) = torch.autograd.grad(log_prob.sum(), exact)
    # Slot by slot: the first slot's gradient is 1e-7 of the others'.
    assert_close(gradient.double(), expected, rtol=1e-4, atol=0)
