"""Experts by flags: what is set is what is made, and nonsense is one sentence."""

import re
from types import SimpleNamespace

import pytest

from mee.errors import InputError
from mee.presets import PRESETS
from scripts.train import expert_configs, main

STORE = SimpleNamespace(
    name="store", dims={"appearance": 6, "audio": 4}, fingerprints={"appearance": "a", "audio": "b"}
)


def experts(preset="default", **given):
    return {expert.name: expert for expert in expert_configs(PRESETS[preset], STORE, **given)}


def test_all_streams_in_the_stores_order_with_the_presets_settings():
    made = experts()
    assert list(made) == ["appearance", "audio"]
    assert {(e.embed_dim, e.pooling) for e in made.values()} == {(512, ("mean", "max"))}
    assert experts("paper")["audio"].pooling == ("netvlad-16",)


def test_the_named_streams_in_the_named_order():
    assert list(experts(streams=("audio", "appearance"))) == ["audio", "appearance"]


def test_one_setting_for_all_and_one_for_one():
    audio = {"pooling": ("netvlad-8", "mean"), "embed_dim": 16}
    made = experts(embed_dim=32, pooling=("max",), settings={"audio": audio})
    assert (made["appearance"].embed_dim, made["appearance"].pooling) == (32, ("max",))
    assert (made["audio"].embed_dim, made["audio"].pooling) == (16, ("netvlad-8", "mean"))
    assert experts(embed_dim=32, settings={"audio": {"pooling": ("last",)}})["audio"].embed_dim == 32


def test_an_aligned_expert_starts_as_identity_in_its_streams_own_size():
    made = experts(embed_dim=32, towers={"appearance": "some/clip"})["appearance"]
    assert (made.text, made.start, made.embed_dim) == ("some/clip", "identity", 6)
    assert (made.pooling, made.standardise) == (("mean",), False)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"streams": ("smell",)}, "store has no stream 'smell'; it has appearance, audio"),
        ({"settings": {"smell": {}}}, "no expert 'smell' to set; there are appearance, audio"),
        ({"streams": ("audio",), "towers": {"appearance": "clip"}}, "no expert 'appearance' to set"),
        ({"settings": {"audio": {"pooling": ("median",)}}}, "'audio': pooling must be one of mean, max"),
        ({"settings": {"audio": {"pooling": ("max", "max")}}}, "'audio': every pooling counts once"),
        ({"settings": {"audio": {"pooling": ("netvlad-0",)}}}, "'audio': pooling must be one of"),
        ({"embed_dim": 0}, "'appearance': sizes must be positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        experts(**given)


@pytest.mark.parametrize(
    "flags",
    [
        ("--expert", "audio"),
        ("--expert", "audio:max:big"),
        ("--expert", "audio:max", "audio:mean"),
        ("--aligned", "appearance"),
        ("--aligned", "appearance="),
        ("--aligned", "=clip"),
    ],
    ids=" ".join,
)
def test_flags_of_experts_that_make_no_sense_are_wrong_usage(misused, flags):
    said = misused(main, "s", "c", "m", *flags)
    assert f"Error parsing {flags[0]}: '{flags[1].partition(':max')[0]}" in said
