"""Algorithm 1 on a task small enough to look into."""

import numpy as np
import pytest
import torch
from torch import nn

from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.estimators import build_estimator
from raclib.run.config import RetrievalConfig
from raclib.training.noise import step_noise
from raclib.training.step import PlainStep, RetrievalStep
from raclib.training.timer import Timer

B, S, K, D = 8, 2, 20, 4


class Queries(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, S * D)

    def forward(self, batch):
        return self.linear(batch["x"]).unflatten(1, (S, D))


class Vote(nn.Module):
    """Logits from the input and from visible retrieved labels; remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.linear, self.weight = nn.Linear(3, 2), nn.Parameter(torch.ones(()))
        self.shown = []

    def forward(self, batch, retrieved=None, hide_input_B=None, hide_items_BS=None):
        logits = self.linear(batch["x"])
        if retrieved is None:
            return logits
        self.shown.append((retrieved["row"], hide_input_B, hide_items_BS))
        votes = torch.where(hide_items_BS, 0, 2 * retrieved["label"] - 1).sum(1) * self.weight
        shown = torch.where(hide_input_B, 0, 1).unsqueeze(1)
        return logits * shown + torch.stack([-votes, votes], dim=1)


class Rows:
    """A history of K keys, of each example's own or of all; `lo` and `hi` given by the batch.

    Rows `looked_BN` are read without a draw.
    """

    def __init__(self, per_example=False, looked_BN=None):
        generator = torch.Generator().manual_seed(1)
        shape = (B, K, D) if per_example else (K, D)
        self.keys = torch.randn(shape, generator=generator)
        self.label = torch.randint(0, 2, (K,), generator=generator)
        self.num_fetches = 0
        self.looked_BN = torch.empty(B, 0, dtype=torch.int64) if looked_BN is None else looked_BN

    def look(self, batch):
        return self.looked_BN

    def select(self, batch):
        return self.keys, batch["lo"], batch["hi"]

    def fetch(self, batch, rows_MBS):
        self.num_fetches += 1
        return {"label": self.label[rows_MBS.clamp(min=0)], "row": rows_MBS}


def make_batch(lo=0, hi=K):
    generator = torch.Generator().manual_seed(2)
    return {
        "x": torch.randn(B, 3, generator=generator),
        "label": torch.randint(0, 2, (B,), generator=generator),
        "lo": torch.full((B,), lo),
        "hi": torch.full((B,), hi),
    }


def make_step(per_example=False, looked_BN=None, **switches):
    torch.manual_seed(0)
    config = RetrievalConfig(num_draws=S, **switches)
    estimator = build_estimator(config.estimator, config.num_sets)
    model = RetrievalClassifier(Queries(), Vote())
    return RetrievalStep(model, Rows(per_example, looked_BN), estimator, config, Timer())


def noise(num_sets=1, step=0):
    return step_noise(0, step, slice(None), B, num_sets, S)


def test_one_fetch_serves_sampled_and_greedy_rows():
    step = make_step()
    step(make_batch(), noise(), 0.1, 0.0)
    assert step.history.num_fetches == 1
    (sampled, _, _), (greedy, _, _) = step.model.classify.shown
    assert sampled.shape == greedy.shape == (B, S)
    logits = step.model.queries(make_batch()) @ step.history.keys.T
    assert torch.equal(greedy[:, 0], logits[:, 0].argmax(dim=1))


LOOKED_BN = torch.tensor([[19, 7, -1]]).repeat(B, 1)


def test_rows_looked_up_follow_those_drawn_in_the_same_fetch():
    step = make_step(looked_BN=LOOKED_BN)
    step(make_batch(), noise(), 0.1, 0.0)
    assert step.history.num_fetches == 1
    for rows, _, hidden in step.model.classify.shown:
        assert rows.shape == (B, S + 3)
        assert torch.equal(rows[:, S:], LOOKED_BN)
        assert hidden[:, -1].all()


def test_only_drawn_rows_are_dropped():
    step = make_step(looked_BN=LOOKED_BN, item_dropout=1.0)
    step(make_batch(), noise(), 0.1, 0.0)
    hidden = step.model.classify.shown[0][2]
    assert torch.equal(hidden, torch.tensor([[True, True, False, False, True]]).repeat(B, 1))


def test_without_draws_only_the_rows_looked_up_are_read():
    step = make_step(looked_BN=LOOKED_BN)
    step.model.queries = None
    none = step_noise(0, 0, slice(None), B, 1, 0)
    loss, metrics = step(make_batch(), none, 0.1, 0.0)
    ((rows, _, _),) = step.model.classify.shown
    assert torch.equal(rows, LOOKED_BN)
    assert metrics.keys() == {"loss"}
    assert metrics["loss"] == loss
    loss.backward()
    assert step.model.classify.weight.grad != 0


@pytest.mark.parametrize("hi", [0, 1, 5])
def test_no_row_outside_the_window_is_ever_shown(hi):
    step = make_step()
    for number in range(20):
        step(make_batch(lo=0, hi=hi), noise(step=number), 1.0, 0.0)
    for rows, _, hidden in step.model.classify.shown:
        assert (rows < hi).all()
        assert torch.equal(rows[hidden & (rows < 0)], rows[rows < 0])
        assert hidden[rows < 0].all()
        assert ((rows >= 0).sum(dim=1) == min(hi, S)).all()


def test_dropout_hides_the_stated_shares():
    step = make_step(input_dropout=0.75, item_dropout=0.25)
    for number in range(200):
        step(make_batch(), noise(step=number), 1.0, 0.0)
    hidden_input = torch.stack([shown[1] for shown in step.model.classify.shown]).float().mean()
    hidden_items = torch.stack([shown[2] for shown in step.model.classify.shown]).float().mean()
    assert hidden_input.item() == pytest.approx(0.75, abs=0.03)
    assert hidden_items.item() == pytest.approx(0.25, abs=0.03)


def expected_loss(step, batch):
    """Exact expectation of the loss over ordered pairs of rows, without dropout."""
    queries, keys = step.model.queries(batch), step.history.keys
    logits = queries @ keys.mT / np.sqrt(D)
    total = 0.0
    for first in range(K):
        for second in range(K):
            if first == second:
                continue
            rows = torch.tensor([first, second]).expand(B, S)
            rest = logits[:, 1].clone()
            rest[:, first] = -torch.inf
            probability = logits[:, 0].softmax(1)[:, first] * rest.softmax(1)[:, second]
            visible = torch.zeros(B, S, dtype=torch.bool)
            retrieved = step.history.fetch(batch, rows)
            output = step.model.classify(batch, retrieved, visible[:, 0], visible)
            losses = nn.functional.cross_entropy(output, batch["label"], reduction="none")
            total = total + (probability * losses).mean()
    return total


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize(("estimator", "num_sets"), [("none", 1), ("greedy", 1), ("rloo", 2)])
def test_the_gradient_is_that_of_the_expected_loss(estimator, num_sets, per_example):
    switches = {"estimator": estimator, "num_sets": num_sets}
    step = make_step(per_example, **switches, input_dropout=0.0, item_dropout=0.0)
    batch = make_batch()
    parameters = [step.model.queries.linear.bias, step.model.classify.weight]
    exact = torch.cat(
        [g.flatten() for g in torch.autograd.grad(expected_loss(step, batch), parameters)]
    )
    samples = []
    for number in range(400):
        loss, _ = step(batch, noise(num_sets, number), 1.0, 0.0)
        samples.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    samples = torch.stack(samples)
    error = samples.std(dim=0) / len(samples) ** 0.5
    assert ((samples.mean(dim=0) - exact).abs() <= 4 * error + 1e-6).all()


def test_penalties_change_the_loss_only_when_switched_on():
    batch = {**make_batch(), "key": torch.randn(B, D)}
    plain = make_step()(batch, noise(), 0.5, 0.25)[0]
    for name in ("entropy_bonus", "diversity_penalty", "similarity_penalty"):
        changed = make_step(**{name: 0.5})(batch, noise(), 0.5, 0.25)[0]
        assert not torch.isclose(changed, plain), name


def test_the_entropy_bonus_is_gone_at_the_end():
    batch = make_batch()
    with_bonus, plain = make_step(entropy_bonus=0.5), make_step()
    assert torch.equal(with_bonus(batch, noise(), 0.5, 1.0)[0], plain(batch, noise(), 0.5, 1.0)[0])


def test_the_plain_step_is_cross_entropy():
    step = PlainStep(RetrievalClassifier(None, Vote()))
    batch = make_batch()
    loss, metrics = step(batch, noise(), 0.1, 0.0)
    expected = nn.functional.cross_entropy(step.model.classify.linear(batch["x"]), batch["label"])
    assert torch.equal(loss, expected)
    assert metrics["loss"] == expected
