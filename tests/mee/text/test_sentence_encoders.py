"""What a folder of sentence-transformers declares: it is used, or named."""

import json

import pytest
import torch
from safetensors.torch import save_file

from mee.errors import InputError
from mee.layers.pooling_kinds import PLAIN
from mee.text import as_declared
from mee.text.config import TextConfig
from mee.text.pretrained import PretrainedEncoder
from tests.mee import tiny_models
from tests.mee.conftest import refusal

CPU = torch.device("cpu")
SENTENCES = ("a red circle moves left", "rain", "the dog barks twice")
PIPELINE = ("Transformer", "Pooling", "Normalize")


@pytest.fixture
def declare(tmp_path):
    """declare({file: content}, *kinds of modules): a sentence encoder's folder; its pooling is the mean."""

    def make(files=None, *kinds):
        directory = tiny_models.save("bert", tmp_path / "bert")
        parts = [
            (f"sentence_transformers.models.{kind}", f"{n}_{kind}") for n, kind in enumerate(kinds or PIPELINE)
        ]
        modules = [{"type": kind, "path": path if "Transformer" not in path else ""} for kind, path in parts]
        files = {"modules.json": modules, "1_Pooling/config.json": {"pooling_mode": "mean"}} | (files or {})
        for name, content in files.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(json.dumps(content))
        return directory

    return make


def flags(*modes):
    """A declaration of the older kind."""
    return {"pooling_mode_mean_tokens": False} | {f"pooling_mode_{mode}": True for mode in modes}


@pytest.mark.parametrize(
    ("declared", "kinds", "found"),
    [
        (flags("mean_tokens"), PIPELINE, "mean"),
        (flags("cls_token"), PIPELINE, "first"),
        (flags("lasttoken"), PIPELINE[:2], "last"),
        (flags("mean_tokens", "cls_token", "max_tokens"), PIPELINE, "first max mean"),  # in their columns' order
        ({"pooling_mode": "cls"}, PIPELINE, "first"),
        ({"pooling_mode": ["mean", "cls"]}, PIPELINE, "first mean"),
        (flags("mean_sqrt_len_tokens"), PIPELINE, "pools by mean_sqrt_len, which is not supported"),
        (flags("weightedmean_tokens"), PIPELINE, "pools by weightedmean, which is not"),
        (flags(), PIPELINE, "pools by nothing"),
        ([], PIPELINE, "modules of .* cannot be read"),
        *(
            ({"pooling_mode": "mean"}, ("Transformer", "Pooling", kind), f"a module of type {kind}, which is not")
            for kind in ("StaticEmbedding", "WordEmbeddings", "Router", "Asym", "LSTM")
        ),
    ],
)
def test_it_pools_as_its_folder_declares_unless_it_is_told_how(declare, declared, kinds, found):
    directory = declare({"1_Pooling/config.json": declared}, *kinds)
    if set(found.split()) <= set(PLAIN):
        assert as_declared(TextConfig(encoder=str(directory))).pooling == tuple(found.split())
        assert as_declared(TextConfig(encoder=str(directory), pooling=("max",))).pooling == ("max",)
        return
    with pytest.raises(InputError, match=found):
        as_declared(TextConfig(encoder=str(directory)))


def test_an_encoder_that_is_not_told_how_to_pool_does_as_declared(declare):
    directory = declare({"1_Pooling/config.json": flags("cls_token")})
    declared, first, mean = (
        PretrainedEncoder.learn(TextConfig(encoder=str(directory), pooling=pooling), []).encode(SENTENCES, CPU)
        for pooling in ((), ("first",), ("mean",))
    )
    assert declared.equal(first)
    assert not declared.equal(mean)


def test_what_nothing_declares_is_said_once(tmp_path, caplog):
    directory = tiny_models.save("bert", tmp_path / "bert")
    found = as_declared(TextConfig(encoder=str(directory)))
    assert (found.pooling, found.max_tokens, found.prompts) == (("mean",), 64, ("", ""))
    assert as_declared(found) == found
    said = f"note: '{directory}' declares no pooling, so the mean of its tokens is used (--text.pooling)"
    assert caplog.messages == [said]
    assert as_declared(TextConfig()) == TextConfig(pooling=("mean",), max_tokens=64)


@pytest.mark.parametrize(
    ("limit", "asked", "found"), [(128, None, 128), (128, 9, 9), (None, None, 64), ("x", None, 64)]
)
def test_the_longest_sentence_is_the_declared_one(declare, limit, asked, found):
    directory = declare({"sentence_bert_config.json": {"max_seq_length": limit}})
    assert as_declared(TextConfig(encoder=str(directory), max_tokens=asked)).max_tokens == found


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        ({"prompts": {"query": "q: ", "passage": "p: "}}, ("q: ", "p: ")),
        ({"prompts": {"query": "q: ", "document": ""}, "default_prompt_name": "query"}, ("q: ", "")),
        ({"prompts": {"any": "a: "}, "default_prompt_name": "any"}, ("a: ", "a: ")),
        ({"prompts": {"clustering": "c: ", "query": 5}, "default_prompt_name": None}, ("", "")),
        ({"__version__": {}, "similarity_fn_name": None}, ("", "")),
        ({"prompts": [1]}, "prompts of .* cannot be read"),
    ],
)
def test_prompts_are_the_declared_ones(declare, declared, found):
    directory = declare({"config_sentence_transformers.json": declared})
    plain = TextConfig(encoder=str(directory))
    if isinstance(found, str):
        with pytest.raises(InputError, match=found):
            as_declared(plain)
        return
    assert as_declared(plain).prompts == found
    assert as_declared(TextConfig(encoder=str(directory), prompts=("x", ""))).prompts == ("x", "")


TANH = {"in_features": 16, "out_features": 6, "activation_function": "torch.nn.modules.activation.Tanh"}
PLAIN_LAYER = {"in_features": 6, "out_features": 4, "bias": False, "activation_function": "torch.nn.Identity"}


def add_dense(directory, number, fact):
    """Weights for a dense layer; W and b."""
    torch.manual_seed(number)
    made = torch.randn(fact["out_features"], fact["in_features"]), torch.randn(fact["out_features"])
    weights = {"linear.weight": made[0], "linear.bias": made[1]}
    kept = {name: weights[name] for name in list(weights)[: 1 + fact.get("bias", True)]}
    save_file(kept, directory / f"{number}_Dense" / "model.safetensors")
    return made


@pytest.mark.parametrize("tuned", [0, 1])
def test_dense_layers_follow_the_pooling_and_stay_in_a_checkpoint(declare, tmp_path, tuned):
    files = {"2_Dense/config.json": TANH, "3_Dense/config.json": PLAIN_LAYER}
    directory = declare(files, "Transformer", "Pooling", "Dense", "Dense", "Normalize")
    (first, bias), (last, _) = add_dense(directory, 2, TANH), add_dense(directory, 3, PLAIN_LAYER)
    config = as_declared(TextConfig(encoder=str(directory), tuned_layers=tuned))
    encoder = PretrainedEncoder.learn(config, []).eval()
    assert not any(parameter.requires_grad for parameter in encoder.dense.parameters())
    plain = tiny_models.save("bert", tmp_path / "plain")
    pooled = PretrainedEncoder.learn(TextConfig(encoder=str(plain)), []).encode(SENTENCES, CPU)
    with torch.no_grad():
        expected = torch.stack([last @ (first @ row + bias).tanh() for row in pooled])  # (3, 4)
        torch.testing.assert_close(encoder.encode(SENTENCES, CPU), expected, atol=1e-5, rtol=1e-5)
        [ids] = encoder.tokens.tokenize(SENTENCES[:1])
        torch.testing.assert_close(encoder.of_ids(ids[None]), expected[:1], atol=1e-5, rtol=1e-5)
        (tmp_path / "saved").mkdir()
        encoder.save(tmp_path / "saved")
        again = PretrainedEncoder.load(config, tmp_path / "saved").eval()
        again.load_state_dict(encoder.state_dict())
        assert again.encode(SENTENCES, CPU).equal(encoder.encode(SENTENCES, CPU))


DENSE = ("Transformer", "Pooling", "Dense")
PROMPTED = {"config_sentence_transformers.json": {"prompts": {"query": "q: "}, "similarity_fn_name": "dot"}}
UNUSABLE = {
    "activation": {"2_Dense/config.json": {**TANH, "activation_function": "torch.nn.Softmax"}},
    "claimed size": {"2_Dense/config.json": {**TANH, "out_features": 1 << 22}},
    "other size": {"2_Dense/config.json": {**TANH, "out_features": 5}},
    "no size": {"2_Dense/config.json": {}},
    "adapter": {"adapter_config.json": {}},
    "prompts that are not pooled": PROMPTED
    | {"1_Pooling/config.json": {**flags("cls_token"), "include_prompt": False}},
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_what_cannot_be_used_of_a_folder_is_named(declare, says, what):
    directory = declare({"2_Dense/config.json": TANH} | UNUSABLE[what], *DENSE)
    add_dense(directory, 2, TANH)
    if what == "adapter":
        (directory / "model.safetensors").unlink()
    said = refusal(PretrainedEncoder.learn, TextConfig(encoder=str(directory)), [])
    says(said.partition("Error(s) in loading")[0])  # without torch's words


def test_what_is_left_out_is_said(declare, caplog):
    directory = declare({"2_Dense/config.json": TANH}, *DENSE)
    add_dense(directory, 2, TANH)
    (directory / "adapter_config.json").write_text("{}")
    as_declared(TextConfig(encoder=str(directory)))
    assert caplog.messages == [f"note: '{directory}' has an adapter (LoRA) beside its weights, which is left out"]
    caplog.clear()
    encoder = PretrainedEncoder.learn(TextConfig(encoder=str(directory), pooling=("mean", "max")), [])
    assert (encoder.dim, len(encoder.dense)) == (32, 0)
    assert caplog.messages == [
        f"note: the dense layers of '{directory}' are left out: they are for its own pooling"
    ]
    caplog.clear()
    (directory / "adapter_config.json").unlink()
    as_declared(TextConfig(encoder=str(declare(PROMPTED))))
    assert caplog.messages == [f"note: '{directory}' compares vectors by dot; experts compare them by cosine"]
