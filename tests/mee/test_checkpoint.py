"""Checkpoints: what is loaded is what was saved, and nothing else is taken for it."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from mee.checkpoint import check_directory, fingerprint, read_config, read_training, unshared
from mee.errors import InputError
from mee.model import MEE
from mee.text.transformer import TransformerEncoder


@pytest.fixture
def saved(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edit_config(directory, change):
    """A function changes the settings; text replaces them."""
    path = directory / "config.json"
    content = json.loads(path.read_text())
    if callable(change):
        change(content)
    path.write_text(json.dumps(content) if callable(change) else change)


def edit_weights(directory, change):
    path = directory / "model.safetensors"
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
    assert names == {"config.json", "model.safetensors", "text/tokenizer.json", "README.md"}
    assert json.loads((saved / "config.json").read_text())["model_type"] == "mee"
    weights, state = load_file(saved / "model.safetensors"), model.state_dict()
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


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.pop("mixture.bias"),
        lambda weights: weights.pop("video_experts.1.standardise.mean"),
        lambda weights: weights.update({"mixture.extra": torch.zeros(1)}),
        lambda weights: weights.update({"mixture.weight": torch.zeros(4, 16)}),
        lambda weights: weights.update({"text_encoder.embedding.weight": torch.zeros(3, 16)}),
    ],
    ids=["missing weight", "missing buffer", "unknown weight", "wrong shape", "other vocabulary"],
)
def test_weights_that_do_not_fit_are_refused(saved, change):
    edit_weights(saved, change)
    with pytest.raises(InputError, match="the weights do not fit"):
        MEE.from_pretrained(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(beam=3),
        lambda config: config["text"].update(beam=3),
        lambda config: config["experts"][0].update(beam=3),
        lambda config: config.pop("dropout"),
        lambda config: config.pop("experts"),
        lambda config: config["text"].pop("layers"),
        lambda config: config["experts"][1].pop("pooling"),
        lambda config: config.update(dropout=2),
        lambda config: config.update(dropout="much"),
        lambda config: config["experts"][0].update(pooling=["median"]),
        lambda config: config.update(format=1),  # an older one
        lambda config: config.pop("format"),
        lambda config: config.update(model_type="bert"),
        *("", "{", "[]", "3"),
    ],
)
def test_settings_that_are_unknown_missing_or_senseless_are_refused(saved, change):
    edit_config(saved, change)
    by_hub = [MEE.from_pretrained] if callable(change) else []  # its client reads JSON before we do
    for read in (read_config, check_directory, *by_hub):
        with pytest.raises(InputError, match=r"config\.json"):
            read(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "text/tokenizer.json"])
def test_damaged_and_missing_files_are_refused(saved, name):
    path = saved / name
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError):
        MEE.from_pretrained(saved)
    path.unlink()
    with pytest.raises(InputError, match=path.name):
        MEE.from_pretrained(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "text"])
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
    (other / "training.json").write_text("{}")
    assert fingerprint(other) == before
    path = other / "text/tokenizer.json"
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    assert fingerprint(other) != before
    path.write_bytes(content)
    assert fingerprint(other) == before
    path.rename(path.with_name("other.json"))
    assert fingerprint(other) != before
    path.with_name("other.json").rename(path)
    edit_config(other, lambda config: config.update(dropout=0.2))
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
    (saved / "training.json").write_text('{"training": {"seed": 3}}')
    assert read_training(saved) == {"training": {"seed": 3}}
    (saved / "training.json").write_text("{")
    with pytest.raises(InputError, match=r"training\.json"):
        read_training(saved)
