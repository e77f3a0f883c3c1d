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


def test_order_matters_dropout_acts_in_training_only_and_padding_gets_no_gradient(encoder):
    tokens = torch.tensor([[1, 2, 7, 7], [3, 4, 5, 6]])
    encoder(tokens, torch.tensor([2, 4])).square().sum().backward()
    used = encoder.embedding.weight.grad.abs().sum(1) > 0
    assert used.nonzero().flatten().tolist() == [1, 2, 3, 4, 5, 6]
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
    weights, names = dict(recurrent.states.named_parameters()), ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for layer in range(2):
        ahead, back = ([weights[f"{name}_l{layer}{way}"] for name in names] for way in ("", "_reverse"))
        h = torch.cat([gru(h, ahead), gru(h.flip(0), back).flip(0)], dim=1)
    energy = ((h @ recurrent.key.weight.T + recurrent.key.bias).tanh() @ recurrent.query.weight[0]).tolist()
    shares = [math.exp(each) / sum(map(math.exp, energy)) for each in energy]
    expected = sum(share * state for share, state in zip(shares, h))
    torch.testing.assert_close(recurrent(tokens[None], torch.tensor([4]))[0], expected, atol=1e-6, rtol=1e-5)


def test_its_attention_is_one_row_that_makes_the_text_vector(recurrent, sentences):
    seen, [tokens] = recurrent.attention(sentences[0]), recurrent.read([sentences[0]])
    one, length = tokens[None], torch.tensor([len(tokens)])
    assert seen.weights.shape == (1, 1, 1, len(seen.tokens)) == (1, 1, 1, len(tokens))
    states, _ = recurrent._run(one, length)
    torch.testing.assert_close(seen.weights[0, 0] @ states[0], recurrent(one, length))
