"""A transformers folder may come from anyone: only plain settings, safetensors and vocabularies in it are read."""

import base64
import json
import os
import pickle
import shutil
import sys
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from mee.text.config import TextConfig
from mee.text.pretrained import PretrainedEncoder
from tests.mee import tiny_models
from tests.mee.conftest import refusal

SETTINGS, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER, TOKENS = "tokenizer.json", "tokenizer_config.json"
SENTENCES = ("a red circle moves left", "rain")
CODE = "import pathlib; pathlib.Path({!r}).write_text('x')"


@pytest.fixture
def bert(tmp_path):
    """With code, pickles and an adapter beside it, which would write the file `pwned`, and leads out of it."""
    folder = tiny_models.save("bert", tmp_path / "bert")
    code = CODE.format(str(tmp_path / "pwned"))

    class Harm:
        def __reduce__(self):
            return exec, (code,)

    (folder / "evil.py").write_text(code)
    for name in ("evil.bin", "pytorch_model.bin", "adapter_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Harm()))
    shutil.copytree(folder, tmp_path / "outside")
    adapter = {"base_model_name_or_path": str(tmp_path / "outside"), "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    os.mkfifo(folder / "chat_template.jinja")
    (folder / "additional_chat_templates").mkdir()
    os.mkfifo(folder / "additional_chat_templates/a.jinja")
    yield folder
    assert not (tmp_path / "pwned").exists()


def put(file, **values):
    def change(folder):
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, **values}))

    return change


config, rules, tokens = (partial(put, file) for file in (SETTINGS, TOKENIZER, TOKENS))


def shards(name):
    """Weights of an index, all in one file."""

    def change(folder):
        weights = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).unlink()
        content = {"metadata": {"total_size": 1 << 40}, "weight_map": dict.fromkeys(weights, name)}
        (folder / INDEX).write_text(json.dumps(content))
        save_file(weights, folder / "model-1.safetensors", {"format": "pt"})

    return change


def filled(value, dtype=None):
    def change(folder):
        weights = {n: torch.full_like(t, value, dtype=dtype) for n, t in load_file(folder / WEIGHTS).items()}
        save_file(weights, folder / WEIGHTS, {"format": "pt"})

    return change


def linked(name, target):
    return lambda folder: ((folder / name).unlink(), os.symlink(target, folder / name))


def normalizer(**rule):
    return rules(normalizer=rule)


def growing(content, times):
    one = {"type": "Replace", "pattern": {"String": "x"}, "content": content}
    return {"type": "Sequence", "normalizers": [one] * times}


def template(ids, count=1):
    special = {"<s>": {"id": "<s>", "ids": ids, "tokens": ["<s>"]}}
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}] * count + [{"Sequence": {"id": "A", "type_id": 0}}]
    others = {"pair": [], "special_tokens": special}
    return rules(post_processor={"type": "TemplateProcessing", "single": single, **others})


HOSTILE = {
    "type": config(model_type="evil", auto_map={"AutoConfig": "evil.Evil"}),
    **{f"quantised-{kind}": config(quantization_config={"quant_method": kind}) for kind in ("gptq", "torchao")},
    **{f"{key}-{size}": config(**{key: size}) for key in ("hidden_size", "vocab_size") for size in (10**6, 10**9)},
    **{f"layers-{size}": config(num_hidden_layers=size) for size in (4000, 10**6, 10**18)},
    "positions": config(max_position_embeddings=10**7),
    "heads": config(num_attention_heads=0),
    "activation": config(hidden_act='__import__("os").system("x")'),
    "epsilon": config(layer_norm_eps="x"),
    "chunk": config(chunk_size_feed_forward=7),
    "nested": lambda d: (d / SETTINGS).write_text("[" * 200_000),
    "pipe": lambda d: ((d / TOKENS).unlink(), os.mkfifo(d / TOKENS)),
    "settings-link": linked(SETTINGS, "/etc/passwd"),
    "weights-link": linked(WEIGHTS, "../outside/model.safetensors"),
    "tokenizer-link": linked(TOKENIZER, "../outside/tokenizer.json"),
    **{f"shards-{name}": shards(name) for name in ("evil.bin", f"../outside/{WEIGHTS}", "/etc/a.safetensors", "")},
    "no-shards": lambda d: ((d / WEIGHTS).unlink(), (d / INDEX).write_text('{"weight_map": []}')),
    "nan": filled(torch.nan),
    "head": lambda d: (d / WEIGHTS).write_bytes((1 << 40).to_bytes(8, "little") + b"{}"),
    "list": lambda d: (d / WEIGHTS).write_bytes((2).to_bytes(8, "little") + b"[]"),
    "sparse": lambda d: os.truncate(d / WEIGHTS, 1 << 40),
    "integers": filled(1, torch.int64),
    "vocabulary": lambda d: os.truncate(d / TOKENIZER, 1 << 26),
    "beyond": filled(3e38),
    "search": normalizer(type="Replace", pattern={"Regex": "(x+x+)+y"}, content=" "),
    "split": rules(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(x+)*y"}, "behavior": "Isolated"}),
    "growth": normalizer(**growing("x" * 10, 9)),
    "prepend": normalizer(type="Prepend", prepend="x" * 1000),
    "table": normalizer(type="Precompiled", precompiled_charsmap=base64.b64encode(bytes(4)).decode()),
    "tokenizer-nested": lambda d: (d / TOKENIZER).write_text("[" * 200_000),
    "stride": rules(
        truncation={"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 2**40}
    ),
    "unknown-id": template([4_000_000]),
    "many": template([1], 100_000),
    "added-id": tokens(added_tokens_decoder={"99999999999": {"content": "q"}}),
    "added-list": tokens(added_tokens_decoder=[1]),
    "class": tokens(tokenizer_class="AutoModel"),
    "longest": tokens(model_max_length="x"),
    "side": tokens(padding_side="x"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_folder_is_refused_in_one_sentence(bert, what):
    HOSTILE[what](bert)
    said = refusal(lambda: PretrainedEncoder.learn(TextConfig(encoder=str(bert)), []).tokenize(SENTENCES))
    assert said.isprintable()
    assert len(said) < 600
    assert "/mee-" not in said  # the temporary folder


PADDED = {"strategy": {"Fixed": 2**40}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}
FOREIGN = {"vocab_file": "/etc/passwd", "gguf_file": "/etc/passwd", "fast_tokenizer_files": ["../a.1.json"]}
HARMLESS = {
    "as it is": lambda folder: None,
    "code": config(auto_map={"AutoModel": "evil.Evil"}, architectures=["evil.Evil"], custom_generate="evil"),
    "kernel": config(_attn_implementation="evil/kernel", _attn_implementation_internal="evil/kernel"),
    "file": config(transformers_weights="evil.bin", _name_or_path="/etc/passwd"),
    "dtype": config(dtype="evil", torch_dtype="float8_e4m3fn"),
    "shards": shards("model-1.safetensors"),
    "tokenizer code": tokens(auto_map={"AutoTokenizer": ["evil.Evil"] * 2}, init_inputs=["/etc/passwd"]),
    "tokenizer files": tokens(**FOREIGN),
    "long": tokens(model_max_length=10**30, chat_template="{{ 1 }}"),
    "padding": rules(padding=PADDED | {"pad_to_multiple_of": None}),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_is_not_read_changes_nothing(bert, tmp_path, what):
    expected = PretrainedEncoder.learn(TextConfig(encoder=str(tmp_path / "outside")), [])
    HARMLESS[what](bert)
    found = PretrainedEncoder.learn(TextConfig(encoder=str(bert)), [])
    assert all(one.equal(other) for one, other in zip(found.tokenize(SENTENCES), expected.tokenize(SENTENCES)))
    found.save(tmp_path)
    again = PretrainedEncoder.load(TextConfig(encoder="gone"), tmp_path)
    assert [row.shape for row in again.tokenize(SENTENCES)] == [row.shape for row in found.tokenize(SENTENCES)]


OPENED: dict[str, set[str]] = {}  # while a test looks; a hook cannot be removed


def note(event, arguments):
    for seen in OPENED.values():
        if event in ("open", "os.listdir", "os.scandir", "import", "exec"):
            seen.add(str(arguments[0]))


def test_nothing_else_is_opened(bert, tmp_path):
    config(auto_map={"AutoModel": "evil.Evil"}, _name_or_path=str(tmp_path / "outside"))(bert)
    sys.addaudithook(note)
    OPENED["here"] = set()
    PretrainedEncoder.learn(TextConfig(encoder=str(bert)), []).tokenize(SENTENCES)
    opened = {name for name in OPENED.pop("here") if name.startswith(str(tmp_path))}
    assert opened == {str(bert), *(str(bert / name) for name in (SETTINGS, TOKENS, WEIGHTS))}  # others by links
