"""PretrainedExtractor: batches, precision, fingerprints, options, merging, missing clips; of every family."""

import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.extractors.base import Extractor
from features.extractors.pretrained import runner
from features.extractors.pretrained.extractor import PretrainedExtractor
from features.extractors.pretrained.families import FAMILIES
from features.extractors.registry import make_extractor, resolve
from features.extractors.spec import RunConfig
from features.extractors.token_merging.apply import TOWERS
from features.media.clip import Clip, FrameNeed, Frames
from features.media.reader import read_clips
from tests.features.extractors.pretrained.tiny_checkpoints import save_tiny

SEEING = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit", "clip", "siglip", "siglip2")
SEEING += ("videomae", "vjepa2", "xclip")
HEARING = ("ast", "clap", "clap-fused", "clap-audio", "whisper")


def cosine(one, other):
    return (one.rows * other.rows).sum(1) / np.linalg.norm(one.rows, axis=1) / np.linalg.norm(other.rows, axis=1)


@pytest.mark.parametrize("name", SEEING + HEARING)
def test_a_row_does_not_depend_on_its_batch_and_half_precision_is_close(tiny, clip_of, name):
    def extract(clips, **settings):
        return make_extractor(f"x={tiny(name)}", RunConfig(**settings)).extract(clips)

    alone = make_extractor(f"x={tiny(name)}", RunConfig(batch_size=1))
    shapes = zip((5, 9, 1, 4, 2), [None, (40, 70), (70, 40), None, (33, 33)])
    clips = [clip_of(alone, count, seed, shape) for seed, (count, shape) in enumerate(shapes)]
    single = [alone.extract([clip])[0] for clip in clips]
    for batch_size in (2, 3, 32):
        for one, other in zip(single, extract(clips, batch_size=batch_size)):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(other.rows, one.rows, atol=1e-5)
                np.testing.assert_array_equal(other.times, one.times)
    clip = clip_of(alone, 8)
    (whole,), (half,) = extract([clip]), extract([clip], precision="bf16")
    assert cosine(whole, half).min() > 0.99
    assert half.rows.dtype == np.float32
    assert not np.array_equal(whole.rows, half.rows)
    if name in SEEING:  # it runs by sdpa without gradients, and merges as its family says
        model = alone._runner.model
        assert any(type(part).__name__ in TOWERS for part in model.modules()) == alone.family.merges
        assert (alone.shared, model.config._attn_implementation, model.training) == (True, "sdpa", False)
        assert not any(parameter.requires_grad for parameter in model.parameters())


def test_clips_without_pictures_have_no_stream_and_load_no_weights(tiny, clip_of, tmp_path):
    save_tiny("vit", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    extractor = make_extractor(f"x={tmp_path}")
    clip = clip_of(extractor, 1)
    silent, empty = Clip(span=clip.span, reader="test"), clip_of(extractor, 0)
    assert extractor.extract([]) == []
    assert extractor.extract([silent, empty]) == [None, None]
    with pytest.raises(InputError, match="has no weights in the safetensors format"):
        extractor.extract([silent, clip])
    full = make_extractor(f"x={tiny('vit')}")
    assert [stream is None for stream in full.extract([silent, clip, empty, clip])] == [True, False, True, False]


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_precisions_that_do_not_pay_and_cuda_need_another_machine(tiny, monkeypatch, says):
    def refusal(**run):
        with pytest.raises(InputError) as error:
            make_extractor(f"x={tiny('vit')}", RunConfig(**run)).load()
        return str(error.value)

    said = [refusal(device="cuda"), refusal(precision="fp16")]
    monkeypatch.setattr(runner, "pays_on_cpu", runner.pays_on_cpu.__wrapped__)  # not what is known already
    monkeypatch.setattr(runner, "_product_s", lambda x: 1.0)
    said.append(refusal(precision="bf16"))
    says("\n".join(said))


def test_the_fingerprint_holds_what_changes_the_numbers_and_nothing_else(tiny, tmp_path):
    place = tiny("clip")
    usual = make_extractor(f"x={place}").fingerprint
    revision = resolve(f"x={place}").checkpoints[0].revision
    assert (usual.model, usual.revision, usual.dim) == ("clip", revision, 12)
    wanted = {"output": "projected", "precision": "fp32", "merge": None}
    assert {name: usual.parameters[name] for name in wanted} == wanted
    assert usual.parameters["pictures"]["crop"] == (32, 32)
    other = save_tiny("clip", tmp_path / "clip", seed=1)
    options = ("output=class", "output=pooled", "fps=3", "merge=2")
    words = [f"x={other}", *(f"x={place}:{option}" for option in options)]
    digests = {make_extractor(word).fingerprint.digest for word in words}
    digests |= {make_extractor(f"x={place}", RunConfig(precision="bf16")).fingerprint.digest, usual.digest}
    assert len(digests) == len(words) + 2
    run = RunConfig(device="cpu", batch_size=7, merge="3")
    same = make_extractor(f"y={place}:output=projected,fps=2,merge=0", run), make_extractor(resolve(f"x={place}"))
    assert {made.fingerprint.digest for made in same} == {usual.digest}


INVALID = """
clip:output=best clip:colour=red clip:fps=fast clip:fps=-1 clip:fps=nan clip:fps=1e999 clip:merge=lots
videomae:window=2 videomae:stride=0 videomae:stride=1.0 videomae:stride=² vjepa2:window=3 clap:window=3
clap:window=0.01 clap:window=all clap:output=class clap:fps=1 dinov3_vit:merge=4
"""


def test_options_that_make_no_sense(tiny, tmp_path, says_all):
    for name in {word.partition(":")[0] for word in INVALID.split()}:
        (tmp_path / name).symlink_to(tiny(name))
    says_all(lambda word: make_extractor(f"x={tmp_path}/{word}"), INVALID.split())


@pytest.mark.parametrize("name", ["dinov3_vit", "clap", "clap-fused", "whisper"])
def test_models_whose_tokens_do_not_merge_say_so_and_run_without(tiny, clip_of, caplog, name):
    with caplog.at_level(logging.INFO):
        merged = make_extractor(f"dino={tiny(name)}", RunConfig(merge="4"))
    assert "dino: tokens of this kind of model do not merge; it runs without merging" in caplog.text
    usual = make_extractor(f"dino={tiny(name)}")
    assert merged.fingerprint == usual.fingerprint
    clip = clip_of(usual, 2)
    np.testing.assert_array_equal(merged.extract([clip])[0].rows, usual.extract([clip])[0].rows)


def still(extractor: Extractor, count: int) -> dict[FrameNeed, Frames]:
    """Frames of one colour each: all their patches are alike but for their places."""
    (need,) = extractor.needs
    colours = np.random.default_rng(0).integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
    pixels = colours.repeat(need.size, 1).repeat(need.size, 2)
    return {need: Frames(pixels=pixels, times=np.arange(count) / need.fps)}


MERGING = ("vit", "dinov2", "dinov2_with_registers", "clip", "metaclip_2", "siglip", "xclip")


@pytest.mark.parametrize("name", [*MERGING, "videomae", "videomae_classifier", "clip_vision_model"])
def test_merging_changes_little_where_patches_are_alike(tiny, clip_of, name):
    for output in make_extractor(f"x={tiny(name)}").family.outputs:
        whole = make_extractor(f"x={tiny(name)}:output={output}")
        merged = make_extractor(f"x={tiny(name)}:output={output}", RunConfig(merge="2"))
        clip = replace(clip_of(whole, 8), frames=still(whole, 8))
        (one,), (other,) = whole.extract([clip]), merged.extract([clip])
        assert cosine(one, other).min() > 0.8
        assert not np.array_equal(one.rows, other.rows)
        assert merged.parameters["merge"] == "2"
        sizes = merged._runner.merging.sizes
        assert sizes.shape[1] < sizes.sum(1).max()  # some tokens stand for several patches
        assert whole._runner.merging is None


@settings(max_examples=10)
@given(counts=st.lists(st.integers(0, 3), max_size=5), batch_size=st.integers(1, 4))
def test_rows_go_back_to_their_clips(tiny, clip_of, counts, batch_size):
    """With a family whose row is its picture's first level."""
    first = replace(
        FAMILIES["vit"], forward=lambda model, batch: batch.inputs["pixels"][:, 0, 0, :1].expand(-1, 16)
    )
    spec = resolve(f"x={tiny('vit')}")
    extractor = PretrainedExtractor(spec, RunConfig(batch_size=batch_size), first)
    clips = [clip_of(extractor, count, seed, (32, 32)) for seed, count in enumerate(counts)]
    for clip, stream in zip(clips, extractor.extract(clips), strict=True):
        levels = clip.frames[extractor.needs[0]].pixels[:, 0, 0, 0] / 255  # the picture has the model's size
        assert (stream is None) == (len(levels) == 0)
        if stream is not None:
            np.testing.assert_allclose(stream.rows[:, 0], (levels - 0.5) / 0.5, atol=1e-6)


def test_a_real_file_becomes_a_stream_whose_size_config_json_says(tiny, media, tmp_path, clip_of):
    # From mp4 and png to rows, through the reader; a picture has no motion.
    film = media.write(tmp_path / "film.mp4", [media.plain(number) for number in range(20)])
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), media.quadrants())
    appearance, motion = (make_extractor(f"x={tiny(name)}") for name in ("clip", "videomae"))
    needs = (*appearance.needs, *motion.needs)
    clips = [clip for path in (film, picture) for clip in read_clips(path, path.name, needs)]
    (seen, still), (moved, unmoved) = appearance.extract(clips), motion.extract(clips)
    assert (seen.rows.shape, still.rows.shape) == ((4, 12), (1, 12))  # two seconds, two frames a second
    np.testing.assert_allclose(seen.times, [0.0, 0.5, 1.0, 1.5])
    assert (moved.rows.shape, unmoved) == ((4, 16), None)  # eight frames a second, in fours
    np.testing.assert_allclose(moved.times, [0.1875, 0.6875, 1.1875, 1.6875])
    (alone,) = appearance.extract(clips[1:])
    np.testing.assert_allclose(alone.rows, still.rows, atol=1e-5)
    wide = replace(FAMILIES["vit"], width=lambda config: 20)
    extractor = PretrainedExtractor(resolve(f"x={tiny('vit')}"), RunConfig(), wide)
    with pytest.raises(InputError, match=r"its rows have 16 numbers, its config.json says 20"):
        extractor.extract([clip_of(extractor, 1)])
