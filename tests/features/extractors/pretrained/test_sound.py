"""Sound models against plain transformers: tiny checkpoints with random weights, saved in the hub's format."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as tf

from features.extractors.pretrained.sound import AstExtractor, ClapExtractor, WhisperExtractor
from features.extractors.spec import Checkpoint, ExtractorSpec, RunConfig
from features.media.clip import Clip, Span

FAMILIES = {
    "ast": AstExtractor,
    "clap": ClapExtractor,
    "clap-fused": ClapExtractor,
    "clap-audio": ClapExtractor,
    "whisper": WhisperExtractor,
}
CASES = [(name, output) for name, family in FAMILIES.items() for output in family.outputs]
AST = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
TOWER = {"hidden_size": 32, "patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2]}
TOWER |= {"spec_size": 64, "window_size": 4, "num_mel_bins": 16}
WORDS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
WHISPER = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2}
WHISPER |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 60}
WHISPER |= {
    "max_source_positions": 100,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


def save(folder: Path, *parts) -> None:
    for part in parts:
        part.save_pretrained(folder)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    config = tf.ASTConfig(**AST, max_length=128, num_mel_bins=32)
    front = tf.ASTFeatureExtractor(max_length=128, num_mel_bins=32)
    save(folder / "ast", tf.ASTForAudioClassification(config), front)
    for name, fuses in (("clap", False), ("clap-fused", True), ("clap-audio", True)):
        config = tf.ClapConfig(
            audio_config=TOWER | {"enable_fusion": fuses},
            text_config=WORDS | {"vocab_size": 50},
            projection_dim=24,
        )
        front = tf.ClapFeatureExtractor(
            feature_size=16, max_length_s=2, truncation="fusion" if fuses else "rand_trunc"
        )
        alone = name == "clap-audio"
        model = tf.ClapAudioModelWithProjection(config.audio_config) if alone else tf.ClapModel(config)
        save(folder / name, model, front)
    config = tf.WhisperConfig(**WHISPER, num_mel_bins=16)
    front = tf.WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    save(folder / "whisper", tf.WhisperForConditionalGeneration(config), front)
    return folder


def extractor_of(folder: Path, run: RunConfig | None = None, **options: str):
    family = FAMILIES.get(folder.name, AstExtractor)
    place = Checkpoint(folder.name, folder, "sha256:0")
    return family(ExtractorSpec("audio", str(folder), None, options, (place,)), run or RunConfig())


def noise(extractor, seconds: float, seed: int = 0) -> np.ndarray:
    (need,) = extractor.needs
    rng = np.random.default_rng(seed)
    return (rng.normal(size=round(seconds * need.rate)) * 0.1).clip(-1, 1).astype(np.float32)


def clip_of(extractor, sound: np.ndarray | None, start: float = 0.0) -> Clip:
    (need,) = extractor.needs
    seconds = 0.0 if sound is None else len(sound) / need.rate
    return Clip(
        span=Span(clip_id="s", video="s.mp4", start_s=start, end_s=start + seconds),
        reader="pyav",
        sound={} if sound is None else {need: sound},
    )


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
def test_rows_are_those_of_plain_transformers(checkpoints, name, output):
    extractor = extractor_of(checkpoints / name, output=output)
    window = {"ast": 127 * 160 + 400, "whisper": 32_000}.get(name, 96_000)  # samples
    (need,) = extractor.needs
    long, short = noise(extractor, 2.6 * window / need.rate), noise(extractor, 0.3, seed=1)
    step = 128 * 160 if name == "ast" else window
    starts = [0, step, len(long) - window]
    made = extractor.extract([clip_of(extractor, long, 5.0), clip_of(extractor, None), clip_of(extractor, short)])
    assert made[1] is None
    expected = plain(checkpoints / name, output, [*(long[at : at + window] for at in starts), short])
    assert made[0].rows.shape == (3, extractor.dim)
    assert made[0].rows.dtype == np.float32
    np.testing.assert_allclose(made[0].rows, expected[:3], atol=1e-5)
    np.testing.assert_allclose(made[2].rows, expected[3:], atol=1e-5)
    np.testing.assert_allclose(made[0].times, [5.0 + (at + window / 2) / need.rate for at in starts])
    np.testing.assert_allclose(made[2].times, [0.15])
    assert np.abs(np.diff(made[0].rows, axis=0)).max() > 1e-4  # the windows are not all alike


@pytest.mark.parametrize("name", FAMILIES)
def test_neighbours_in_the_batch_change_nothing(checkpoints, name):
    any_one = extractor_of(checkpoints / name)
    sounds = [noise(any_one, seconds, seed) for seed, seconds in enumerate((0.4, 3.1, 2.0))]
    together, one_by_one = (extractor_of(checkpoints / name, RunConfig(batch_size=size)) for size in (32, 1))
    streams = together.extract([clip_of(together, sound) for sound in sounds])
    for sound, stream in zip(sounds[::-1], streams[::-1]):
        (alone,) = one_by_one.extract([clip_of(one_by_one, sound)])
        np.testing.assert_allclose(stream.rows, alone.rows, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_silence_and_broken_samples_are_sound(checkpoints, name):
    extractor = extractor_of(checkpoints / name)
    silent = np.zeros(len(noise(extractor, 1.0)), np.float32)
    broken = noise(extractor, 1.0)
    broken[100:200], broken[300] = np.nan, 1e30
    streams = extractor.extract([clip_of(extractor, sound) for sound in (silent, broken, silent[:0], silent[:7])])
    assert [len(stream.rows) for stream in streams] == [1, 1, 1, 1]
    assert all(np.isfinite(stream.rows).all() for stream in streams)


def test_a_shorter_window_places_sounds(checkpoints):
    extractor = extractor_of(checkpoints / "clap", window="0.5")
    sound = noise(extractor, 2.2)
    (stream,) = extractor.extract([clip_of(extractor, sound)])
    np.testing.assert_allclose(stream.times, [0.25, 0.75, 1.25, 1.75, 1.95])
    pieces = [sound[at : at + 24_000] for at in (0, 24_000, 48_000, 72_000, 81_600)]
    np.testing.assert_allclose(stream.rows, plain(checkpoints / "clap", "projected", pieces), atol=1e-5)


def test_whisper_leaves_its_padding_out(checkpoints):
    extractor = extractor_of(checkpoints / "whisper")
    (stream,) = extractor.extract([clip_of(extractor, noise(extractor, 0.5))])
    front = tf.WhisperFeatureExtractor.from_pretrained(checkpoints / "whisper")
    features = front(noise(extractor, 0.5), sampling_rate=16_000, return_tensors="pt").input_features
    with torch.inference_mode():
        states = tf.WhisperModel.from_pretrained(checkpoints / "whisper").encoder(features).last_hidden_state[0]
    np.testing.assert_allclose(stream.rows[0], states[:25].mean(0), atol=1e-5)
    assert np.abs(stream.rows[0] - states.mean(0).numpy()).max() > 1e-3


def test_fusion_does_not_depend_on_chance(checkpoints):
    extractor = extractor_of(checkpoints / "clap-fused")
    clips = [clip_of(extractor, noise(extractor, 1.0, seed)) for seed in range(3)]
    rows = []
    for seed in range(4):
        np.random.seed(seed)  # noqa: NPY002 - the front end draws from this one
        rows.append(np.concatenate([stream.rows for stream in extractor.extract(clips)]))
    assert all((other == rows[0]).all() for other in rows)


def test_no_merging_is_bit_identical_and_merging_is_merge_tokens(checkpoints):
    merging = pytest.importorskip("features.extractors.token_merging.apply")
    from features.extractors.token_merging.schedule import MergeSchedule

    whole, zero, merged = (extractor_of(checkpoints / "ast", **o) for o in ({}, {"merge": "0"}, {"merge": "8"}))
    clip = clip_of(whole, noise(whole, 1.2))
    (first,), (same,), (fewer,) = (extractor.extract([clip]) for extractor in (whole, zero, merged))
    assert (first.rows == same.rows).all()
    front = tf.ASTFeatureExtractor.from_pretrained(checkpoints / "ast")
    inputs = front(noise(whole, 1.2), sampling_rate=16_000, return_tensors="pt")
    model = tf.ASTModel.from_pretrained(checkpoints / "ast").eval()
    merging.merge_tokens(model, MergeSchedule.parse("8"))
    with torch.inference_mode():
        np.testing.assert_allclose(fewer.rows, model(**inputs).pooler_output.numpy(), atol=1e-5)
    assert np.abs(fewer.rows - first.rows).max() > 1e-6


@pytest.mark.parametrize("name", FAMILIES)
def test_half_precision_stays_near(checkpoints, name):
    whole, half = (extractor_of(checkpoints / name, RunConfig(precision=kind)) for kind in ("fp32", "bf16"))
    sound = noise(whole, 1.0)
    (exact,), (near,) = (extractor.extract([clip_of(extractor, sound)]) for extractor in (whole, half))
    cosine = (exact.rows * near.rows).sum() / np.linalg.norm(exact.rows) / np.linalg.norm(near.rows)
    assert cosine > 0.99
    assert whole.fingerprint.digest != half.fingerprint.digest


@pytest.mark.parametrize("name", ["clap", "whisper", "ast"])
def test_a_front_end_within_processor_config(checkpoints, tmp_path, name):
    folder = Path(shutil.copytree(checkpoints / name, tmp_path / name))
    front = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": front, "processor_class": "P"}))
    before, after = (extractor_of(place) for place in (checkpoints / name, folder))
    sound = noise(before, 1.0)
    (old,), (new,) = (extractor.extract([clip_of(extractor, sound)]) for extractor in (before, after))
    assert (old.rows == new.rows).all()
