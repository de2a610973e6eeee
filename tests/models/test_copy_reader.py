"""The mixture is a distribution, differentiates, and knows no order of classes or rows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.models.copy_reader import CopyReader
from raclib.models.row_reading import RowReading

BATCH, ROWS, DIM = 5, 7, 4
GROUPS = torch.tensor([0, 0, 0, 1, 1, 2, 2])


def make(num_classes, seed=0, double=False):
    """A reader of random weights, a batch and its rows."""
    generator = torch.Generator().manual_seed(seed)
    reader = CopyReader(num_classes, DIM, GROUPS)
    for parameter in reader.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    batch = {"base": random(BATCH, num_classes).log_softmax(1), "key": random(BATCH, DIM)}
    rows = {
        "label": torch.randint(num_classes, (BATCH, ROWS), generator=generator),
        "key": random(BATCH, ROWS, DIM),
        "age": random(BATCH, ROWS).abs(),
        "event_age": random(BATCH, ROWS).abs(),
    }
    hidden = torch.rand(BATCH, ROWS, generator=generator) < 0.3
    if double:
        reader = reader.double()
        batch, rows = (
            {n: v.double() if v.is_floating_point() else v for n, v in part.items()}
            for part in (batch, rows)
        )
    return reader, batch, rows, hidden


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([2, 3, 40]), st.integers(0, 10_000))
def test_answers_are_distributions_over_all_classes(num_classes, seed):
    reader, batch, rows, hidden = make(num_classes, seed)
    found = reader(batch, rows, None, hidden).exp()
    assert (found > 0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(BATCH))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_names_of_classes_and_the_order_within_a_group_say_nothing(seed):
    reader, batch, rows, hidden = make(4, seed)
    found = reader(batch, rows, None, hidden)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    renamed = reader(
        {**batch, "base": batch["base"][:, order.argsort()]},
        {**rows, "label": order[rows["label"]]},
        None,
        hidden,
    )
    torch.testing.assert_close(renamed[:, order], found)
    swap = torch.tensor([2, 0, 1, 4, 3, 6, 5])
    swapped = reader(batch, {n: v[:, swap] for n, v in rows.items()}, None, hidden[:, swap])
    torch.testing.assert_close(swapped, found)


def test_hidden_rows_say_nothing_and_without_any_the_base_answers():
    reader, batch, rows, hidden = make(3)
    found = reader(batch, rows, None, hidden)
    other = {
        n: torch.where(hidden.view(*hidden.shape, *[1] * (v.ndim - 2)), v + 1, v)
        for n, v in rows.items()
    }
    other["label"] %= 3
    torch.testing.assert_close(reader(batch, other, None, hidden), found)
    assert reader(batch) is batch["base"]
    reader.log_trust.data.zero_()
    alone = reader(batch, rows, None, torch.ones_like(hidden)).exp()
    torch.testing.assert_close(alone, 0.995 * batch["base"].exp() + 0.005 / 3)


def test_a_class_that_training_never_saw_can_win():
    reader, batch, rows, _ = make(3)
    batch["base"] = torch.tensor([[0.6, 0.3999, 1e-4]]).log().expand(BATCH, 3)
    rows["label"].fill_(2)
    hidden = torch.zeros(BATCH, ROWS, dtype=torch.bool)
    reader.gate[2].bias.data.fill_(8.0)  # the rows are believed
    assert (reader(batch, rows, None, hidden).argmax(1) == 2).all()


def test_a_fresh_reader_prefers_near_rows_and_takes_both_answers_half():
    reader = CopyReader(2, DIM, GROUPS)
    _, batch, rows, _ = make(2)
    nearest = (batch["key"][:, None] - rows["key"]).square().sum(-1).argmin(1)
    rows["label"] = torch.zeros_like(rows["label"]).scatter(1, nearest[:, None], 1)
    batch["base"] = torch.tensor([[0.5, 0.5]]).log().expand(BATCH, 2)
    found = reader(batch, rows, None, torch.zeros(BATCH, ROWS, dtype=torch.bool)).exp()
    # The share of the one nearest row is more than a seventh of the vote's half.
    assert (found[:, 1] > 0.25 + 0.5 / ROWS).all()


def test_gradients_match_finite_differences():
    reader, batch, rows, hidden = make(3, double=True)
    names = [name for name, _ in reader.named_parameters()]

    def loss(*values):
        answers = torch.func.functional_call(
            reader, dict(zip(names, values, strict=True)), (batch, rows, None, hidden)
        )
        return answers[:, 0].sum()

    values = tuple(p.detach().clone().requires_grad_() for p in reader.parameters())
    assert torch.autograd.gradcheck(loss, values, fast_mode=True)


@pytest.mark.parametrize("num_classes", [2, 1000])
def test_it_is_small_however_many_classes(num_classes):
    reader = CopyReader(num_classes, 64, GROUPS)
    assert sum(parameter.numel() for parameter in reader.parameters()) < 5000


class Tokens(torch.nn.Module):
    """One token: the input itself."""

    def forward(self, rows):
        return rows["x"][..., None, :]


def make_full(seed=0):
    reader, batch, rows, hidden = make(3, seed)
    torch.manual_seed(seed)
    full = CopyReader(3, DIM, GROUPS, RowReading(3, Tokens(), 6)).eval()
    full.load_state_dict(reader.state_dict(), strict=False)
    batch["x"], rows["x"] = torch.randn(BATCH, 6), torch.randn(BATCH, ROWS, 6)
    return reader, full, batch, rows, hidden


def test_a_reader_of_full_rows_starts_as_one_of_labels():
    reader, full, batch, rows, hidden = make_full()
    torch.testing.assert_close(full(batch, rows, None, hidden), reader(batch, rows, None, hidden))


def test_full_rows_that_are_hidden_say_nothing_and_others_do():
    _, full, batch, rows, hidden = make_full()
    torch.nn.init.normal_(full.rows.answer[-1].weight)
    found = full(batch, rows, None, hidden)
    other = {**rows, "x": torch.where(hidden[..., None], rows["x"] + 1, rows["x"])}
    torch.testing.assert_close(full(batch, other, None, hidden), found)
    moved = full(batch, {**rows, "x": -rows["x"]}, None, hidden)
    assert not torch.allclose(moved, found)
    alone = full(batch, rows, None, torch.ones_like(hidden)).exp()
    trusted = (batch["base"] * full.log_trust.exp()).softmax(1)
    torch.testing.assert_close(alone, 0.995 * trusted + 0.005 / 3)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(BATCH))


def test_every_part_that_reads_full_rows_learns():
    _, full, batch, rows, hidden = make_full()
    torch.nn.init.normal_(full.rows.answer[-1].weight)
    full(batch, rows, None, hidden)[:, 0].sum().backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in full.parameters())


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_a_rows_weight_is_what_the_answer_has_from_its_label(seed):
    reader, batch, rows, hidden = make(3, seed, double=True)
    hidden[0] = True
    found = reader.read(batch, rows, None, hidden)
    torch.testing.assert_close(found.logits_BC, reader(batch, rows, None, hidden))
    assert (found.weight_BS[hidden] == 0).all()
    copied_BC = torch.zeros(BATCH, 3).double().scatter_add(1, rows["label"], found.weight_BS)
    rest_BC = found.logits_BC.exp() - copied_BC
    own_BC = rest_BC / rest_BC.sum(1, keepdim=True)
    trusted_BC = (batch["base"] * reader.log_trust.exp()).softmax(1)
    # What is left may be a thousandth of the answer.
    torch.testing.assert_close(own_BC, 0.995 * trusted_BC + 0.005 / 3, atol=1e-4, rtol=1e-3)
