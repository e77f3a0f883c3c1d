"""Presets name what exists, and say what it costs."""

import subprocess
import sys
from pathlib import Path

import pytest

from features.extractors.presets import PRESETS
from features.extractors.registry import EXTRACTORS
from features.extractors.spec import parse_spec

MERGING = "features.extractors.token_merging.schedule"
MODALITIES = ("appearance", "motion", "audio", "face")


def test_every_preset_has_the_four_streams_in_order():
    assert list(PRESETS) == ["builtin", "clip", "strong"]
    for preset in PRESETS.values():
        assert tuple(part.stream for part in preset.streams) == MODALITIES
        assert not any("nc" in part.licence.lower() for part in preset.streams)  # licences allow use
    assert [part.word for part in PRESETS["builtin"].streams] == list(EXTRACTORS)
    assert PRESETS["builtin"].megabytes == 0


@pytest.mark.parametrize(
    "part", {part.word: part for p in PRESETS.values() for part in p.streams}.values(), ids=str
)
def test_words_are_specs_and_what_is_downloaded_has_a_size(part):
    spec = parse_spec(part.word)
    assert str(spec) == part.word
    assert part.licence
    if spec.source is None:
        assert (spec.stream in EXTRACTORS, part.megabytes, part.parameters) == (True, 0, 0)
    else:
        assert all(model.count("/") == 1 for model in spec.source.split("+"))
        assert part.megabytes >= 4 * part.parameters  # 32 bits a parameter, and often a text tower


def test_the_readme_has_the_table():
    def row(preset, stream, made_by, licence, parts):
        size, volume = (sum(getattr(part, what) for part in parts) for what in ("parameters", "megabytes"))
        numbers = f"{size:.1f} | {volume:,.0f}" if volume else "- | -"
        return f"| {preset} | {stream} | {made_by} | {licence} | {numbers} |"

    lines = []
    for name, preset in PRESETS.items():
        for part in preset.streams:
            _, _, source = part.word.partition("=")
            made_by = f"{part.made_by}: {source}" if source else part.made_by
            lines.append(row(name, part.stream, made_by, part.licence, [part]))
        lines.append(row(name, "all", preset.purpose, "", preset.streams))
    assert "\n".join(lines) in (Path(__file__).parents[3] / "docs" / "features.md").read_text()


def test_nothing_heavy_is_imported():
    heavy = "{'torch', 'transformers', 'cv2', 'numpy'}"
    program = f"import sys, features.extractors.presets, {MERGING}; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
