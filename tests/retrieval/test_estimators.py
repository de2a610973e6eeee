"""Estimators against the exact gradient of an expected loss, by enumeration."""

import itertools

import pytest
import reference
import torch

from raclib.errors import UserError
from raclib.retrieval import draw
from raclib.retrieval.estimators import build_estimator

NUM_KEYS, SLOTS, WIDTH, BATCH = 6, 2, 3, 100_000


def seeded(seed):
    return torch.Generator().manual_seed(seed)


KEYS = torch.randn(NUM_KEYS, WIDTH, generator=seeded(0))
QUERIES = 1.5 * torch.randn(1, SLOTS, WIDTH, generator=seeded(1))
LOSSES = 2 + torch.randn(NUM_KEYS, NUM_KEYS, generator=seeded(2))  # of each ordered pair of rows


def loss_of(rows):
    return LOSSES[rows[..., 0], rows[..., 1]]


def exact_gradient():
    """Of sum over orderings of p * loss."""
    queries = QUERIES.double().requires_grad_()
    orderings = torch.tensor(list(itertools.permutations(range(NUM_KEYS), SLOTS)))
    logits = reference.logits_of(queries, KEYS.double()).expand(len(orderings), -1, -1)
    prob = reference.log_prob_of(logits, orderings).sum(-1).exp()
    return torch.autograd.grad((prob * loss_of(orderings)).sum(), queries)[0][0]


def sampled(num_sets, seed):
    """Queries of every example, and draws of several sets for each."""
    queries = QUERIES.expand(BATCH, -1, -1).clone().requires_grad_()
    generator = seeded(seed)
    return queries, [draw(queries, KEYS, generator=generator) for _ in range(num_sets)]


def gradients(name, num_sets, seed=3):
    """An estimate of the gradient from each example, [B, S, d]."""
    estimator = build_estimator(name, num_sets)
    if name == "mean":
        estimator(torch.full((num_sets, 10), 3.0), torch.zeros(num_sets, 10, SLOTS))
    queries, drawn = sampled(num_sets, seed)
    losses = torch.stack([loss_of(each.rows) for each in drawn])
    log_probs = torch.stack([each.log_prob for each in drawn])
    pseudo_loss = estimator(losses, log_probs, loss_of(drawn[0].greedy))
    return torch.autograd.grad(pseudo_loss, queries)[0].double() * BATCH


def standard_errors_off(gradient):
    """The largest distance from the exact gradient among its components."""
    error = gradient.std(0) / BATCH**0.5
    return ((gradient.mean(0) - exact_gradient()) / error).abs().max().item()


CASES = [("none", 1), ("mean", 1), ("greedy", 1), ("greedy", 2), ("rloo", 2), ("rloo", 4)]


@pytest.mark.parametrize("name, num_sets", CASES)
def test_unbiased(name, num_sets):
    assert standard_errors_off(gradients(name, num_sets)) < 4


def test_greedy_under_the_mask_of_the_sample_is_biased():
    """The check has the power to tell: a baseline that shares the sampled rows' mask fails it."""
    queries, (drawn,) = sampled(1, 3)
    logits = reference.logits_of(QUERIES, KEYS).expand(BATCH, -1, -1).clone()
    first = logits[:, 0].argmax(-1)
    second = logits[:, 1].scatter(1, drawn.rows[:, :1], -torch.inf).argmax(-1)
    shared_mask = loss_of(torch.stack([first, second], -1))
    pseudo_loss = build_estimator("greedy", 1)(
        loss_of(drawn.rows)[None], drawn.log_prob[None], shared_mask
    )
    gradient = torch.autograd.grad(pseudo_loss, queries)[0].double() * BATCH
    assert standard_errors_off(gradient) > 10


def test_baselines_lower_the_variance_of_a_fetched_row(record_property):
    """Variance times rows fetched: what an estimate of given precision costs in fetches."""
    cost = {}
    for name, num_sets in CASES:
        fetched = SLOTS * (num_sets + build_estimator(name, num_sets).uses_greedy)
        cost[f"{name} {num_sets}"] = fetched * gradients(name, num_sets).var(0).sum().item()
    for name, value in cost.items():
        record_property(name, value)
    print({name: round(value, 3) for name, value in cost.items()})
    assert max(cost["mean 1"], cost["rloo 2"], cost["rloo 4"]) < cost["none 1"]
    assert cost["rloo 4"] < cost["rloo 2"]


def test_leave_one_out_takes_away_what_all_losses_share(monkeypatch):
    """A wrong divisor is unbiased too: it shows in what a constant does, and in the variance."""
    found = gradients("rloo", 3)
    monkeypatch.setattr(f"{__name__}.LOSSES", LOSSES + 100)
    torch.testing.assert_close(gradients("rloo", 3), found, rtol=0, atol=1e-3 * found.std().item())


def test_four_sets_left_out_vary_less_than_two_compared_with_the_greedy_rows():
    variance = {case: gradients(*case).var(0).sum().item() for case in (("greedy", 2), ("rloo", 4))}
    assert variance["rloo", 4] < 0.9 * variance["greedy", 2]


def test_no_gradient_passes_through_losses():
    losses = torch.rand(2, 5, requires_grad=True)
    log_probs = torch.randn(2, 5, 3, requires_grad=True)
    pseudo_loss = build_estimator("rloo", 2)(losses, log_probs)
    assert torch.autograd.grad(pseudo_loss, losses, allow_unused=True, retain_graph=True) == (None,)
    assert torch.autograd.grad(pseudo_loss, log_probs)[0].abs().sum() > 0


def test_running_mean_is_of_earlier_steps_and_in_the_state():
    estimator = build_estimator("mean", 1)
    log_probs = torch.ones(1, 4, 1)
    assert estimator(torch.full((1, 4), 2.0), log_probs).item() == 2.0  # nothing came before
    assert estimator(torch.full((1, 4), 5.0), log_probs).item() == pytest.approx(3.0)
    restored = build_estimator("mean", 1)
    restored.load_state_dict(estimator.state_dict())
    expected = estimator.eval()(torch.full((1, 4), 5.0), log_probs).item()
    assert restored.eval()(torch.full((1, 4), 5.0), log_probs).item() == expected
    assert 0 < expected < 3
    assert estimator(torch.full((1, 4), 5.0), log_probs).item() == expected  # eval changes nothing


@pytest.mark.parametrize(
    "name, num_sets, message", [("rloo", 1, "2"), ("none", 0, "1"), ("x", 1, "rloo")]
)
def test_bad_choice_is_named(name, num_sets, message):
    with pytest.raises(UserError, match=message):
        build_estimator(name, num_sets)
