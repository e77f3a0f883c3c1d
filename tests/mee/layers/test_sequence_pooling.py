"""Pooling by a small transformer: against torch's own layers, one stream at a time."""

import pytest
import torch
from torch import nn

from mee.layers.transformer import HEADS, SequencePooling, sinusoidal_positions


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
        "self_attn.in_proj_weight": "query_key_value.weight",
        "self_attn.in_proj_bias": "query_key_value.bias",
        "self_attn.out_proj": "attention_out",
        "linear1": "mlp.0",
        "linear2": "mlp.2",
        "norm1": "attention_norm",
        "norm2": "mlp_norm",
    }
    ours = layer.state_dict()
    state = {}
    for name in theirs.state_dict():
        part = name if name in names else name.rpartition(".")[0]
        state[name] = ours[names[part] + name.removeprefix(part)]
    theirs.load_state_dict(state)
    return theirs.double()


@torch.no_grad()
def test_it_is_torchs_own_encoder_one_stream_at_a_time(pooling):
    lengths = torch.tensor([6, 1, 3])
    streams = torch.randn(3, 6, 5, dtype=torch.float64)
    pooled = pooling(streams, lengths)
    layers = [
        torch_layer(layer, 16).train() for layer in pooling.layers
    ]  # in eval mode they are another algorithm
    for number, length in enumerate(lengths.tolist()):
        h = pooling.enter(streams[number : number + 1, :length]) + sinusoidal_positions(length, 16)
        for layer in layers:
            h = layer(h)
        torch.testing.assert_close(pooled[number], pooling.norm(h[0]).mean(0), atol=1e-10, rtol=1e-9)


def test_the_order_of_rows_matters(pooling):
    streams, lengths = torch.randn(1, 4, 5, dtype=torch.float64), torch.tensor([4])
    assert (pooling(streams, lengths) - pooling(streams.flip(1), lengths)).abs().max() > 1e-3


def test_dropout_acts_in_training_only(pooling):
    streams, lengths = torch.randn(2, 4, 5, dtype=torch.float64), torch.tensor([4, 3])
    assert pooling(streams, lengths).equal(pooling(streams, lengths))
    pooling.train()
    assert not pooling(streams, lengths).equal(pooling(streams, lengths))


def test_a_missing_stream_among_others_is_zeros_and_learns_nothing(pooling):
    streams = torch.full((2, 3, 5), torch.nan, dtype=torch.float64)
    streams[0] = 1
    pooled = pooling(streams, torch.tensor([3, 0]))
    assert (pooled[1] == 0).all()
    pooled[1].sum().backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in pooling.parameters())
