"""The small networks: what they read, what they share."""

import pytest
import torch

from raclib.models.mlp import MLPConfig, build_mlp_classifier
from raclib.run.config import RetrievalConfig

B, D, S, F = 5, 7, 3, 8
CONFIG = MLPConfig(width=16, num_hidden=2)
RETRIEVAL = RetrievalConfig(num_draws=S, residual_to_similarity=False)


def batch():
    x_BD = torch.randn(B, D)
    return {"x": x_BD, "key": x_BD, "place": x_BD}


def items():
    return {"item": torch.randn(B, S, F)}


def hidden(*shape, value):
    return torch.full(shape, value)


def test_shapes():
    model = build_mlp_classifier(CONFIG, RETRIEVAL, D, D, F)
    assert model.queries(batch()).shape == (B, S, D)
    assert model.classify(batch(), items()).shape == (B, 2)


def test_queries_and_classifier_share_the_first_layer():
    model = build_mlp_classifier(CONFIG, RETRIEVAL, D, D, F)
    assert model.queries.stem is model.classify.stem
    widths = [layer.in_features for layer in model.classify.head if hasattr(layer, "in_features")]
    assert widths == [16 + S * F, 16, 16]


def test_without_context_there_are_as_many_hidden_layers_as_told():
    model = build_mlp_classifier(CONFIG, None, D, D, F)
    assert model.queries is None
    linear = [m for m in model.classify.modules() if isinstance(m, torch.nn.Linear)]
    assert [m.in_features for m in linear] == [D, 16, 16, 16]
    assert model.classify(batch()).shape == (B, 2)


@pytest.mark.parametrize("reader", ["concat", "products"])
def test_hidden_rows_do_not_matter(reader):
    config = MLPConfig(width=16, num_hidden=1, reader=reader)
    model = build_mlp_classifier(config, RETRIEVAL, D, D, D + 1)
    examples, hide_BS = batch(), hidden(B, S, value=True)
    first = {"item": torch.randn(B, S, D + 1)}
    other = {"item": torch.randn(B, S, D + 1)}
    assert torch.equal(
        model.classify(examples, first, None, hide_BS),
        model.classify(examples, other, None, hide_BS),
    )
    seen = hidden(B, S, value=False)
    assert not torch.equal(
        model.classify(examples, first, None, seen), model.classify(examples, other, None, seen)
    )


def test_a_hidden_input_does_not_matter():
    model = build_mlp_classifier(CONFIG, RETRIEVAL, D, D, F)
    rows, hide_B = items(), hidden(B, value=True)
    found = [model.classify(batch(), rows, hide_B, None) for _ in range(2)]
    assert torch.equal(*found)


def test_products_mean_the_same_in_every_direction():
    config = MLPConfig(width=16, num_hidden=1, reader="products")
    model = build_mlp_classifier(config, RETRIEVAL, D, D, D + 1)
    examples, rows = batch(), torch.randn(B, S, D + 1)
    turned_DD, _ = torch.linalg.qr(torch.randn(D, D))
    turned = {"place": examples["place"] @ turned_DD}
    turned_rows = torch.cat([rows[..., :-1] @ turned_DD, rows[..., -1:]], dim=-1)
    torch.testing.assert_close(
        model.classify(examples, {"item": rows}), model.classify(turned, {"item": turned_rows})
    )


def test_the_residual_mixes_in_the_key():
    config = RetrievalConfig(num_draws=S, residual_to_similarity=True, initial_alpha=1e-6)
    model = build_mlp_classifier(CONFIG, config, D, D, F)
    examples = batch()
    expected = examples["key"][:, None].expand(B, S, D)
    torch.testing.assert_close(model.queries(examples), expected, rtol=1e-4, atol=1e-4)
