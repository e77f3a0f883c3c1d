"""Sound models against plain transformers; how a checkpoint sets up its windows, rates and front ends."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as tf
from hypothesis import given
from hypothesis import strategies as st

from features.extractors.pretrained.inputs import cut_pieces, piece_of
from features.extractors.registry import make_extractor
from features.extractors.spec import MergeSchedule, RunConfig
from features.extractors.token_merging import merge_tokens
from tests.features.clips import clip_of

FRONT = "preprocessor_config.json"
NAMES = ("ast", "clap", "clap-fused", "clap-audio", "whisper")
OUTPUTS = {"ast": ("pooled", "class"), "whisper": ("pooled",)}
CASES = [(name, output) for name in NAMES for output in OUTPUTS.get(name, ("projected", "pooled"))]


def extractor_of(folder: Path, run: RunConfig | None = None, **options: str):
    words = ",".join(f"{key}={value}" for key, value in options.items())
    return make_extractor(f"audio={folder}:{words}" if words else f"audio={folder}", run or RunConfig())


def noise(extractor, seconds: float, seed: int = 0) -> np.ndarray:
    (need,) = extractor.needs
    rng = np.random.default_rng(seed)
    return (rng.normal(size=round(seconds * need.rate)) * 0.1).clip(-1, 1).astype(np.float32)


@torch.inference_mode()
def plain(folder: Path, output: str, pieces: list[np.ndarray]) -> np.ndarray:
    """What transformers' documentation does, all pieces in one batch."""
    front = tf.AutoFeatureExtractor.from_pretrained(folder)
    inputs = front(pieces, sampling_rate=front.sampling_rate, return_tensors="pt")
    if folder.name == "ast":
        states = tf.ASTModel.from_pretrained(folder).eval()(**inputs)
        return (states.pooler_output if output == "pooled" else states.last_hidden_state[:, 0]).numpy()
    if folder.name == "whisper":
        states = tf.WhisperModel.from_pretrained(folder).eval().encoder(inputs.input_features).last_hidden_state
        return torch.stack([state[: -(-len(p) // 320)].mean(0) for state, p in zip(states, pieces)]).numpy()
    inputs["is_longer"] = torch.zeros(len(pieces), 1, dtype=torch.bool)
    model = tf.ClapAudioModelWithProjection.from_pretrained(folder).eval()
    made = model(**inputs).audio_embeds if output == "projected" else model.audio_model(**inputs).pooler_output
    return made.numpy()


@pytest.mark.parametrize(("name", "output"), CASES)
def test_rows_are_those_of_plain_transformers(sounds, name, output):
    extractor = extractor_of(sounds / name, output=output)
    window = {"ast": 127 * 160 + 400, "whisper": 32_000}.get(name, 96_000)  # samples
    (need,) = extractor.needs
    long, short = noise(extractor, 2.6 * window / need.rate), noise(extractor, 0.3, seed=1)
    step = 128 * 160 if name == "ast" else window
    starts = [0, step, len(long) - window]
    clips = [clip_of(extractor, sound=long, start=5.0), clip_of(extractor), clip_of(extractor, sound=short)]
    three, nothing, one = extractor.extract(clips)
    assert nothing is None
    expected = plain(sounds / name, output, [*(long[at : at + window] for at in starts), short])
    assert (three.rows.shape, three.rows.dtype) == ((3, extractor.dim), np.float32)
    np.testing.assert_allclose(np.concatenate([three.rows, one.rows]), expected, atol=1e-5)
    np.testing.assert_allclose(three.times, [5.0 + (at + window / 2) / need.rate for at in starts])
    np.testing.assert_allclose(one.times, [0.15])
    assert np.abs(np.diff(three.rows, axis=0)).max() > 1e-4  # the windows are not all alike
    zeros = np.zeros(len(noise(extractor, 1.0)), np.float32)
    broken = noise(extractor, 1.0)
    broken[100:200], broken[300] = np.nan, 1e30
    streams = extractor.extract(
        [clip_of(extractor, sound=sound) for sound in (zeros, broken, zeros[:0], zeros[:7])]
    )
    assert [(len(stream.rows), np.isfinite(stream.rows).all()) for stream in streams] == [(1, True)] * 4


def test_a_shorter_window_places_sounds_and_whisper_leaves_its_padding_out(sounds):
    extractor = extractor_of(sounds / "clap", window="0.5")
    sound = noise(extractor, 2.2)
    (stream,) = extractor.extract([clip_of(extractor, sound=sound)])
    assert extractor.fingerprint.digest != extractor_of(sounds / "clap").fingerprint.digest
    np.testing.assert_allclose(stream.times, [0.25, 0.75, 1.25, 1.75, 1.95])
    pieces = [sound[at : at + 24_000] for at in (0, 24_000, 48_000, 72_000, 81_600)]
    np.testing.assert_allclose(stream.rows, plain(sounds / "clap", "projected", pieces), atol=1e-5)
    extractor = extractor_of(sounds / "whisper")
    sound = noise(extractor, 0.5)
    (stream,) = extractor.extract([clip_of(extractor, sound=sound)])
    front = tf.WhisperFeatureExtractor.from_pretrained(sounds / "whisper")
    features = front(sound, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.inference_mode():
        states = tf.WhisperModel.from_pretrained(sounds / "whisper").encoder(features).last_hidden_state[0]
    np.testing.assert_allclose(stream.rows[0], states[:25].mean(0), atol=1e-5)
    assert np.abs(stream.rows[0] - states.mean(0).numpy()).max() > 1e-3


def test_fusion_does_not_depend_on_chance(sounds):
    extractor = extractor_of(sounds / "clap-fused")
    clips = [clip_of(extractor, sound=noise(extractor, 1.0, seed)) for seed in range(3)]
    rows = set()
    for seed in range(4):
        np.random.seed(seed)  # noqa: NPY002 - the front end draws from this one
        rows.add(np.concatenate([stream.rows for stream in extractor.extract(clips)]).tobytes())
    assert len(rows) == 1


def test_no_merging_is_bit_identical_and_merging_is_merge_tokens(sounds):
    whole, zero, merged = (extractor_of(sounds / "ast", **o) for o in ({}, {"merge": "0"}, {"merge": "8"}))
    clip = clip_of(whole, sound=noise(whole, 1.2))
    (first,), (same,), (fewer,) = (extractor.extract([clip]) for extractor in (whole, zero, merged))
    assert (first.rows == same.rows).all()
    front = tf.ASTFeatureExtractor.from_pretrained(sounds / "ast")
    inputs = front(noise(whole, 1.2), sampling_rate=16_000, return_tensors="pt")
    model = tf.ASTModel.from_pretrained(sounds / "ast").eval()
    merge_tokens(model, MergeSchedule.parse("8"))
    with torch.inference_mode():
        np.testing.assert_allclose(fewer.rows, model(**inputs).pooler_output.numpy(), atol=1e-5)
    assert np.abs(fewer.rows - first.rows).max() > 1e-6


@pytest.mark.parametrize("name", ["clap", "whisper", "ast"])
def test_a_front_end_within_processor_config(sounds, tmp_path, name):
    folder = Path(shutil.copytree(sounds / name, tmp_path / name))
    front = json.loads((folder / FRONT).read_text())
    (folder / FRONT).unlink()
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": front, "processor_class": "P"}))
    before, after = (extractor_of(place) for place in (sounds / name, folder))
    sound = noise(before, 1.0)
    (old,), (new,) = (extractor.extract([clip_of(extractor, sound=sound)]) for extractor in (before, after))
    assert (old.rows == new.rows).all()


def changed(source: Path, folder: Path, **changes) -> Path:
    """The two JSON files of a checkpoint, some values of its front end changed."""
    shutil.copy(source / "config.json", folder)
    (folder / FRONT).write_text(json.dumps(json.loads((source / FRONT).read_text()) | changes))
    return folder


def test_sizes_rates_and_full_windows(sounds, tmp_path):
    made = [extractor_of(sounds / name) for name in NAMES]
    assert [each.dim for each in made] == [32, 24, 24, 24, 32]
    assert [each.needs[0].rate for each in made] == [16_000, 48_000, 48_000, 48_000, 16_000]
    assert {(each.modality, each.shared) for each in made} == {("audio", True)}
    assert extractor_of(sounds / "clap", output="pooled").dim == 32  # 16 << 1
    slow = extractor_of(changed(sounds / "whisper", tmp_path, sampling_rate=8_000, chunk_length=4))
    assert slow.needs[0].rate == 8_000
    cases = {
        (25, 10, 10): [(0, 10), (10, 20), (15, 25)],  # the last one moved to end with the sound
        (20, 10, 10): [(0, 10), (10, 20)],
        (7, 10, 10): [(0, 7)],
        (0, 10, 10): [(0, 0)],
        (1_049, 1_000, 1_000): [(0, 1_000)],  # what a codec appends is no row
        (1_050, 1_000, 1_000): [(0, 1_000), (50, 1_050)],
        (2 * 163_840 + 240, 164_080, 163_840): [(0, 164_080), (163_840, 327_920)],  # frames keep their pace
    }
    assert {case: cut_pieces(*case) for case in cases} == cases
    sound = np.array([0.5, np.nan, np.inf, -3.0], np.float32)
    piece = piece_of(sound, 0, 4, 16_000)  # finite, in range and long enough
    assert piece[:4].tolist() == [0.5, 0.0, 1.0, -1.0]
    assert (len(piece), piece.dtype, np.abs(piece[4:]).max()) == (400, np.float32, 0.0)
    assert len(piece_of(np.zeros(500, np.float32), 0, 500, 16_000)) == 500


MISFITS = {
    "ast": ({"sampling_rate": 16}, {"sampling_rate": "16k"}, {"max_length": 1024}, {"num_mel_bins": 128}),
    "whisper": (
        *({"chunk_length": 30}, {"sampling_rate": 8_000}, {"feature_size": 80}),
        *({"chunk_length": 0}, {"hop_length": True}),
    ),
    "clap": ({"truncation": "fusion"},),
    "clap-fused": ({"truncation": "rand_trunc"},),
}


def test_front_ends_that_do_not_fit(sounds, tmp_path, says_all):
    def make(case):
        folder = changed(sounds / case[0], tmp_path, **(case[1] or {}))
        if case[1] is None:
            (folder / FRONT).unlink()
        extractor_of(folder)

    cases = [(name, changes) for name, several in MISFITS.items() for changes in several]
    says_all(make, [*cases, ("clap", {"feature_extractor_type": "ASTFeatureExtractor"}), ("clap", None)])


@given(samples=st.integers(0, 10_000), window=st.integers(1, 3_000), overlap=st.integers(0, 100))
def test_pieces_cover_all_but_a_twentieth_of_a_window(samples, window, overlap):
    pieces = cut_pieces(samples, window, max(1, window - overlap))
    assert pieces[0][0] == 0
    assert samples - max(1, 0.05 * window) < pieces[-1][1] <= samples
    assert all(end - start == min(window, samples) for start, end in pieces)
    assert all(before[0] < after[0] <= before[1] for before, after in pairwise(pieces))
