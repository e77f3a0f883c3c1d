"""The text encoder of our own: padding and the rest of the batch have no influence."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.text.config import TextConfig
from mee.text.transformer import TransformerEncoder

POOLINGS = [("mean",), ("max",), ("first", "last"), ("netvlad-3",), ("transformer",), ("mean", "netvlad-2")]


def made(tokenizer, pooling=("mean",), **settings):
    torch.manual_seed(0)
    config = TextConfig(width=16, layers=2, heads=2, max_tokens=12, pooling=pooling, **settings)
    return TransformerEncoder(config, tokenizer).eval()


@pytest.fixture
def encoder(tokenizer):
    return made(tokenizer)


@pytest.mark.parametrize("pooling", POOLINGS, ids=", ".join)
def test_padding_and_the_rest_of_the_batch_have_no_influence(tokenizer, pooling):
    encoder = made(tokenizer, pooling)
    tokens, lengths = torch.randint(50, (6, 12)), torch.tensor([12, 1, 7, 3, 12, 5])
    together = encoder(tokens, lengths)
    assert together.shape == (6, encoder.dim)
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(tokens[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-6, rtol=1e-5)


def test_no_gradient_reaches_the_padding(encoder):
    tokens = torch.tensor([[1, 2, 7, 7], [3, 4, 5, 6]])
    encoder(tokens, torch.tensor([2, 4])).square().sum().backward()
    used = encoder.embedding.weight.grad.abs().sum(1) > 0
    assert used.nonzero().flatten().tolist() == [1, 2, 3, 4, 5, 6]


@torch.no_grad()
def test_it_is_embeddings_and_positions_through_its_layers(encoder):
    """Scaled as in "Attention is all you need"; the layers' own equation: tests/mee/layers/test_transformer.py."""
    tokens, real = torch.tensor([[4, 9, 2]]), torch.ones(1, 3, dtype=torch.bool)
    h = encoder.embedding.weight[tokens] * math.sqrt(16) + encoder.positions[:3]
    for layer in encoder.layers:
        h = layer(h, real)
    got = encoder(tokens, torch.tensor([3]))
    torch.testing.assert_close(got, encoder.norm(h).mean(1), atol=1e-6, rtol=1e-5)


def test_the_order_of_words_matters_and_dropout_acts_in_training_only(encoder):
    tokens, lengths = torch.tensor([[1, 2, 3]]), torch.tensor([3])
    there = encoder(tokens, lengths)
    assert (there - encoder(tokens.flip(1), lengths)).abs().max() > 1e-3
    assert encoder(tokens, lengths).equal(there)
    assert not encoder.train()(tokens, lengths).equal(there)


@given(st.lists(st.sampled_from(["a red circle", "drums", "rain falls on a tin roof", "zebra 汽车"]), min_size=1))
def test_sentences_in_one_batch_are_as_each_alone(tokenizer, texts):
    encoder, cpu = made(tokenizer), torch.device("cpu")
    together = encoder.encode(texts, cpu)
    assert together.shape == (len(texts), 16)
    alone = torch.cat([encoder.encode([text], cpu) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
