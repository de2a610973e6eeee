"""A Perceiver stage reads a set of visible tokens."""

import torch

from raclib.models.fourier import FourierEmbedding
from raclib.models.perceiver import PerceiverStage


def make():
    torch.manual_seed(0)
    return PerceiverStage(width=16, num_latents=4, num_self_attention=2, num_heads=2).eval()


def test_hidden_tokens_do_not_matter():
    stage, tokens = make(), torch.randn(3, 5, 16)
    hidden = torch.tensor([[False, False, True, True, True]]).expand(3, 5)
    torch.testing.assert_close(stage(tokens, hidden), stage(tokens[:, :2]))


def test_the_order_of_tokens_does_not_matter():
    stage, tokens = make(), torch.randn(3, 5, 16)
    torch.testing.assert_close(stage(tokens), stage(tokens.flip(1)))


def test_the_output_is_one_vector_an_example():
    assert make()(torch.randn(3, 7, 16)).shape == (3, 16)


def test_fourier_features_are_the_value_and_its_waves():
    embedding = FourierEmbedding(num_bands=2, max_frequency=8.0)
    found = embedding(torch.tensor([0.25]))
    angle = torch.tensor([0.25, 1.0]) * torch.pi
    expected = torch.cat([torch.tensor([0.25]), angle.sin(), angle.cos()])
    torch.testing.assert_close(found[0], expected, atol=1e-6, rtol=0)
    assert embedding.dim == 5


def test_attention_is_shared_among_the_tokens_that_are_not_hidden():
    stage, tokens = make(), torch.randn(3, 5, 16)
    hidden = torch.tensor([[False, True, False, False, True]]).expand(3, 5)
    found, share = stage.read(tokens, hidden, need_weights=True)
    torch.testing.assert_close(found, stage(tokens, hidden))
    torch.testing.assert_close(share.sum(1), torch.ones(3))
    assert (share[hidden] == 0).all() and (share[~hidden] > 0).all()
