"""From the fingerprint of a stream back to its extractor: the same numbers, or a reason."""

import json
from dataclasses import asdict

import pytest

from features.errors import InputError
from features.extractors import RunConfig, make_extractor, recorded_extractor

WORDS = ["appearance", "motion", "audio", "face", "text", "speech=subtitles", "speech=subtitles:language=de"]
MODELS = [
    "vit:output=pooled,fps=1",
    "vit:merge=2",
    "videomae:stride=2",
    "xclip:fps=3",
    "clap:window=2",
    "ast",
]
SLOWLY = RunConfig(precision="bf16", merge="1")


def recalled(made, stream, places=(), **changes):
    """From what a store keeps of it."""
    fingerprint = json.loads(json.dumps(asdict(made.fingerprint))) | changes
    return recorded_extractor(stream, fingerprint, made.fingerprint.digest, places, RunConfig(device="cpu"))


@pytest.mark.parametrize("word", WORDS)
def test_a_built_in_extractor(word):
    stream, made = word.partition("=")[0], make_extractor(word)
    spec, again = recalled(made, stream)
    assert (spec.stream, again.fingerprint, type(again)) == (stream, made.fingerprint, type(made))


@pytest.mark.parametrize("run", [RunConfig(), SLOWLY])
@pytest.mark.parametrize("model", MODELS)
def test_a_model_in_a_folder_with_its_options(tiny, tmp_path, model, run):
    name, _, options = model.partition(":")
    folder = tiny(name)
    made = make_extractor(f"x={folder}{options and ':' + options}", run)
    spec, again = recalled(made, "x", [tmp_path, folder.parent])
    assert again.fingerprint == made.fingerprint
    assert spec.checkpoints[0].path == folder
    with pytest.raises(InputError, match="is not on this machine"):
        recalled(made, "x", [tmp_path])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"extractor": "imported:arrays"}, "imported"),
        ({"extractor": "other:Extractor"}, "not installed"),
        ({"version": 99}, "another version"),
        ({"parameters": []}, "not known"),
        ({"parameters": {"needs": [3]}}, "not known"),
        ({"extractor": "features:clip", "model": "../../etc"}, "not on this machine"),
        ({"extractor": "features:clip", "model": "a/b", "revision": "../../refs"}, "not on this machine"),
        ({"extractor": "features:clip", "model": "a+b+c", "revision": None}, "not on this machine"),
    ],
)
def test_what_cannot_be_made_again_says_why(changes, says, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = make_extractor("audio")
    stream = "unknown" if "Extractor" in changes.get("extractor", "") else "audio"
    fingerprint = json.loads(json.dumps(asdict(made.fingerprint))) | changes
    digest = "0" * 12 if changes.keys() & {"version", "parameters"} else made.fingerprint.digest
    with pytest.raises(InputError, match=says):
        recorded_extractor(stream, fingerprint, digest, [tmp_path], RunConfig())
