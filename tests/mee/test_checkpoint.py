"""Checkpoints: what is loaded is what was saved; a directory of anyone is refused in one sentence, or works."""

import json
import os
import struct
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from mee.checkpoint import check_directory, fingerprint, read_config, read_training
from mee.errors import InputError
from mee.model import MEE
from mee.text.transformer import TransformerEncoder
from mee.weights import unshared
from tests.mee.conftest import refusal

WEIGHTS, CONFIG, TRAINING, TOKENIZER = "model.safetensors", "config.json", "training.json", "text/tokenizer.json"


@pytest.fixture
def saved(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edit_settings(directory, change):
    content = json.loads((directory / CONFIG).read_text())
    change(content)
    (directory / CONFIG).write_text(json.dumps(content))


def edit_weights(directory, change):
    path = directory / WEIGHTS
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


def test_a_loaded_model_gives_the_same_scores_to_the_last_bit(model, saved, source, sentences, load_clips):
    loaded = MEE.from_pretrained(saved)
    assert not loaded.training
    assert loaded.config == model.config
    clips = load_clips(source, model.modalities, list(source.clips.index))
    queries = [*sentences, "an unseen zebra"]
    assert loaded(queries, clips).equal(model(queries, clips))
    with torch.no_grad():
        model.mixture.bias.add_(1)
    model.save_pretrained(saved)  # replaces the older one
    assert MEE.from_pretrained(saved).mixture.bias.equal(model.mixture.bias)


def test_files_are_those_of_the_hubs_convention_and_keep_every_parameter_and_buffer(model, saved):
    names = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert names == {CONFIG, WEIGHTS, TOKENIZER, "README.md"}
    assert json.loads((saved / CONFIG).read_text())["model_type"] == "mee"
    weights, state = load_file(saved / WEIGHTS), model.state_dict()
    assert set(weights) == set(state)
    assert all(weights[name].equal(tensor) for name, tensor in state.items())


@pytest.mark.parametrize("pooling", [("netvlad-3",), ("first", "transformer"), ("max", "last", "netvlad-2")])
def test_poolings_that_learn_are_kept(model_config, tokenizer, source, sentences, tmp_path, pooling, load_clips):
    torch.manual_seed(0)
    experts = tuple(replace(expert, pooling=pooling) for expert in model_config.experts)
    config = replace(model_config, experts=experts, text=replace(model_config.text, pooling=pooling))
    model = MEE(config, TransformerEncoder(config.text, tokenizer))
    clips = load_clips(source, model.modalities, list(source.clips.index))
    model.train()(sentences, clips)  # the batch norms move
    model.eval().save_pretrained(tmp_path)
    loaded = MEE.from_pretrained(tmp_path)
    assert loaded.config == config
    assert loaded(sentences, clips).equal(model(sentences, clips))


def test_kernels_names_and_a_hidden_layer_are_kept(
    model_config, tokenizer, source, sentences, tmp_path, load_clips
):
    torch.manual_seed(0)
    first, *others = model_config.experts
    experts = (
        replace(first, named=2, centres=4, components=3),
        replace(others[0], named=others[0].input_dim),
        *others[1:],
    )
    config = replace(model_config, experts=experts, gate=7)
    model = MEE(config, TransformerEncoder(config.text, tokenizer)).eval()
    for expert in model.video_experts:
        for table in expert.buffers():
            if table.dtype == torch.float16:
                table.normal_()
    clips = load_clips(source, model.modalities, list(source.clips.index))
    model.save_pretrained(tmp_path)
    loaded = MEE.from_pretrained(tmp_path)
    assert loaded.config == config
    assert loaded(sentences, clips).equal(model(sentences, clips))
    assert loaded(sentences, clips).isfinite().all()


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER])
def test_damaged_and_missing_files_are_refused(saved, name):
    path = saved / name
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError):
        MEE.from_pretrained(saved)
    path.unlink()
    with pytest.raises(InputError, match=path.name):
        MEE.from_pretrained(saved)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "text"])
def test_a_missing_part_is_named(saved, name):
    (saved / name).rename(saved / "elsewhere")
    for read in (check_directory, MEE.from_pretrained, fingerprint):
        with pytest.raises(InputError, match=name):
            read(saved)
    with pytest.raises(InputError, match="no model at"):
        check_directory(saved / "nowhere")


def test_the_fingerprint_covers_config_weights_and_vocabulary(saved, model, tmp_path):
    other, before = tmp_path / "again", fingerprint(saved)
    model.save_pretrained(other)
    (other / TRAINING).write_text("{}")
    assert fingerprint(other) == before
    path = other / TOKENIZER
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    assert fingerprint(other) != before
    path.write_bytes(content)
    assert fingerprint(other) == before
    path.rename(path.with_name("other.json"))
    assert fingerprint(other) != before
    path.with_name("other.json").rename(path)
    edit_settings(other, lambda config: config.update(dropout=0.2))
    assert fingerprint(other) != before
    edit_weights(saved, lambda weights: weights["mixture.bias"].add_(1e-6))
    assert fingerprint(saved) != before


def test_tied_weights_are_kept_twice(tmp_path):
    tied = torch.arange(6.0)
    shared = {"one": tied, "other": tied, "turned": tied.view(2, 3).T, "half": tied[3:]}
    save_file(unshared(shared), tmp_path / "tied.safetensors")
    kept = load_file(tmp_path / "tied.safetensors")
    assert kept.keys() == shared.keys()
    assert all(kept[name].equal(tensor) for name, tensor in shared.items())


def test_the_training_record_is_read_back_or_empty(saved):
    assert read_training(saved) == {}
    (saved / TRAINING).write_text('{"training": {"seed": 3}}')
    assert read_training(saved) == {"training": {"seed": 3}}
    (saved / TRAINING).write_text("{")
    with pytest.raises(InputError, match=r"training\.json"):
        read_training(saved)


# ---- directories of anyone

DEEP = "[" * 200_000


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
    return lambda directory: edit_weights(directory, lambda w: w.update({n: change(n, t) for n, t in w.items()}))


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


READ = ("protocol", "videos", "contents", "training", "selects", "selected_on")
UNFIT = {  # weights that do not fit the settings
    "lacks a weight": lambda weights: weights.pop("mixture.bias"),
    "lacks a buffer": lambda weights: weights.pop("video_experts.1.standardise.mean"),
    "surplus": lambda weights: weights.update({"mixture.extra": torch.zeros(1)}),
    "shape": lambda weights: weights.update({"mixture.weight": torch.zeros(4, 16)}),
    "other vocabulary": lambda weights: weights.update({"text_encoder.embedding.weight": torch.zeros(3, 16)}),
}
SENSELESS = {  # settings that are unknown, missing, of another format or impossible
    "unknown": lambda settings: settings.update(beam=3),
    "unknown of text": lambda settings: settings["text"].update(beam=3),
    "unknown of an expert": lambda settings: settings["experts"][0].update(beam=3),
    "no dropout": lambda settings: settings.pop("dropout"),
    "no experts": lambda settings: settings.pop("experts"),
    "no layers": lambda settings: settings["text"].pop("layers"),
    "no pooling": lambda settings: settings["experts"][1].pop("pooling"),
    "dropout": lambda settings: settings.update(dropout=2),
    "no number": lambda settings: settings.update(dropout="much"),
    "kind of pooling": lambda settings: settings["experts"][0].update(pooling=["median"]),
    "older format": lambda settings: settings.update(format=1),
    "no format": lambda settings: settings.pop("format"),
    "another model": lambda settings: settings.update(model_type="bert"),
}
HOSTILE = {
    **{what: lambda d, change=change: edit_weights(d, change) for what, change in UNFIT.items()},
    **{what: lambda d, change=change: edit_settings(d, change) for what, change in SENSELESS.items()},
    **{f"embed-{size}": expert("embed_dim", size) for size in (10**5, 10**9, 10**15, 10**30)},
    **{f"input-{size}": expert("input_dim", size) for size in (10**7, 10**12, 2**63)},
    "netvlad": expert("pooling", ["netvlad-1000000000"]),
    "no Unicode": expert("pooling", ["\ud800"]),
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
    **{f"config-{content[:3]!a}": text(CONFIG, content) for content in ("", "{", "[]", '"3"', DEEP, "9" * 5000)},
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
    "counts": of("num_batches_tracked", lambda tensor: torch.full_like(tensor, 2**62)),
    "header": lambda d: (d / WEIGHTS).write_bytes(struct.pack("<Q", 2**40) + b"{}"),
    "cut": lambda d: os.truncate(d / WEIGHTS, 5000),
    "sparse": lambda d: os.truncate(d / WEIGHTS, 1 << 40),
    "experts": settings(CONFIG, "experts", value=[{"name": "a"}] * 100_000),
    "device": link(WEIGHTS, "/dev/zero"),
    "weights-pipe": lambda d: ((d / WEIGHTS).unlink(), os.mkfifo(d / WEIGHTS)),
    "text-pipe": lambda d: os.mkfifo(d / "text/zz"),
    "text-link": link("text/loop", ".."),
    "text-elsewhere": lambda d: ((d / "text").rename(d / "x"), os.symlink("x", d / "text")),
    "towers-link": lambda d: ((d / "towers").mkdir(), os.symlink("/etc", d / "towers/a")),
    "training-link": link(TRAINING, "/etc/passwd"),
    **{f"training-{content[:3]!a}": text(TRAINING, content) for content in ("{", "[1]", '"x"', DEEP)},
    **{
        f"{key}-{odd!a}": settings(TRAINING, key, value=odd) for key in READ for odd in (None, "\x1b[31m", [1], -1)
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
SAID = ("width", "one-nan", "half", "counts", "cut", "device", "videos--1", "search")  # whole sentences


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_model_is_refused_in_one_sentence(saved, says, what):
    (saved / TRAINING).write_text('{"videos": {"train": ["a"]}, "selects": true}')
    HOSTILE[what](saved)
    said = refusal(lambda: (fingerprint(saved), MEE.from_pretrained(saved), read_training(saved)))
    assert said.isprintable()
    assert len(said) < 700
    assert what not in UNFIT or "the weights do not fit" in said
    if what in SENSELESS:
        assert CONFIG in said
        assert refusal(read_config, saved) == refusal(MEE.from_pretrained, saved) == said
    if what in SAID:
        says(said)


WORKS = {
    "cut elsewhere": rule("truncation", {"max_length": 2, "stride": 2**40}),
    "a hidden file": lambda d: (d / "text/.DS_Store").write_text(""),
    "vocabulary": settings(CONFIG, "text", "vocabulary", value=10**12),
    "other keys": settings(TRAINING, "history", value=-1),
}


@pytest.mark.parametrize("what", WORKS)
def test_what_does_not_matter_changes_nothing(saved, model, what):
    (saved / TRAINING).write_text("{}")
    WORKS[what](saved)
    fingerprint(saved), read_training(saved)
    found = MEE.from_pretrained(saved).tokenize(["a red circle moves left"])
    assert found[""].values.equal(model.tokenize(["a red circle moves left"])[""].values)


def test_the_hubs_cache_links_to_its_own_blobs_alone(saved, tmp_path):
    snapshot, blobs = tmp_path / "models--me--it/snapshots/1", tmp_path / "models--me--it/blobs"
    (snapshot / "text").mkdir(parents=True)
    (saved / TRAINING).write_text("{}")
    blobs.mkdir()
    for number, name in enumerate((CONFIG, WEIGHTS, TOKENIZER, TRAINING)):
        (blobs / str(number)).write_bytes((saved / name).read_bytes())
        (snapshot / name).symlink_to(blobs / str(number))
    assert fingerprint(snapshot) == fingerprint(saved)
    assert MEE.from_pretrained(snapshot).config == MEE.from_pretrained(saved).config
    link(TOKENIZER, saved / TOKENIZER)(snapshot)
    with pytest.raises(InputError, match=r"tokenizer\.json' is a symbolic link"):
        fingerprint(snapshot)
