"""A model's directory may come from anyone: it is refused in one sentence, before memory is taken, or it works."""

import json
import os
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from mee.checkpoint import fingerprint, read_training
from mee.errors import InputError
from mee.model import MEE

WEIGHTS, CONFIG, TRAINING, TOKENIZER = "model.safetensors", "config.json", "training.json", "text/tokenizer.json"
DEEP = "[" * 200_000


@pytest.fixture
def saved(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / TRAINING).write_text('{"videos": {"train": ["a"]}, "selects": true}')
    return tmp_path / "model"


def settings(file, *keys, value):
    """A function that sets one value in a JSON file."""

    def change(directory):
        content = part = json.loads((directory / file).read_text())
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        (directory / file).write_text(json.dumps(content))

    return change


def text(file, content):
    return lambda directory: (directory / file).write_text(content)


def weights(change):
    def save(directory):
        found = load_file(directory / WEIGHTS)
        save_file({name: change(name, tensor) for name, tensor in found.items()}, directory / WEIGHTS)

    return save


def of(end, change):
    return weights(lambda name, tensor: change(tensor.clone()) if name.endswith(end) else tensor)


def floats(change):
    return weights(lambda name, tensor: change(tensor) if tensor.is_floating_point() else tensor)


def link(file, target):
    return lambda directory: ((directory / file).unlink(missing_ok=True), os.symlink(target, directory / file))


def expert(key, value):
    return settings(CONFIG, "experts", 0, key, value=value)


def rule(key, value):
    return settings(TOKENIZER, key, value=value)


def endless(pattern):
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": " "}


HOSTILE = {
    **{f"embed-{size}": expert("embed_dim", size) for size in (10**5, 10**9, 10**15, 10**30)},
    **{f"input-{size}": expert("input_dim", size) for size in (10**7, 10**12, 2**63)},
    "netvlad": expert("pooling", ["netvlad-1000000000"]),
    "transformers": expert("pooling", ["transformer-1000000"]),
    "poolings": expert("pooling", ["mean"] * 100_000),
    "layers": settings(CONFIG, "text", "layers", value=10**6),
    "width": settings(CONFIG, "text", "width", value=8 * 10**6),
    "tokens": settings(CONFIG, "text", "max_tokens", value=10**12),
    "heads": settings(CONFIG, "text", "heads", value=10**30),
    **{f"name-{name!a}": expert("name", name) for name in ("../../x", "a.b", "\x1b]52;c;x\x07", "\ud800", "a b")},
    "tower": expert("text", "/etc"),
    "encoder": settings(CONFIG, "text", "encoder", value="/etc"),
    "code": settings(CONFIG, "auto_map", value={"AutoModel": "evil.Evil"}),
    "nan": lambda d: (d / CONFIG).write_text((d / CONFIG).read_text().replace('"dropout": 0.3', '"dropout": NaN')),
    **{f"config-{content[:3]!a}": text(CONFIG, content) for content in ("", "[]", '""', DEEP, "9" * 5000)},
    "config-link": link(CONFIG, "/etc/passwd"),
    "config-pipe": lambda d: ((d / CONFIG).unlink(), os.mkfifo(d / CONFIG)),
    "one-nan": of("mixture.weight", lambda tensor: tensor.index_fill_(0, torch.tensor(0), torch.nan)),
    "inf": floats(lambda tensor: torch.full_like(tensor, torch.inf)),
    "beyond": floats(lambda tensor: torch.full_like(tensor, 3e38)),
    "zero": floats(torch.zeros_like),
    "negative-variance": of("running_var", lambda tensor: -tensor - 1),
    "half": floats(torch.Tensor.half),
    "double": floats(torch.Tensor.double),
    "bool": floats(torch.Tensor.bool),
    "counts": weights(
        lambda name, tensor: tensor if tensor.is_floating_point() else torch.full_like(tensor, 2**62)
    ),
    "header": lambda d: (d / WEIGHTS).write_bytes(struct.pack("<Q", 2**40) + b"{}"),
    "cut": lambda d: os.truncate(d / WEIGHTS, 5000),
    "sparse": lambda d: os.truncate(d / WEIGHTS, 1 << 40),
    "experts": lambda d: settings(CONFIG, "experts", value=[{"name": "a"}] * 100_000)(d),
    "device": link(WEIGHTS, "/dev/zero"),
    "weights-pipe": lambda d: ((d / WEIGHTS).unlink(), os.mkfifo(d / WEIGHTS)),
    "text-pipe": lambda d: os.mkfifo(d / "text/zz"),
    "text-link": link("text/loop", ".."),
    "text-elsewhere": lambda d: ((d / "text").rename(d / "x"), os.symlink("x", d / "text")),
    "towers-link": lambda d: ((d / "towers").mkdir(), os.symlink("/etc", d / "towers/a")),
    "training-link": link(TRAINING, "/etc/passwd"),
    **{f"training-{content[:3]!a}": text(TRAINING, content) for content in ("{", "[1]", '"x"', DEEP)},
    **{
        f"{key}-{value!a}": settings(TRAINING, key, value=value)
        for key in ("protocol", "videos", "contents", "training", "selects", "selected_on")
        for value in (None, "\x1b[31m", [1], -1)
    },
    "list": settings(TRAINING, "train_list", value="\x1b[31m"),
    "names": settings(TRAINING, "videos", "train", value=[1]),
    "seed": settings(TRAINING, "training", value={"seed": "x"}),
    "search": rule("normalizer", endless("(x+x+)+y")),
    "decoder": rule("decoder", endless("(x+x+)+y")),
    "growth": rule("normalizer", {"type": "Sequence", "normalizers": [endless("x")] * 9}),
    "padding": rule("padding", {"strategy": {"Fixed": 2**40}, "pad_id": 0}),
    "added": rule("added_tokens", [{"id": -1, "content": "q"}]),
    "template": rule("post_processor", {"type": "TemplateProcessing"}),
    "model": settings(TOKENIZER, "model", "type", value="WordLevel"),
    "random": settings(TOKENIZER, "model", "dropout", value=0.5),
    "id": settings(TOKENIZER, "model", "vocab", "a", value=10**6),
    "merge": settings(TOKENIZER, "model", "merges", value=[["no", "such"]]),
    "nested": text(TOKENIZER, DEEP),
    "empty": text(TOKENIZER, "{}"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_model_is_refused_in_one_sentence(saved, what):
    HOSTILE[what](saved)
    with pytest.raises(InputError) as refused:
        fingerprint(saved), MEE.from_pretrained(saved), read_training(saved)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 700


WORKS = {
    "cut elsewhere": rule("truncation", {"max_length": 2, "stride": 2**40}),
    "a hidden file": lambda d: (d / "text/.DS_Store").write_text(""),
    "vocabulary": settings(CONFIG, "text", "vocabulary", value=10**12),
    "other keys": settings(TRAINING, "history", value=-1),
}


@pytest.mark.parametrize("what", WORKS)
def test_what_does_not_matter_changes_nothing(saved, model, what):
    WORKS[what](saved)
    fingerprint(saved), read_training(saved)
    found = MEE.from_pretrained(saved).tokenize(["a red circle moves left"])
    assert found[""].values.equal(model.tokenize(["a red circle moves left"])[""].values)


def test_the_hubs_cache_links_to_its_own_blobs_alone(saved, tmp_path):
    snapshot, blobs = tmp_path / "models--me--it/snapshots/1", tmp_path / "models--me--it/blobs"
    (snapshot / "text").mkdir(parents=True)
    blobs.mkdir()
    for number, name in enumerate((CONFIG, WEIGHTS, TOKENIZER, TRAINING)):
        (blobs / str(number)).write_bytes((saved / name).read_bytes())
        (snapshot / name).symlink_to(blobs / str(number))
    assert fingerprint(snapshot) == fingerprint(saved)
    assert MEE.from_pretrained(snapshot).config == MEE.from_pretrained(saved).config
    link(TOKENIZER, saved / TOKENIZER)(snapshot)
    with pytest.raises(InputError, match=r"tokenizer\.json' is a symbolic link"):
        fingerprint(snapshot)


def test_the_sentences(saved, says):
    messages = []
    for what in ("width", "one-nan", "half", "counts", "cut", "device", "videos--1", "search"):
        before = {path: path.read_bytes() for path in (saved / CONFIG, saved / WEIGHTS, saved / TRAINING)}
        HOSTILE[what](saved)
        with pytest.raises(InputError) as refused:
            fingerprint(saved), MEE.from_pretrained(saved), read_training(saved)
        messages.append(str(refused.value))
        (saved / WEIGHTS).unlink()
        for path, content in before.items():
            path.write_bytes(content)
    says("\n".join(messages))
