"""Laws that every text encoder keeps, the families of pretrained ones included."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from mee.encode import encode_captions, encode_gallery
from mee.errors import InputError
from mee.evaluation.retrieval import Retrieval
from mee.layers.transformer import Padding
from mee.model import MEE
from mee.text.config import TextConfig
from mee.text.transformer import RecurrentEncoder, TransformerEncoder
from mee.training.config import TrainConfig
from mee.training.state import learnt_state
from mee.training.trainer import Trainer, make_optimiser
from tests.mee import tiny_models

CPU = torch.device("cpu")
SENTENCES = (
    "a red circle moves left",
    "rain",
    "the dog barks twice with a cat and something unheard of",
    "a blue square",
    "someone plays the drums",
    "A Green STAR turns right",
)
OWN = {
    "transformer": {"encoder": "transformer"},
    "transformer-max-ends": {"encoder": "transformer", "pooling": ("max", "first", "last")},
    "transformer-learnt": {"encoder": "transformer", "pooling": ("mean", "netvlad-3", "transformer")},
    "recurrent": {"encoder": "recurrent"},
    "word-vectors": {"encoder": "word-vectors"},
    "word-vectors-netvlad": {"encoder": "word-vectors", "pooling": ("netvlad-3", "max")},
}
PRETRAINED = {
    "bert-frozen": {"family": "bert"},
    "bert-first-max": {"family": "bert", "pooling": ("first", "max")},
    "bert-frozen-netvlad": {"family": "bert", "pooling": ("netvlad-3",)},
    "bert-last-layer": {"family": "bert", "tuned_layers": 1},
    "bert-tuned": {"family": "bert", "tuned_layers": -1, "pooling": ("first",)},
    "roberta-tuned": {"family": "roberta", "tuned_layers": -1},
    "gpt2-frozen": {"family": "gpt2", "pooling": ("last",)},
    "gpt2-last-layers": {"family": "gpt2", "tuned_layers": 2, "pooling": ("last",)},
    "llama-tuned": {"family": "llama", "tuned_layers": -1, "pooling": ("last", "mean")},
    "t5-frozen": {"family": "t5"},
    "t5-last-layer": {"family": "t5", "tuned_layers": 1},
    "bart-tuned": {"family": "bart", "tuned_layers": -1, "pooling": ("netvlad-2",)},
}
ALL = {**OWN, **PRETRAINED}
LEARNING = {  # prefixes of what learns, besides the pooling; all of it where there are none
    **{name: [""] for name in OWN if name.startswith("transformer")},
    "recurrent": [""],
    "bert-last-layer": ["model.encoder.layer.2."],
    "bert-tuned": ["model."],
    "roberta-tuned": ["model."],
    "gpt2-last-layers": ["model.h.1.", "model.h.2.", "model.ln_f."],
    "llama-tuned": ["model."],
    "t5-last-layer": ["model.block.2.", "model.final_layer_norm."],
    "bart-tuned": ["model."],
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Directory with a tiny checkpoint of each family, and a file of word vectors."""
    directory = tmp_path_factory.mktemp("tiny")
    for family in {case["family"] for case in PRETRAINED.values()}:
        tiny_models.save(family, directory / family)
    tiny_models.save_vectors(directory / "vectors.txt")
    return directory


@pytest.fixture
def make_config(tiny):
    def make(name):
        case = {"max_tokens": 64, "width": 16, "heads": 2, "vocabulary": 300, **ALL[name]}
        if "family" in case:
            case["encoder"] = str(tiny / case.pop("family"))
        if case["encoder"] == "word-vectors":
            case["vectors"] = str(tiny / "vectors.txt")
        return TextConfig(**case)

    return make


@pytest.fixture
def make_model(make_config, model_config):
    def make(name):
        torch.manual_seed(0)
        return MEE.learn(replace(model_config, text=make_config(name)), SENTENCES).eval()

    return make


@pytest.mark.parametrize("name", ALL)
def test_padding_and_the_rest_of_the_batch_have_no_influence(make_model, name):
    encoder = make_model(name).text_encoder
    rows = encoder.tokenize(SENTENCES)
    together = encoder.encode(SENTENCES, CPU)
    assert together.shape == (len(SENTENCES), encoder.dim)
    assert together.std(0).max() > 1e-2  # sentences differ
    for sentence, row, expected in zip(SENTENCES, rows, together):
        assert row.dtype == encoder.like.dtype
        assert row.shape[1:] == encoder.like.shape[1:]
        [alone] = encoder.tokenize([sentence])
        torch.testing.assert_close(alone, row, atol=1e-5, rtol=1e-5)
        junk = torch.full_like(row[:1], 5).expand(3, *row.shape[1:]) * (1 if row.dtype == torch.int64 else 1e6)
        for padded in (row, torch.cat([row, junk])):
            encoded = encoder(padded[None], torch.tensor([len(row)]))[0]
            torch.testing.assert_close(encoded, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_saved_model_embeds_the_same_without_the_files_it_came_from(make_model, name, tmp_path, tiny):
    model = make_model(name)
    model.save_pretrained(tmp_path / "model")
    hidden = tiny.rename(tmp_path / "elsewhere")
    try:
        loaded = MEE.from_pretrained(tmp_path / "model")
    finally:
        hidden.rename(tiny)
    assert set(loaded.state_dict()) == set(model.state_dict())
    assert all(tensor.equal(loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    got, expected = (encode_captions(each, SENTENCES) for each in (loaded, model))
    torch.testing.assert_close(got.packed, expected.packed, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(got.logits, expected.logits, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_one_step_changes_exactly_what_learns(make_model, name):
    model = make_model(name).train()
    encoder = model.text_encoder
    config = TrainConfig(weight_decay=0.0, learning_rate=1e-3, text_learning_rate=1e-3)
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    optimizer = make_optimiser(model, torch.nn.Module(), config)
    text = model.encode_text({name: ragged.all() for name, ragged in model.tokenize(SENTENCES).items()})
    (text.packed * torch.randn_like(text.packed)).sum().add(text.logits.square().sum()).backward()
    optimizer.step()
    changed = {key for key, tensor in encoder.state_dict().items() if not tensor.equal(before[key])}
    prefixes = (*LEARNING.get(name, []), "pool.")
    learning = {key for key, _ in encoder.named_parameters() if key.startswith(prefixes)}
    buffers = {key for key, _ in encoder.named_buffers()}
    assert changed - buffers == learning
    assert {k for k, p in encoder.named_parameters() if p.grad is not None} == learning
    assert learning <= set(learnt_state(encoder)) <= learning | buffers
    own = {id(p) for k, p in encoder.named_parameters() if k in learning and k.startswith("model.")}
    assert {id(parameter) for parameter in encoder.tuned_parameters()} == (own if name in PRETRAINED else set())


@pytest.mark.parametrize("name", ALL)
def test_attention_is_shares_over_the_tokens_and_a_sentence_needs_words(make_model, name):
    encoder = make_model(name).text_encoder
    with pytest.raises(InputError, match=r"empty \(number 2 of 2\)"):
        encoder.tokenize(["a dog", " \n"])
    assert encoder.tokenize([]) == []
    seen = encoder.attention(SENTENCES[0])
    if name.startswith("word-vectors"):
        assert seen is None
        return
    length = len(seen.tokens)
    assert seen.weights.shape[2:] == (1 if name == "recurrent" else length, length)
    torch.testing.assert_close(seen.weights.sum(-1), torch.ones(seen.weights.shape[:3]))
    assert "red" in seen.tokens or "".join(seen.tokens).replace(" ", "").startswith("aredcircle")
    if name.startswith(("gpt2", "llama")):
        assert seen.weights.triu(1).eq(0).all()


@pytest.fixture
def world(make_toy):
    """The toy problem in which nothing is missing."""
    source, pairs = make_toy()
    return source, pairs.of_videos(set(pairs.videos[:32])), pairs.of_videos(set(pairs.videos[32:]))


@pytest.mark.parametrize(
    "name", ["recurrent", "word-vectors", "word-vectors-netvlad", "bert-frozen", "gpt2-last-layers", "t5-frozen"]
)
def test_a_toy_problem_is_learnt(world, make_config, model_config, name, tmp_path):
    config = TrainConfig(epochs=40, batch_size=16, learning_rate=5e-3, text_learning_rate=1e-3)
    trainer = Trainer(*world, replace(model_config, text=make_config(name), dropout=0.0), config, CPU)
    model = trainer.run(tmp_path / "state", lambda progress: None)
    report = Retrieval.of(model, encode_gallery(model, world[0], world[2].gallery), world[2]).measure()
    assert report.t2v.metrics["R@5"] > 70
    losses = [epoch["loss"] for epoch in trainer.progress.history if epoch["epoch"]]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", ["bert-frozen", "bert-frozen-netvlad", "t5-frozen", "bert-last-layer"])
def test_a_frozen_model_is_not_run_again_in_training(world, make_config, model_config, name, tmp_path):
    config = TrainConfig(epochs=2, batch_size=16)
    trainer = Trainer(*world, replace(model_config, text=make_config(name)), config, CPU)
    model, runs = trainer.model.text_encoder.model, []
    model.register_forward_pre_hook(lambda module, args: runs.append(module.training))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    trainer.run(tmp_path / "state", lambda progress: None)
    if name == "bert-last-layer":
        assert runs == [False] * len(runs)  # the frozen part is in eval mode
        assert len(runs) >= 4
    else:
        assert runs == []
        assert all(tensor.equal(before[key]) for key, tensor in model.state_dict().items())
    assert (tmp_path / "state").stat().st_size < 5e6


def test_only_frozen_parts_stay_in_eval_mode_and_the_table_imports_no_transformers(make_model):
    frozen, last = (make_model(name).text_encoder.train() for name in ("bert-frozen-netvlad", "bert-last-layer"))
    assert frozen.pool.training
    assert not any(module.training for module in frozen.model.modules())
    assert [layer.training for layer in last.model.encoder.layer] == [False, False, True]
    assert not last.eval().model.encoder.layer[2].training
    code = "import sys, mee.text.base, mee.text.config; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- our own encoders: the equations, written as loops

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
    assert (encoder.embedding.weight.grad.abs().sum(1) > 0).nonzero().flatten().tolist() == [1, 2, 3, 4, 5, 6]
    tokens = torch.tensor([[1, 2, 3]])
    there = encoder(tokens, LENGTHS)
    assert (there - encoder(tokens.flip(1), LENGTHS)).abs().max() > 1e-3
    assert encoder(tokens, LENGTHS).equal(there)
    assert not encoder.train()(tokens, LENGTHS).equal(there)


@torch.no_grad()
def test_a_transformer_is_embeddings_and_positions_through_its_layers(transformer):
    """Scaled as in "Attention is all you need"; the layers' own equation: tests/mee/layers/test_transformer.py."""
    tokens, padding = torch.tensor([[4, 9, 2]]), Padding.of(torch.tensor([3]), 3)
    h = transformer.embedding.weight[tokens[0]] * math.sqrt(16) + transformer.positions[:3]
    for layer in transformer.layers:
        h = layer(h, padding)
    expected = transformer.norm(h).mean(0, keepdim=True)
    torch.testing.assert_close(transformer(tokens, LENGTHS), expected, atol=1e-6, rtol=1e-5)


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
    seen, [tokens] = recurrent.attention(sentences[0]), recurrent.tokenize([sentences[0]])
    one, length = tokens[None], torch.tensor([len(tokens)])
    assert seen.weights.shape == (1, 1, 1, len(seen.tokens)) == (1, 1, 1, len(tokens))
    states, _ = recurrent._run(one, length)
    torch.testing.assert_close(seen.weights[0, 0] @ states[0], recurrent(one, length))
