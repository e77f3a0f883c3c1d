"""How a checkpoint sets up its sound: windows, rates and front ends."""

import json
import logging
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.extractors.pretrained.families import FAMILIES
from features.extractors.pretrained.sound import (
    AstExtractor,
    ClapExtractor,
    WhisperExtractor,
    cut_pieces,
    piece_of,
)
from features.extractors.spec import Checkpoint, ExtractorSpec, RunConfig

CONFIG, FRONT = "config.json", "preprocessor_config.json"
TOWER = {"patch_embeds_hidden_size": 16, "depths": [1, 1]}
FILES = {
    "ast": (
        {"model_type": "audio-spectrogram-transformer", "hidden_size": 32, "max_length": 128, "num_mel_bins": 32},
        {"max_length": 128, "num_mel_bins": 32, "sampling_rate": 16_000},
    ),
    "clap": (
        {"model_type": "clap", "projection_dim": 24, "audio_config": TOWER},
        {"max_length_s": 2, "truncation": "rand_trunc", "feature_extractor_type": "ClapFeatureExtractor"},
    ),
    "clap-fused": (
        {"model_type": "clap", "projection_dim": 24, "audio_config": TOWER | {"enable_fusion": True}},
        {"max_length_s": 2, "truncation": "fusion"},
    ),
    "clap-audio": (
        {"model_type": "clap_audio_model", "projection_dim": 24, **TOWER},
        {"truncation": "rand_trunc"},
    ),
    "whisper": (
        {"model_type": "whisper", "d_model": 32, "max_source_positions": 100, "num_mel_bins": 16},
        {"chunk_length": 2, "feature_size": 16, "hop_length": 160},
    ),
}
CLASSES = {"ast": AstExtractor, "whisper": WhisperExtractor}


def save(folder: Path, name: str, **changes) -> Path:
    """The two files of a checkpoint, some values of its front end changed."""
    config, front = FILES[name]
    path = folder / name
    path.mkdir()
    (path / CONFIG).write_text(json.dumps(config))
    (path / FRONT).write_text(json.dumps(front | changes))
    return path


def extractor_of(path: Path, run: RunConfig | None = None, **options: str):
    spec = ExtractorSpec("audio", path.name, None, options, (Checkpoint(path.name, path, "sha256:0"),))
    return CLASSES.get(path.name, ClapExtractor)(spec, run or RunConfig())


def test_sizes_and_rates(tmp_path):
    made = {name: extractor_of(save(tmp_path, name)) for name in FILES}
    assert {name: (each.dim, each.needs[0].rate) for name, each in made.items()} == {
        "ast": (32, 16_000),
        "clap": (24, 48_000),
        "clap-fused": (24, 48_000),
        "clap-audio": (24, 48_000),
        "whisper": (32, 16_000),
    }
    assert extractor_of(tmp_path / "clap", output="pooled").dim == 32  # 16 << 1
    assert all(each.modality == "audio" and each.shared for each in made.values())


def test_the_rate_is_the_files(tmp_path):
    extractor = extractor_of(save(tmp_path, "whisper", sampling_rate=8_000, chunk_length=4))
    assert extractor.needs[0].rate == 8_000


def test_the_families_are_in_the_table():
    for kind in ("audio-spectrogram-transformer", "clap", "whisper"):
        assert FAMILIES[kind].startswith("features.extractors.pretrained.sound:")


def test_fingerprint_follows_what_changes_the_numbers(tmp_path):
    path = save(tmp_path, "ast")
    digests = [
        extractor_of(path, run, **options).fingerprint.digest
        for run, options in [
            (RunConfig(), {}),
            (RunConfig(batch_size=4, device="cpu"), {}),
            (RunConfig(), {"window": "1"}),
            (RunConfig(), {"output": "class"}),
            (RunConfig(precision="bf16"), {}),
        ]
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ast", {"sampling_rate": 16}, "sampling_rate must be 4000 to 192000 samples a second, got 16"),
        ("ast", {"sampling_rate": "16k"}, "sampling_rate must be a whole number above 0, got '16k'"),
        ("ast", {"max_length": 1024}, "makes 1024 frames where its config.json says 128"),
        ("ast", {"num_mel_bins": 128}, "makes 128 bins where its config.json says 32"),
        ("whisper", {"chunk_length": 30}, "makes 1500 states where its config.json says 100"),
        ("whisper", {"sampling_rate": 8_000}, "makes 50 states where its config.json says 100"),
        ("whisper", {"feature_size": 80}, "makes 80 bins where its config.json says 16"),
        ("whisper", {"chunk_length": 0}, "preprocessor_config.json: chunk_length must be a whole number above 0"),
        ("whisper", {"hop_length": True}, "hop_length must be a whole number above 0, got True"),
        ("clap", {"truncation": "fusion"}, "makes 4 layers where its config.json says 1"),
        ("clap-fused", {"truncation": "rand_trunc"}, "makes 1 layers where its config.json says 4"),
        ("clap", {"feature_extractor_type": "ASTFeatureExtractor"}, "is for ASTFeatureExtractor, and this"),
    ],
)
def test_front_ends_that_do_not_fit(tmp_path, name, changes, message):
    with pytest.raises(InputError, match=message):
        extractor_of(save(tmp_path, name, **changes))


def test_a_missing_front_end_is_named(tmp_path):
    path = save(tmp_path, "clap")
    (path / FRONT).unlink()
    with pytest.raises(InputError, match=r"has no preprocessor_config\.json, so it is unknown how"):
        extractor_of(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "3"}, "window must be from 0.1 to 2 seconds, the longest this model hears, got 3"),
        ({"window": "0.01"}, "window must be from 0.1 to 2 seconds"),
        ({"window": "all"}, "window must be a number above 0, got 'all'"),
        ({"output": "class"}, "this model has no output 'class'; it has projected, pooled"),
        ({"fps": "1"}, "there is no option 'fps' here; there are merge, output, window"),
    ],
)
def test_options_that_make_no_sense(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        extractor_of(save(tmp_path, "clap"), **options)


@pytest.mark.parametrize("name", ["clap", "clap-fused", "whisper"])
def test_models_that_do_not_merge_refuse_their_own_option_only(tmp_path, caplog, name):
    path = save(tmp_path, name)
    with pytest.raises(InputError, match="leave out merge=8"):
        extractor_of(path, merge="8")
    with caplog.at_level(logging.INFO, "features"):
        assert extractor_of(path, RunConfig(merge="8")).parameters["merge"] is None
    assert "it runs whole" in caplog.text


def test_building_reads_json_only(tmp_path):
    """Workers build extractors too, for their needs: neither torch nor weights may be touched."""
    program = (
        "import sys; from pathlib import Path\n"
        "from features.extractors.spec import Checkpoint, ExtractorSpec\n"
        "from features.extractors.pretrained import sound\n"
        "from features.extractors.spec import RunConfig\n"
        "for name, family in zip(('ast', 'clap', 'whisper'), ('Ast', 'Clap', 'Whisper')):\n"
        "    path = Path(sys.argv[1]) / name\n"
        "    spec = ExtractorSpec('audio', name, None, {}, (Checkpoint(name, path, ''),))\n"
        "    made = getattr(sound, family + 'Extractor')(spec, RunConfig())\n"
        "    made.needs, made.dim, made.fingerprint.digest\n"
        "assert not {'torch', 'transformers', 'safetensors'} & set(sys.modules)\n"
    )
    for name in ("ast", "clap", "whisper"):
        save(tmp_path, name)
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=Path(__file__).parents[4])


def test_full_windows_the_last_moved_to_end_with_the_sound():
    assert cut_pieces(25, 10, 10) == [(0, 10), (10, 20), (15, 25)]
    assert cut_pieces(20, 10, 10) == [(0, 10), (10, 20)]
    assert cut_pieces(7, 10, 10) == [(0, 7)]
    assert cut_pieces(0, 10, 10) == [(0, 0)]


def test_what_a_codec_appends_is_no_row():
    assert cut_pieces(1_049, 1_000, 1_000) == [(0, 1_000)]
    assert cut_pieces(1_050, 1_000, 1_000) == [(0, 1_000), (50, 1_050)]


def test_frames_follow_at_one_pace_from_window_to_window():
    assert cut_pieces(2 * 163_840 + 240, 164_080, 163_840) == [(0, 164_080), (163_840, 327_920)]


@given(samples=st.integers(0, 10_000), window=st.integers(1, 3_000), overlap=st.integers(0, 100))
def test_all_is_heard_but_a_twentieth_of_a_window(samples, window, overlap):
    pieces = cut_pieces(samples, window, max(1, window - overlap))
    assert pieces[0][0] == 0
    assert samples - max(1, 0.05 * window) < pieces[-1][1] <= samples
    assert all(end - start == min(window, samples) for start, end in pieces)
    assert all(before[0] < after[0] <= before[1] for before, after in pairwise(pieces))


def test_pieces_are_finite_in_range_and_long_enough():
    sound = np.array([0.5, np.nan, np.inf, -3.0], np.float32)
    piece = piece_of(sound, 0, 4, 16_000)
    assert piece[:4].tolist() == [0.5, 0.0, 1.0, -1.0]
    assert (len(piece), piece.dtype, np.abs(piece[4:]).max()) == (400, np.float32, 0.0)
    assert len(piece_of(np.zeros(500, np.float32), 0, 500, 16_000)) == 500
