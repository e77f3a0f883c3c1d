"""The text encoder of our own: padding and the rest of the batch have no influence."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.text.config import TextConfig
from mee.text.transformer import TransformerEncoder

CONFIG = TextConfig(width=16, layers=2, heads=2, max_tokens=12)
POOLINGS = [("mean",), ("max",), ("first", "last"), ("netvlad-3",), ("transformer",), ("mean", "netvlad-2")]


def made(tokenizer, pooling=("mean",), **settings):
    torch.manual_seed(0)
    config = TextConfig(width=16, layers=2, heads=2, max_tokens=12, pooling=pooling, **settings)
    return TransformerEncoder(config, tokenizer).eval()


@pytest.fixture
def encoder(tokenizer):
    return made(tokenizer)


@pytest.mark.parametrize("pooling", POOLINGS, ids=", ".join)
@pytest.mark.parametrize("padding", [0, 1, 49])
def test_padding_has_no_influence(tokenizer, pooling, padding):
    encoder, tokens = made(tokenizer, pooling), torch.randint(50, (1, 5))
    padded = torch.cat([tokens, torch.full((1, 7), padding)], dim=1)
    torch.testing.assert_close(
        encoder(padded, torch.tensor([5])), encoder(tokens, torch.tensor([5])), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("pooling", POOLINGS, ids=", ".join)
def test_the_rest_of_the_batch_has_no_influence(tokenizer, pooling):
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


def test_the_order_of_words_matters(encoder):
    lengths = torch.tensor([3])
    there, back = encoder(torch.tensor([[1, 2, 3]]), lengths), encoder(torch.tensor([[3, 2, 1]]), lengths)
    assert (there - back).abs().max() > 1e-3


@torch.no_grad()
def test_it_equals_a_loop_over_heads_and_tokens(encoder):
    """Pre-norm attention written out, one sentence, one head at a time."""
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


@given(st.lists(st.sampled_from(["a red circle", "drums", "rain falls on a tin roof", "zebra 汽车"]), min_size=1))
def test_sentences_in_one_batch_are_as_each_alone(tokenizer, texts):
    encoder, cpu = made(tokenizer), torch.device("cpu")
    together = encoder.encode(texts, cpu)
    assert together.shape == (len(texts), 16)
    alone = torch.cat([encoder.encode([text], cpu) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_an_empty_sentence_is_refused(encoder):
    with pytest.raises(InputError, match=r"the sentence is empty \(number 2 of 2\)"):
        encoder.encode(["a dog", " "], torch.device("cpu"))


def test_attention_says_for_each_token_where_it_looks(encoder):
    attention = encoder.train().attention("a red circle")
    assert "".join(attention.tokens).replace("·", "") == "aredcircle"
    count = len(attention.tokens)
    assert attention.weights.shape == (2, 2, count, count)
    torch.testing.assert_close(attention.weights.sum(-1), torch.ones(2, 2, count))


def test_it_is_learnt_saved_and_loaded(tmp_path, sentences):
    torch.manual_seed(0)
    learnt = TransformerEncoder.learn(CONFIG, sentences).eval()
    learnt.save(tmp_path)
    loaded = TransformerEncoder.load(CONFIG, tmp_path).eval()
    loaded.load_state_dict(learnt.state_dict())
    cpu = torch.device("cpu")
    assert loaded.encode(["a red zebra"], cpu).equal(learnt.encode(["a red zebra"], cpu))
    assert learnt.tuned_parameters() == []
