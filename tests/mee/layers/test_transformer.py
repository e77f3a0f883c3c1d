"""Transformer layers, positions and pooling: the equations by loops, and what the module states of them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mee.layers.transformer import HEADS, SequencePooling, TransformerLayer, sinusoidal_positions


@pytest.fixture
def pooling():
    torch.manual_seed(0)
    return SequencePooling(5, 16, layers=2).double().eval()


def torch_layer(layer, width):
    """torch's own pre-norm layer with the same weights."""
    theirs = nn.TransformerEncoderLayer(
        width, HEADS, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    names = {
        "self_attn.in_proj_": "query_key_value.",
        "self_attn.out_proj.": "attention_out.",
        "linear1.": "mlp.0.",
        "linear2.": "mlp.2.",
        "norm1.": "attention_norm.",
        "norm2.": "mlp_norm.",
    }
    ours = layer.state_dict()
    parts = {name: next(part for part in names if name.startswith(part)) for name in theirs.state_dict()}
    theirs.load_state_dict({name: ours[names[part] + name.removeprefix(part)] for name, part in parts.items()})
    return theirs.double()


@torch.no_grad()
def test_it_is_torchs_own_encoder_one_stream_at_a_time(pooling):
    lengths = torch.tensor([6, 1, 3])
    streams = torch.randn(3, 6, 5, dtype=torch.float64)
    pooled = pooling(streams, lengths)
    layers = [torch_layer(layer, 16).train() for layer in pooling.layers]  # in eval mode: another algorithm
    for number, length in enumerate(lengths.tolist()):
        h = pooling.enter(streams[number : number + 1, :length]) + sinusoidal_positions(length, 16)
        for layer in layers:
            h = layer(h)
        torch.testing.assert_close(pooled[number], pooling.norm(h[0]).mean(0), atol=1e-10, rtol=1e-9)


def test_order_matters_dropout_acts_in_training_only_and_a_missing_stream_is_zeros(pooling, layer):
    streams, lengths = torch.randn(2, 4, 5, dtype=torch.float64), torch.tensor([4, 3])
    pooled = pooling(streams, lengths)
    assert (pooled - pooling(streams.flip(1), lengths))[0].abs().max() > 1e-3
    streams[1] = torch.nan
    pooled = pooling(streams, torch.tensor([4, 0]))
    assert (pooled[1] == 0).all()
    pooled[1].sum().backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in pooling.parameters())
    h = torch.randn(2, 4, 16, dtype=torch.float64)
    for module, inputs in ((pooling, (streams[:1], lengths[:1])), (layer, (h, every_token(h)))):
        assert module(*inputs).equal(module(*inputs))
        module.train()
        assert not module(*inputs).equal(module(*inputs))


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


def test_ignored_tokens_have_exactly_no_influence_nor_a_gradient_and_order_none_at_all(layer):
    """Attention alone does not see the order: that comes from the positions added before it."""
    h, real = torch.randn(2, 6, 16).double(), torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    other, order = h.clone(), torch.tensor([3, 1, 5, 0, 2, 4])
    other[0, 4:] = 1e3
    h.requires_grad_()
    expected = layer(h, real)
    assert layer(other, real)[real].equal(expected[real])
    torch.testing.assert_close(expected[:1, :4], layer(h[:1, :4], every_token(h[:1, :4])), atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(layer(h[1:, order], real[1:]), expected[1:, order])
    expected[real].square().sum().backward()
    assert (h.grad[~real] == 0).all()
    assert (h.grad[real] != 0).any()
    shares = layer.attention(h)
    assert shares.shape == (2, 4, 6, 6)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 4, 6).double())


@given(st.integers(1, 30), st.integers(1, 40))
def test_positions_equal_the_formula_far_away_too_and_need_an_even_size(length, half):
    angles = [[p / 10000 ** (2 * (column // 2) / (2 * half)) for column in range(2 * half)] for p in range(length)]
    expected = [[(math.cos if c % 2 else math.sin)(angle) for c, angle in enumerate(row)] for row in angles]
    torch.testing.assert_close(sinusoidal_positions(length, 2 * half), torch.tensor(expected), atol=1e-6, rtol=0)
    row = sinusoidal_positions(100_001, 2)[100_000]
    assert row.tolist() == pytest.approx([math.sin(100_000), math.cos(100_000)], abs=1e-6)
    with pytest.raises(ValueError, match="even"):
        sinusoidal_positions(4, 5)


@given(st.integers(2, 200), st.integers(1, 40))
def test_squared_norms_of_positions_are_half_the_size_and_products_depend_on_distance_only(length, half):
    positions = sinusoidal_positions(length, 2 * half).double()
    for distance in {0, 1, length // 2, length - 1}:
        products = (positions @ positions.T).diagonal(distance)
        expected = products[0] if distance else torch.tensor(half).double()
        torch.testing.assert_close(products, expected.expand_as(products), atol=1e-4, rtol=0)
