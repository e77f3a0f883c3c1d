"""Transformer layers, positions and pooling: the equations by loops, and what the module states of them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mee.layers.transformer import HEADS, Padding, SequencePooling, TransformerLayer, sinusoidal_positions


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
    h = torch.randn(8, 16, dtype=torch.float64)
    for module, inputs in ((pooling, (streams[:1], lengths[:1])), (layer, (h, padding(4, 4)))):
        assert module(*inputs).equal(module(*inputs))
        module.train()
        assert not module(*inputs).equal(module(*inputs))


def make_layer():
    torch.manual_seed(0)
    return TransformerLayer(16, heads=4, dropout=0.5).double().eval()


@pytest.fixture
def layer():
    return make_layer()


def padding(*lengths):
    return Padding.of(torch.tensor(lengths), max(lengths))


@torch.no_grad()
def test_it_is_the_equation_one_head_at_a_time(layer):
    h = torch.randn(5, 16, dtype=torch.float64)
    weights, biases = layer.query_key_value.weight.split(16), layer.query_key_value.bias.split(16)
    q, k, v = (layer.attention_norm(h) @ w.T + b for w, b in zip(weights, biases))
    heads = []
    for head in range(4):
        columns = slice(4 * head, 4 * head + 4)
        shares = (q[:, columns] @ k[:, columns].T / math.sqrt(4)).softmax(1)
        torch.testing.assert_close(layer.attention(h, padding(5))[0, head], shares)
        heads.append(shares @ v[:, columns])
    expected = h + layer.attention_out(torch.cat(heads, dim=1))
    expected = expected + layer.mlp(layer.mlp_norm(expected))
    torch.testing.assert_close(layer(h, padding(5)), expected)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(any), st.integers(0, 2**31))
def test_a_batch_is_its_sequences_alone_and_order_is_nothing_to_a_layer(lengths, seed):
    """Attention alone does not see the order: that comes from the positions added before it."""
    layer, generator = make_layer(), torch.Generator().manual_seed(seed)
    h = torch.randn(sum(lengths), 16, generator=generator, dtype=torch.float64, requires_grad=True)
    together = layer(h, padding(*lengths))
    for own, expected in zip(h.split(lengths), together.split(lengths)):
        if len(own):
            order = torch.randperm(len(own), generator=generator)
            torch.testing.assert_close(
                layer(own[order], padding(len(own))), expected[order], atol=1e-12, rtol=1e-9
            )
            shares = layer.attention(own, padding(len(own)))
            assert shares.shape == (1, 4, len(own), len(own))
            torch.testing.assert_close(shares.sum(-1), torch.ones(1, 4, len(own)).double())
    first = together.split(lengths)[next(n for n, length in enumerate(lengths) if length)]
    first.square().sum().backward()
    assert h.grad.isfinite().all()
    assert (h.grad[: len(first)] != 0).any()
    assert (h.grad[len(first) :] == 0).all()  # another sequence has no influence


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 2))
def test_rows_are_padded_with_zeros_and_found_again(lengths, more):
    where = Padding.of(torch.tensor(lengths), max([1, *lengths]) + more)
    rows = torch.arange(1.0, 1 + 2 * sum(lengths)).view(-1, 2)
    padded = where.pad(rows)
    for own, stream, length in zip(rows.split(lengths), padded, lengths):
        assert stream[:length].equal(own)
        assert (stream[length:] == 0).all()
    assert where.rows(padded).equal(rows)
    assert where.positions.tolist() == [place for length in lengths for place in range(length)]


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
