"""What a folder of sentence-transformers declares: it is used, or named."""

import json

import pytest
import torch

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
    return {"pooling_mode_mean_tokens": False, "include_prompt": True} | {
        f"pooling_mode_{mode}": True for mode in modes
    }


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
            for kind in ("StaticEmbedding", "WordEmbeddings", "Router", "Asym", "LSTM", "Dense")
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


PROMPTED = {"config_sentence_transformers.json": {"prompts": {"query": "q: "}, "similarity_fn_name": "dot"}}


def test_what_is_not_read_of_a_folder_is_named(declare, says, caplog):
    directory = declare(PROMPTED | {"adapter_config.json": {}})
    plain = TextConfig(encoder=str(directory))
    as_declared(plain)
    adapter, compared = caplog.messages
    assert adapter.startswith(f"note: '{directory}' has an adapter (LoRA), which is left out; merge it")
    assert compared == f"note: '{directory}' compares vectors by dot; experts compare them by cosine"
    declare(PROMPTED | {"1_Pooling/config.json": {"pooling_mode": "mean", "include_prompt": False}})
    says(refusal(as_declared, plain))
