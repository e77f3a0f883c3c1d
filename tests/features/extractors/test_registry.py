"""The table of extractors, ours and third parties'; presets name what exists, and what it costs."""

import subprocess
import sys
from pathlib import Path

import pytest

from features.errors import InputError
from features.extractors.pretrained.checkpoint import ONNX
from features.extractors.registry import EXTRACTORS, PRESETS, known_extractors, make_extractor, resolve
from features.extractors.spec import Checkpoint, ExtractorSpec, parse_spec

ROOT = Path(__file__).parents[3]
DIGESTS = {"appearance": "dc246963f310", "motion": "8923b7ebc04f", "audio": "9513266a8450", "face": "f4094c7d22f0"}


def test_a_third_party_adds_one_and_cannot_replace_ours_whose_fingerprints_match_existing_stores(odd_extractors):
    assert make_extractor("odd").dim == 3
    assert known_extractors()["appearance"] == EXTRACTORS["appearance"]
    assert {name: make_extractor(name).fingerprint.digest for name in EXTRACTORS} == DIGESTS


def test_what_cannot_be_made(odd_extractors, tmp_path, says):
    folder, messages = tmp_path / "model", []
    folder.mkdir()
    cases = [(name, None) for name in ("smell", "not_there", "no_extractor", "a stream", "x=./nowhere")]
    for word, config in [*cases, *((f"x={folder}", text) for text in (None, '{"model_type": "bert"}', "{}", "["))]:
        if config is not None:
            (folder / "config.json").write_text(config)
        with pytest.raises(InputError) as raised:
            make_extractor(word)
        messages.append(str(raised.value))
    says("\n".join(messages))


def test_a_spec_is_resolved_once_and_faces_are_two_models_each_with_its_revision(monkeypatch):
    found = (Checkpoint("owner/model", Path("/nowhere"), "0" * 40),)
    spec = ExtractorSpec("x", "owner/model", checkpoints=found)
    assert resolve(spec) is spec
    calls, find = [], "features.extractors.pretrained.checkpoint._find"
    monkeypatch.setattr(find, lambda *what: calls.append(what) or what[0])
    assert resolve("face=opencv/yunet@1+opencv/sface").checkpoints == ("opencv/yunet", "opencv/sface")
    resolve("face=here.onnx+there.onnx@2")
    places = [("opencv/yunet", "1"), ("opencv/sface", None), ("here.onnx", None), ("there.onnx", "2")]
    assert calls == [(source, tag, ONNX) for source, tag in places]


def test_every_preset_has_the_four_streams_in_order_and_words_are_specs():
    assert list(PRESETS) == ["builtin", "clip", "strong"]
    assert [part.word for part in PRESETS["builtin"].streams] == list(EXTRACTORS)
    assert PRESETS["builtin"].megabytes == 0
    for preset in PRESETS.values():
        assert tuple(part.stream for part in preset.streams) == ("appearance", "motion", "audio", "face")
        for part in preset.streams:
            spec = parse_spec(part.word)
            assert str(spec) == part.word
            assert part.licence
            assert "nc" not in part.licence.lower()  # licences allow use
            if spec.source is None:
                assert (spec.stream in EXTRACTORS, part.megabytes, part.parameters) == (True, 0, 0)
            else:
                assert all(model.count("/") == 1 for model in spec.source.split("+"))
                assert part.megabytes >= 4 * part.parameters  # 32 bits a parameter, and often a text tower


def test_the_docs_have_the_table_of_presets():
    def row(*cells, parts):
        size, volume = (sum(getattr(part, what) for part in parts) for what in ("parameters", "megabytes"))
        return f"| {' | '.join(cells)} | {f'{size:.1f} | {volume:,.0f}' if volume else '- | -'} |"

    lines = []
    for name, preset in PRESETS.items():
        for part in preset.streams:
            _, _, source = part.word.partition("=")
            made_by = f"{part.made_by}: {source}" if source else part.made_by
            lines.append(row(name, part.stream, made_by, part.licence, parts=[part]))
        lines.append(row(name, "all", preset.purpose, "", parts=preset.streams))
    assert "\n".join(lines) in (ROOT / "docs" / "features.md").read_text()


def test_tables_import_nothing_heavy():
    heavy = "{'torch', 'transformers', 'cv2', 'numpy'}"
    program = f"import sys, features.extractors.registry; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
