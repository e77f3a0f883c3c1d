"""Our own encoders: the equations, written as loops; the laws they share with others: test_encoders.py."""

import math

import pytest
import torch

from mee.text.config import TextConfig
from mee.text.recurrent import RecurrentEncoder
from mee.text.transformer import TransformerEncoder

LENGTHS = torch.tensor([3])


@pytest.fixture
def recurrent(sentences):
    torch.manual_seed(0)
    config = TextConfig(encoder="recurrent", width=8, heads=1, layers=2, max_tokens=12, vocabulary=300)
    return RecurrentEncoder.learn(config, sentences).eval()


@pytest.fixture
def transformer(tokenizer):
    torch.manual_seed(0)
    return TransformerEncoder(TextConfig(width=16, layers=2, heads=2, max_tokens=12), tokenizer).eval()


@pytest.fixture(params=["recurrent", "transformer"])
def encoder(request):
    return request.getfixturevalue(request.param)


def test_no_gradient_reaches_the_padding(encoder):
    tokens = torch.tensor([[1, 2, 7, 7], [3, 4, 5, 6]])
    encoder(tokens, torch.tensor([2, 4])).square().sum().backward()
    used = encoder.embedding.weight.grad.abs().sum(1) > 0
    assert used.nonzero().flatten().tolist() == [1, 2, 3, 4, 5, 6]


def test_the_order_of_words_matters_and_dropout_acts_in_training_only(encoder):
    tokens = torch.tensor([[1, 2, 3]])
    there = encoder(tokens, LENGTHS)
    assert (there - encoder(tokens.flip(1), LENGTHS)).abs().max() > 1e-3
    assert encoder(tokens, LENGTHS).equal(there)
    assert not encoder.train()(tokens, LENGTHS).equal(there)


@torch.no_grad()
def test_a_transformer_is_embeddings_and_positions_through_its_layers(transformer):
    """Scaled as in "Attention is all you need"; the layers' own equation: tests/mee/layers/test_transformer.py."""
    tokens, real = torch.tensor([[4, 9, 2]]), torch.ones(1, 3, dtype=torch.bool)
    h = transformer.embedding.weight[tokens] * math.sqrt(16) + transformer.positions[:3]
    for layer in transformer.layers:
        h = layer(h, real)
    torch.testing.assert_close(transformer(tokens, LENGTHS), transformer.norm(h).mean(1), atol=1e-6, rtol=1e-5)


def gru(inputs, weights):
    """One direction, one layer: (L, width) -> (L, 4), state by state; torch stacks the gates as r, z, n."""
    w, u, b, c = weights
    state, states = torch.zeros(4), []
    for x in inputs:
        (wr, wz, wn), (ur, uz, un) = (w @ x + b).chunk(3), (u @ state + c).chunk(3)
        keep, hear = (wz + uz).sigmoid(), (wr + ur).sigmoid()
        state = (1 - keep) * (wn + hear * un).tanh() + keep * state
        states.append(state)
    return torch.stack(states)


def test_a_recurrent_encoder_equals_loops_over_the_equations(recurrent):
    tokens = torch.tensor([5, 9, 2, 7])
    h = recurrent.embedding.weight[tokens]
    weights = dict(recurrent.states.named_parameters())
    for layer in range(2):
        both = []
        for direction in ("", "_reverse"):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            own = [weights[f"{name}_l{layer}{direction}"] for name in names]
            both.append(gru(h.flip(0), own).flip(0) if direction else gru(h, own))
        h = torch.cat(both, dim=1)
    energy = torch.stack(
        [recurrent.query.weight[0] @ (recurrent.key.weight @ state + recurrent.key.bias).tanh() for state in h]
    )
    shares = energy.exp() / energy.exp().sum()
    expected = sum(share * state for share, state in zip(shares, h))
    torch.testing.assert_close(recurrent(tokens[None], torch.tensor([4]))[0], expected, atol=1e-6, rtol=1e-5)


def test_its_attention_is_one_row_that_makes_the_text_vector(recurrent, sentences):
    seen = recurrent.attention(sentences[0])
    [tokens] = recurrent.read([sentences[0]])
    assert seen.weights.shape == (1, 1, 1, len(tokens))
    assert len(seen.tokens) == len(tokens)
    states, _ = recurrent._run(tokens[None], torch.tensor([len(tokens)]))
    torch.testing.assert_close(
        seen.weights[0, 0] @ states[0], recurrent(tokens[None], torch.tensor([len(tokens)]))
    )
