"""One transformer layer: the equation by a loop over heads, and where it may look."""

import math

import pytest
import torch

from mee.layers.transformer import TransformerLayer


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return TransformerLayer(16, heads=4, dropout=0.5).double().eval()


def every_token(h):
    return torch.ones(h.shape[:2], dtype=torch.bool)


@torch.no_grad()
def test_it_is_the_equation_one_head_at_a_time(layer):
    h = torch.randn(5, 16, dtype=torch.float64)
    weights, biases = layer.query_key_value.weight.split(16), layer.query_key_value.bias.split(16)
    q, k, v = (layer.attention_norm(h) @ w.T + b for w, b in zip(weights, biases))
    heads = []
    for head in range(4):
        columns = slice(4 * head, 4 * head + 4)
        shares = (q[:, columns] @ k[:, columns].T / math.sqrt(4)).softmax(1)
        torch.testing.assert_close(layer.attention(h[None])[0, head], shares)
        heads.append(shares @ v[:, columns])
    expected = h + layer.attention_out(torch.cat(heads, dim=1))
    expected = expected + layer.mlp(layer.mlp_norm(expected))
    torch.testing.assert_close(layer(h[None], every_token(h[None]))[0], expected)


def test_what_stands_at_ignored_tokens_has_exactly_no_influence(layer):
    h, real = torch.randn(2, 6, 16).double(), torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    other = h.clone()
    other[0, 4:] = 1e3
    assert layer(other, real)[real].equal(layer(h, real)[real])
    alone = layer(h[:1, :4], every_token(h[:1, :4]))
    torch.testing.assert_close(layer(h, real)[:1, :4], alone, atol=1e-12, rtol=1e-9)


def test_no_gradient_reaches_ignored_tokens(layer):
    h, real = torch.randn(1, 5, 16).double().requires_grad_(), torch.tensor([[True, True, True, False, False]])
    layer(h, real)[real].square().sum().backward()
    assert (h.grad[~real] == 0).all()
    assert (h.grad[real] != 0).any()


def test_shares_of_attention_sum_to_one(layer):
    shares = layer.attention(torch.randn(2, 6, 16, dtype=torch.float64))
    assert shares.shape == (2, 4, 6, 6)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 4, 6, dtype=torch.float64))


def test_dropout_acts_in_training_only(layer):
    h = torch.randn(2, 4, 16, dtype=torch.float64)
    assert layer(h, every_token(h)).equal(layer(h, every_token(h)))
    layer.train()
    assert not layer(h, every_token(h)).equal(layer(h, every_token(h)))


def test_it_differs_from_its_input_token_by_token_in_any_order(layer):
    """Attention alone does not see the order: what stands where comes from the positions added before it."""
    h, order = torch.randn(1, 6, 16, dtype=torch.float64), torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(layer(h[:, order], every_token(h)), layer(h, every_token(h))[:, order])
