"""The table of extractors, ours and third parties'."""

from pathlib import Path

import pytest

from features.errors import InputError
from features.extractors.pretrained.checkpoint import ONNX
from features.extractors.registry import EXTRACTORS, known_extractors, make_extractor, resolve
from features.extractors.spec import Checkpoint, ExtractorSpec


def test_a_third_party_adds_one_and_cannot_replace_ours(odd_extractors):
    assert make_extractor("odd").dim == 3
    assert known_extractors()["appearance"] == EXTRACTORS["appearance"]


def test_fingerprints_differ_and_stay_the_same():
    digests = [make_extractor(name).fingerprint.digest for name in EXTRACTORS]
    assert len(set(digests)) == len(digests)
    assert [make_extractor(name).fingerprint.digest for name in EXTRACTORS] == digests


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smell", "no extractor is called 'smell'; there are .*appearance, motion, audio, face"),
        ("not_there", "'not_there' .* cannot be loaded"),
        ("no_extractor", "'no_extractor' .* is not an Extractor"),
        ("a stream", "'a stream' names no stream"),
        ("x=./nowhere", "no pretrained model at './nowhere': there is no such directory or file"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_sentence(odd_extractors, name, message):
    with pytest.raises(InputError, match=message):
        make_extractor(name)


def test_a_spec_is_resolved_once():
    found = (Checkpoint("owner/model", Path("/nowhere"), "0" * 40),)
    spec = ExtractorSpec("x", "owner/model", checkpoints=found)
    assert resolve(spec) is spec


def test_a_directory_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"is no transformers checkpoint: it has no config.json"):
        make_extractor(f"x={tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"of type bert, .* known are vit, dinov2, .*whisper"):
        make_extractor(f"x={tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="names no model_type"):
        make_extractor(f"x={tmp_path}")
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(InputError, match=r"config.json cannot be read"):
        make_extractor(f"x={tmp_path}")


def test_faces_are_two_models_each_with_its_revision(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "features.extractors.pretrained.find_checkpoint", lambda *what: asked.append(what) or what[0]
    )
    resolve("face=opencv/yunet@1+opencv/sface")
    resolve("face=here.onnx+there.onnx@2")
    assert asked == [(source, tag, ONNX) for source, tag in FACE_FILES]


FACE_FILES = [("opencv/yunet", "1"), ("opencv/sface", None), ("here.onnx", None), ("there.onnx", "2")]


def test_onnx_files_go_to_the_face_extractor(tmp_path):
    for name in ("yunet.onnx", "sface.onnx"):
        (tmp_path / name).write_bytes(b"junk")
    with pytest.raises(InputError, match=r"yunet.onnx is not an ONNX model"):
        make_extractor(f"face={tmp_path}/yunet.onnx+{tmp_path}/sface.onnx")
