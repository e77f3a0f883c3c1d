"""The recurrent encoder: its equations, written as loops; attention is its pooling."""

import pytest
import torch

from mee.text.config import TextConfig
from mee.text.recurrent import RecurrentEncoder

CONFIG = TextConfig(encoder="recurrent", width=8, heads=1, layers=2, max_tokens=12, vocabulary=300)


@pytest.fixture
def encoder(sentences):
    torch.manual_seed(0)
    return RecurrentEncoder.learn(CONFIG, sentences).eval()


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


def test_it_equals_loops_over_the_equations(encoder):
    tokens = torch.tensor([5, 9, 2, 7])
    h = encoder.embedding.weight[tokens]
    weights = dict(encoder.states.named_parameters())
    for layer in range(2):
        both = []
        for direction in ("", "_reverse"):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            own = [weights[f"{name}_l{layer}{direction}"] for name in names]
            both.append(gru(h.flip(0), own).flip(0) if direction else gru(h, own))
        h = torch.cat(both, dim=1)
    energy = torch.stack(
        [encoder.query.weight[0] @ (encoder.key.weight @ state + encoder.key.bias).tanh() for state in h]
    )
    shares = energy.exp() / energy.exp().sum()
    expected = sum(share * state for share, state in zip(shares, h))
    torch.testing.assert_close(encoder(tokens[None], torch.tensor([4]))[0], expected, atol=1e-6, rtol=1e-5)


def test_attention_is_one_row_that_makes_the_text_vector(encoder, sentences):
    seen = encoder.attention(sentences[0])
    [tokens] = encoder.read([sentences[0]])
    assert seen.weights.shape == (1, 1, 1, len(tokens))
    assert len(seen.tokens) == len(tokens)
    states, _ = encoder._run(tokens[None], torch.tensor([len(tokens)]))
    torch.testing.assert_close(seen.weights[0, 0] @ states[0], encoder(tokens[None], torch.tensor([len(tokens)])))


def test_no_gradient_reaches_the_padding(encoder):
    tokens = torch.tensor([[1, 2, 7, 7], [3, 4, 5, 6]])
    encoder(tokens, torch.tensor([2, 4])).square().sum().backward()
    used = encoder.embedding.weight.grad.abs().sum(1) > 0
    assert used.nonzero().flatten().tolist() == [1, 2, 3, 4, 5, 6]


def test_the_order_of_words_matters_and_dropout_acts_in_training_only(encoder):
    lengths = torch.tensor([3])
    there, back = encoder(torch.tensor([[1, 2, 3]]), lengths), encoder(torch.tensor([[3, 2, 1]]), lengths)
    assert (there - back).abs().max() > 1e-3
    encoder.train()
    assert not encoder(torch.tensor([[1, 2, 3]]), lengths).equal(there)
