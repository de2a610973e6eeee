"""What the networks look at, and what they must not see."""

from dataclasses import replace

import pytest
import torch

from raclib.models.standardize import Standardize
from raclib.tasks.amazon.config import AmazonConfig, ModelConfig
from raclib.tasks.amazon.models import build_model
from raclib.tasks.table.config import TableRetrievalConfig

CONFIG = AmazonConfig(
    model=ModelConfig(16, 4, 1, 2, 3, 8.0), retrieval=TableRetrievalConfig(num_draws=3)
)
STATISTICS = {
    "embedding": (torch.zeros(6), torch.ones(6)),
    "helpful_vote": (torch.zeros(1), torch.ones(1)),
}


def reviews(*shape):
    return {
        "embedding": torch.randn(*shape, 6).half(),
        "helpful_vote": torch.rand(*shape),
        "verified_purchase": torch.randint(0, 2, shape, dtype=torch.int8),
        "label": torch.randint(0, 2, shape),
        "key": torch.randn(*shape, 4).half(),
    }


def make(retrieve="label", with_context=True, num_classes=2):
    torch.manual_seed(0)
    config = replace(CONFIG, retrieval=replace(CONFIG.retrieval, retrieve=retrieve))
    return build_model(config, STATISTICS, 4, num_classes, with_context).eval()


def hide(*flags):
    return torch.tensor(flags)


NOTHING, ITEMS = torch.zeros(2, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool)


def test_a_hidden_input_does_not_matter_and_a_visible_one_does():
    model, retrieved = make(), reviews(2, 3)
    first, second = (
        model.classify(reviews(2), retrieved, hide(True, False), ITEMS) for _ in range(2)
    )
    torch.testing.assert_close(first[0], second[0])
    assert not torch.allclose(first[1], second[1])


def test_a_hidden_row_does_not_matter_and_a_visible_one_does():
    model, batch, retrieved = make(), reviews(2), reviews(2, 3)
    other = {**retrieved, "label": 1 - retrieved["label"]}
    hidden = torch.tensor([[True] * 3, [False] * 3])
    first, second = (model.classify(batch, rows, NOTHING, hidden) for rows in (retrieved, other))
    torch.testing.assert_close(first[0], second[0])
    assert not torch.allclose(first[1], second[1])


def test_everything_hidden_is_still_a_number():
    logits = make().classify(reviews(2), reviews(2, 3), ~NOTHING, ~ITEMS)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("retrieve", "matters"), [("label", False), ("row", True)])
def test_inputs_of_retrieved_rows_matter_only_where_rows_are_retrieved(retrieve, matters):
    model, batch, rows = make(retrieve), reviews(2), reviews(2, 3)
    other = {**reviews(2, 3), "label": rows["label"]}
    first, second = (model.classify(batch, part, NOTHING, ITEMS) for part in (rows, other))
    assert torch.allclose(first, second) != matters


def test_queries_start_as_a_mix_with_the_key_of_the_input():
    torch.manual_seed(0)
    config = replace(CONFIG, retrieval=replace(CONFIG.retrieval, initial_alpha=1e-6))
    model, batch = build_model(config, STATISTICS, 4, 2, True), reviews(2)
    expected = batch["key"].float().unsqueeze(1).expand(2, 3, 4)
    torch.testing.assert_close(model.queries(batch), expected, atol=1e-4, rtol=0)
    assert model.queries.residual.alpha.item() == pytest.approx(1e-6, rel=1e-2)


def test_without_the_residual_queries_do_not_see_the_key():
    config = replace(CONFIG, retrieval=replace(CONFIG.retrieval, residual_to_similarity=False))
    model, batch = build_model(config, STATISTICS, 4, 2, True), reviews(2)
    other = {**batch, "key": torch.randn(2, 4)}
    torch.testing.assert_close(model.queries(batch), model.queries(other))


def test_the_classifier_without_context_has_no_query_generator():
    model = make(with_context=False)
    assert model.queries is None
    assert model.classify(reviews(5)).shape == (5, 2)


@pytest.mark.parametrize("num_classes", [2, 1000])
def test_every_class_has_a_logit_and_can_be_read(num_classes):
    model, batch, retrieved = make(num_classes=num_classes), reviews(2), reviews(2, 3)
    last = {**retrieved, "label": torch.full((2, 3), num_classes - 1)}
    first = {**retrieved, "label": torch.zeros(2, 3, dtype=torch.int64)}
    found = [model.classify(batch, rows, NOTHING, ITEMS) for rows in (first, last)]
    assert found[0].shape == (2, num_classes)
    assert not torch.allclose(*found)


def test_constant_dimensions_standardise_to_zero():
    standard = Standardize(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0]))
    torch.testing.assert_close(standard(torch.tensor([5.0, 10.0])), torch.tensor([0.0, 2.0]))
