"""The text encoder: padding and the rest of the batch have no influence."""

import math

import pytest
import torch

from mee.config import TextConfig
from mee.text import TextEncoder

CONFIG = TextConfig(width=16, layers=2, heads=2, max_tokens=12)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return TextEncoder(CONFIG, vocabulary=50).eval()


@pytest.mark.parametrize("padding", [0, 1, 49])
def test_padding_has_no_influence(encoder, padding):
    tokens = torch.randint(50, (1, 5))
    padded = torch.cat([tokens, torch.full((1, 7), padding)], dim=1)
    torch.testing.assert_close(
        encoder(padded, torch.tensor([5])), encoder(tokens, torch.tensor([5])), atol=1e-6, rtol=1e-5
    )


def test_the_rest_of_the_batch_has_no_influence(encoder):
    tokens, lengths = torch.randint(50, (6, 12)), torch.tensor([12, 1, 7, 3, 12, 5])
    together = encoder(tokens, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(tokens[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-6, rtol=1e-5)


def test_no_gradient_reaches_the_padding(encoder):
    tokens = torch.tensor([[1, 2, 7, 7], [3, 4, 5, 6]])
    encoder(tokens, torch.tensor([2, 4])).square().sum().backward()
    used = encoder.embedding.weight.grad.abs().sum(1) > 0
    assert used.nonzero().flatten().tolist() == [1, 2, 3, 4, 5, 6]


def test_the_order_of_words_matters(encoder):
    lengths = torch.tensor([3])
    there, back = encoder(torch.tensor([[1, 2, 3]]), lengths), encoder(torch.tensor([[3, 2, 1]]), lengths)
    assert (there - back).abs().max() > 1e-3


def test_a_layer_equals_a_loop_over_heads_and_tokens(encoder):
    """Pre-norm attention written out with torch.nn's own layers, one sentence, one head at a time."""
    tokens = torch.tensor([[4, 9, 2]])
    h = encoder.embedding.weight[tokens[0]] * 4 + encoder.positions[:3]
    for layer in encoder.layers:
        normed = layer.attention_norm(h)
        q, k, v = (
            normed @ w.T + b
            for w, b in zip(layer.query_key_value.weight.split(16), layer.query_key_value.bias.split(16))
        )
        heads = []
        for head in range(2):
            columns = slice(8 * head, 8 * head + 8)
            attention = (q[:, columns] @ k[:, columns].T / math.sqrt(8)).softmax(1)
            heads.append(attention @ v[:, columns])
        h = h + layer.attention_out(torch.cat(heads, dim=1))
        h = h + layer.mlp(layer.mlp_norm(h))
    torch.testing.assert_close(
        encoder(tokens, torch.tensor([3])), encoder.norm(h).mean(0, keepdim=True), atol=1e-6, rtol=1e-5
    )


def test_dropout_acts_in_training_only(encoder):
    tokens, lengths = torch.randint(50, (2, 4)), torch.tensor([4, 4])
    assert encoder(tokens, lengths).equal(encoder(tokens, lengths))
    encoder.train()
    assert not encoder(tokens, lengths).equal(encoder(tokens, lengths))
