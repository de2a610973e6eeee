"""Rows of a table as tokens: one a kind of field, whatever there is."""

import pytest
import torch

from raclib.models.tokens import TableShape, TableTokens

WIDTH = 8
EMBEDDING = (torch.zeros(5), torch.ones(5))
SHAPES = {
    "numbers": TableShape(3, (), None),
    "categories": TableShape(0, (4, 2), None),
    "embedding": TableShape(0, (), EMBEDDING),
    "all": TableShape(3, (4, 2), EMBEDDING),
    "ids": TableShape(0, (), None),
}


def rows(*shape):
    generator = torch.Generator().manual_seed(0)
    codes = [torch.randint(0, size, shape, generator=generator) for size in (4, 2)]
    return {
        "numbers": torch.randn(*shape, 3, generator=generator).half(),
        "categories": torch.stack(codes, dim=-1).int(),
        "embedding": torch.randn(*shape, 5, generator=generator).half(),
        "entities": torch.zeros(*shape, 1, dtype=torch.int64),
    }


def make(name):
    torch.manual_seed(0)
    return TableTokens(SHAPES[name], WIDTH)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("shape", [(4,), (2, 3, 4)])
def test_rows_of_any_shape_have_a_token_a_kind(name, shape):
    tokens = make(name)(rows(*shape))
    assert tokens.shape == (*shape, 3 if name == "all" else 1, WIDTH)
    assert tokens.dtype == torch.float32
    assert tokens.isfinite().all()


def test_a_row_has_the_same_tokens_wherever_it_stands():
    model, batch = make("all"), rows(2, 3)
    flat = {name: array.flatten(0, 1) for name, array in batch.items()}
    torch.testing.assert_close(model(batch).flatten(0, 1), model(flat))
    one = {name: array[1:2] for name, array in flat.items()}
    torch.testing.assert_close(model(flat)[1:2], model(one))


def test_codes_of_two_columns_are_different_embeddings():
    model = make("categories")
    codes = torch.tensor([[0, 0], [1, 0], [0, 1], [3, 1]], dtype=torch.int32)
    tokens = model({"categories": codes})[:, 0]
    table = model.categories.weight
    for row, (first, second) in enumerate(codes.tolist()):
        torch.testing.assert_close(tokens[row], table[first] + table[4 + second])


def test_every_parameter_learns():
    for name in SHAPES:
        model = make(name)
        (model(rows(64)) + 1).square().sum().backward()
        for key, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, (name, key)


def test_an_embedding_is_standardised_and_constant_dimensions_say_nothing():
    shape = TableShape(0, (), (torch.tensor([1.0, 7.0]), torch.tensor([2.0, 0.0])))
    torch.manual_seed(0)
    model = TableTokens(shape, WIDTH)
    tokens = [model({"embedding": torch.tensor([[3.0, value]])}) for value in (7.0, 99.0)]
    torch.testing.assert_close(*tokens)
