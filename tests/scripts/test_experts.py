"""Experts by flags: what is set is what is made, and nonsense is one sentence."""

import re
from types import SimpleNamespace

import pytest

from mee.errors import InputError
from mee.training.config import PRESETS
from scripts.train import expert_configs

STORE = SimpleNamespace(
    name="store", dims={"appearance": 6, "audio": 4}, fingerprints={"appearance": "a", "audio": "b"}
)


def experts(preset="default", **given):
    given["special"] = given.pop("expert", ())
    made = expert_configs(PRESETS[preset], STORE, given.pop("streams", ()), **given)
    return {expert.name: expert for expert in made}


def test_all_streams_in_the_stores_order_with_the_presets_settings():
    made = experts()
    assert list(made) == ["appearance", "audio"]
    assert {(e.embed_dim, e.pooling) for e in made.values()} == {(512, ("mean", "max"))}
    assert experts("paper")["audio"].pooling == ("netvlad-16",)


def test_the_named_streams_in_the_named_order():
    assert list(experts(streams=("audio", "appearance"))) == ["audio", "appearance"]


def test_one_setting_for_all_and_one_for_one():
    made = experts(embed_dim=32, pooling=("max",), expert=("audio:netvlad-8+mean:16",))
    assert (made["appearance"].embed_dim, made["appearance"].pooling) == (32, ("max",))
    assert (made["audio"].embed_dim, made["audio"].pooling) == (16, ("netvlad-8", "mean"))
    assert experts(embed_dim=32, expert=("audio:last",))["audio"].embed_dim == 32


def test_an_aligned_expert_starts_as_identity_in_its_streams_own_size():
    made = experts(embed_dim=32, aligned=("appearance=some/clip",))["appearance"]
    assert (made.text, made.start, made.embed_dim) == ("some/clip", "identity", 6)
    assert (made.pooling, made.standardise) == (("mean",), False)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"streams": ("smell",)}, "store has no stream 'smell'; it has appearance, audio"),
        ({"expert": ("smell:max",)}, "no expert 'smell' to set; there are appearance, audio"),
        ({"streams": ("audio",), "aligned": ("appearance=clip",)}, "no expert 'appearance' to set"),
        ({"expert": ("audio",)}, "write NAME:POOLING"),
        ({"expert": ("audio:max:big",)}, "write NAME:POOLING"),
        ({"expert": ("audio:max", "audio:mean")}, "each name once"),
        ({"expert": ("audio:median",)}, "'audio': pooling must be one of mean, max"),
        ({"expert": ("audio:max+max",)}, "'audio': every pooling counts once"),
        ({"expert": ("audio:netvlad-0",)}, "'audio': pooling must be one of"),
        ({"embed_dim": 0}, "'appearance': sizes must be positive"),
        ({"aligned": ("appearance",)}, "write NAME=HUB_ID_OR_DIRECTORY"),
        ({"aligned": ("appearance=",)}, "write NAME=HUB_ID_OR_DIRECTORY"),
    ],
)
def test_nonsense_is_refused(given, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        experts(**given)
