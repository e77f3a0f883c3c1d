"""Weights of the published network in our model. Its numbers: tests/golden/test_mee_reference.py."""

import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from mee.errors import InputError
from mee.model import MEE
from mee.reference_weights import COLUMNS, STREAMS, load_reference
from mee.streams import Streams
from mee.text.config import TextConfig
from mee.text.word_vectors import WordVectorEncoder

TEXT = TextConfig(encoder="word-vectors", pooling=("netvlad-5",), max_tokens=30)
WORDS = ("a", "dog", "barks", "drums")


@pytest.fixture
def state(load_golden):
    """What a file of theirs holds, in float32."""
    return {
        name.removeprefix("state."): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in load_golden("mee_reference.safetensors").items()
        if name.startswith("state.")
    }


@pytest.fixture
def words():
    """An encoder of twelve-column word vectors."""
    vectors = torch.cat([torch.zeros(1, 12), torch.randn(4, 12, generator=torch.Generator().manual_seed(0))])
    return WordVectorEncoder(TEXT, WORDS, vectors)


def some_clips(model):
    generator = torch.Generator().manual_seed(1)
    return {
        expert.name: Streams(
            torch.randn(3, 2, expert.input_dim, generator=generator), torch.tensor([2, 1, int(number > 0)])
        )
        for number, expert in enumerate(model.config.experts)
    }


def test_a_loaded_network_searches_and_is_saved_like_any_model(state, words, tmp_path):
    model = load_reference(state, TEXT, words, fingerprints={"audio": "vggish"})
    assert not model.training
    assert model.modalities == STREAMS
    assert [expert.input_dim for expert in model.config.experts] == [16, 16, 32, 24]
    assert [expert.fingerprint for expert in model.config.experts] == ["", "vggish", "", ""]
    assert model.layout.sizes == (16, 16, 24, 20)
    for row, name in enumerate(COLUMNS):  # rows of the mixture are in another order
        assert model.mixture.bias[STREAMS.index(name)] == state["mee.moe_fc.bias"][row]
        assert model.mixture.weight[STREAMS.index(name)].equal(state["mee.moe_fc.weight"][row])
    scores = model(["a dog barks", "drums"], some_clips(model))
    assert scores.shape == (2, 3)
    assert scores.abs().max() <= 1
    model.save_pretrained(tmp_path)
    assert MEE.from_pretrained(tmp_path)(["a dog barks", "drums"], some_clips(model)).equal(scores)
    assert set(load_file(tmp_path / "model.safetensors")) == set(model.state_dict())


def test_the_given_weights_keep_their_values_and_dtype_and_are_not_shared(state, words):
    before = {name: tensor.clone() for name, tensor in state.items()}
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(old) == len(state) - 10  # weights of 2018 have no counters
    for given in (state, old):
        model = load_reference(given, TEXT, words)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert all(tensor.equal(before[name]) for name, tensor in given.items())
    double = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    assert {p.dtype for p in load_reference(double, TEXT, words).parameters()} == {torch.float64}


def test_other_names_and_fewer_experts(state, words):
    """A network without faces: theirs with one unit, and one row of the mixture, fewer."""
    fewer = {}
    for name, tensor in state.items():
        head, _, rest = name.partition("_GU.")
        number, _, leaf = rest.partition(".")
        name = f"{head}_GU.{int(number) - 1}.{leaf}" if rest else name
        if number != "0":
            fewer[name] = tensor[[0, 2, 3]] if name.startswith("mee.moe_fc") else tensor
    names = {"streams": ("audio", "frames", "flow"), "columns": ("audio", "flow", "frames")}
    small, whole = load_reference(fewer, TEXT, words, **names), load_reference(state, TEXT, words)
    assert small.modalities == ("audio", "frames", "flow")
    clips = some_clips(whole)
    renamed = {"audio": clips["audio"], "frames": clips["appearance"], "flow": clips["motion"]}
    faceless = {**clips, "face": replace(clips["face"], lengths=0 * clips["face"].lengths)}
    torch.testing.assert_close(small(["a dog"], renamed), whole(["a dog"], faceless))


def without(name):
    return lambda state: state.pop(name), rf"they lack {re.escape(name)}"


def with_one(name, *shape, reason):
    return lambda state: state.update({name: torch.zeros(shape)}), re.escape(reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        *map(without, ("mee.moe_fc.bias", "mee.moe_fc.weight", "mee.video_GU.3.fc.weight")),
        *map(without, ("audio_pooling.clusters", "text_pooling.batch_norm.running_var")),
        with_one("mee.extra", 1, reason="they have mee.extra"),
        with_one("mee.video_GU.4.fc.bias", 1, reason="they have mee.video_GU.4.fc.bias"),
        with_one("audio_pooling.clusters", 3, reason="audio_pooling.clusters has shape [3], it must be a matrix"),
        with_one("mee.moe_fc.weight", 5, 60, reason="moe_fc.weight has shape [5, 60], the others want [4, 60]"),
        with_one("audio_pooling.clusters2", 16, 4, reason="has shape [16, 4], the others want [1, 16, 4]"),
        with_one("mee.video_GU.1.fc.weight", 16, 65, reason="has shape [16, 65], the others want [16, 64]"),
        (
            lambda state: [state.pop(name) for name in [*state] if "_GU.3." in name],
            r"they lack mee\.text_GU\.3\.cg\.batch_norm\.bias and 15 more",
        ),
        (lambda state: state.clear(), "no weights of the reference network"),
    ],
)
def test_weights_that_are_not_theirs_are_refused_in_one_sentence(state, words, change, reason):
    change(state)
    with pytest.raises(InputError, match=reason) as caught:
        load_reference(state, TEXT, words)
    assert "\n" not in str(caught.value)


def test_an_encoder_or_names_that_do_not_fit_are_refused(state, words, model):
    wide = WordVectorEncoder(TEXT, WORDS, torch.zeros(5, 13))
    other = WordVectorEncoder(replace(TEXT, pooling=("netvlad-4",)), WORDS, torch.zeros(5, 15))
    for encoder in (wide, other, model.text_encoder):
        with pytest.raises(InputError, match="pools word vectors of size 12 by netvlad-5"):
            load_reference(state, TEXT, encoder)
    for streams, columns in (
        (("face", "sound"), ("face", "sound")),
        (("face", "audio"), ("audio", "motion")),
        (STREAMS, COLUMNS[:3]),
        ((*STREAMS, "audio"), (*COLUMNS, "audio")),
    ):
        with pytest.raises(InputError, match="streams and columns must be the same names, 'audio' among them"):
            load_reference(state, TEXT, words, streams=streams, columns=columns)
