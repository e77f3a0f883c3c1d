"""What all extractors have in common whose rows a transformers model makes."""

import logging
from operator import attrgetter
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.extractors.base import Extractor
from features.extractors.pretrained.base import ModelExtractor, Rows
from features.extractors.pretrained.checkpoint import Architecture
from features.extractors.pretrained.families import FAMILIES
from features.extractors.pretrained.runner import ModelRunner
from features.extractors.registry import make_extractor, resolve
from features.extractors.spec import ExtractorSpec, RunConfig
from features.media.clip import Clip, FrameNeed, Frames
from features.media.cutting import Cutting
from features.media.reader import open_reader

SEEING = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit", "clip", "siglip", "siglip2")
SEEING += ("videomae", "vjepa2", "xclip")
HEARING = ("ast", "clap", "clap-fused", "clap-audio", "whisper")


@pytest.mark.parametrize("name", SEEING + HEARING)
def test_a_row_does_not_depend_on_its_batch(tiny, clip_of, name):
    shapes = [None, (40, 70), (70, 40), None, (33, 33)]
    alone = make_extractor(f"x={tiny(name)}", RunConfig(batch_size=1))
    clips = [
        clip_of(alone, count, seed, shape) for seed, (count, shape) in enumerate(zip((5, 9, 1, 4, 2), shapes))
    ]
    single = [alone.extract([clip])[0] for clip in clips]
    for batch_size in (2, 3, 32):
        together = make_extractor(f"x={tiny(name)}", RunConfig(batch_size=batch_size)).extract(clips)
        for one, other in zip(single, together):
            if one is None:
                assert other is None
                continue
            np.testing.assert_allclose(other.rows, one.rows, atol=1e-5)
            np.testing.assert_array_equal(other.times, one.times)


def test_clips_without_pictures_have_no_stream_and_load_no_weights(tiny, clip_of, tmp_path, tiny_checkpoints):
    tiny_checkpoints.save_tiny("vit", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    extractor = make_extractor(f"x={tmp_path}")
    clip = clip_of(extractor, 1)
    silent = Clip(span=clip.span, reader="test")
    empty = Clip(
        span=clip.span, reader="test", frames={extractor.need: clip_of(extractor, 0).frames[extractor.need]}
    )
    assert extractor.extract([]) == []
    assert extractor.extract([silent, empty]) == [None, None]
    with pytest.raises(InputError, match="has no weights in the safetensors format"):
        extractor.extract([silent, clip])
    full = make_extractor(f"x={tiny('vit')}")
    assert [stream is None for stream in full.extract([silent, clip, empty, clip])] == [True, False, True, False]


@pytest.mark.parametrize("name", SEEING + HEARING)
def test_half_precision_is_close(tiny, clip_of, name):
    whole = make_extractor(f"x={tiny(name)}")
    half = make_extractor(f"x={tiny(name)}", RunConfig(precision="bf16"))
    (one,), (other,) = whole.extract([clip_of(whole, 8)]), half.extract([clip_of(half, 8)])
    cosine = (one.rows * other.rows).sum(1) / np.linalg.norm(one.rows, axis=1) / np.linalg.norm(other.rows, axis=1)
    assert cosine.min() > 0.99
    assert other.rows.dtype == np.float32
    assert not np.array_equal(one.rows, other.rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="of machines without a GPU")
def test_fp16_and_cuda_need_a_gpu(tiny):
    with pytest.raises(InputError, match="--precision fp16 needs a GPU; on a CPU use bf16 or fp32"):
        make_extractor(f"x={tiny('vit')}", RunConfig(precision="fp16")).load()
    with pytest.raises(InputError, match="--device cuda: torch sees no GPU here"):
        make_extractor(f"x={tiny('vit')}", RunConfig(device="cuda")).load()


def test_the_fingerprint_holds_what_changes_the_numbers_and_nothing_else(tiny, tiny_checkpoints, tmp_path):
    place = tiny("clip")
    usual = make_extractor(f"x={place}").fingerprint
    assert usual.model == "clip"
    assert usual.revision == resolve(f"x={place}").checkpoints[0].revision
    assert usual.dim == 12
    assert usual.parameters["output"] == "projected"
    assert usual.parameters["precision"] == "fp32"
    assert usual.parameters["merge"] is None
    assert usual.parameters["pictures"]["crop"] == (32, 32)
    other = tiny_checkpoints.save_tiny("clip", tmp_path / "clip", seed=1)
    words = [
        f"x={place}:output=class",
        f"x={place}:output=pooled",
        f"x={place}:fps=3",
        f"x={place}:merge=2",
        f"x={other}",
    ]
    digests = {make_extractor(word).fingerprint.digest for word in words}
    digests |= {make_extractor(f"x={place}", RunConfig(precision="bf16")).fingerprint.digest, usual.digest}
    assert len(digests) == len(words) + 2
    same = [
        make_extractor(
            f"y={place}:output=projected,fps=2,merge=0", RunConfig(device="cpu", batch_size=7, merge="3")
        ),
        make_extractor(resolve(f"x={place}")),
    ]
    assert {made.fingerprint.digest for made in same} == {usual.digest}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("clip:output=best", "no output 'best'; it has projected, class, pooled"),
        ("clip:colour=red", "no option 'colour' here; there are fps, merge, output"),
        ("clip:fps=fast", "fps must be a number above 0, got 'fast'"),
        ("clip:fps=-1", "got '-1'"),
        ("clip:fps=nan", "got 'nan'"),
        ("clip:fps=1e999", "got '1e999'"),
        ("clip:merge=lots", "merge 'lots' is neither a number"),
        ("videomae:window=2", "no option 'window' here; there are fps, merge, output, stride"),
        ("videomae:stride=0", "stride must be a whole number above 0, got '0'"),
        ("videomae:stride=1.0", "got '1.0'"),
        ("videomae:stride=²", "got '²'"),
        ("vjepa2:window=3", "window must be a multiple of 2 frames, got 3"),
        ("clap:window=3", "window must be from 0.1 to 2 seconds, the longest this model hears, got 3"),
        ("clap:window=0.01", "window must be from 0.1 to 2 seconds"),
        ("clap:window=all", "window must be a number above 0, got 'all'"),
        ("clap:output=class", "no output 'class'; it has projected, pooled"),
        ("clap:fps=1", "no option 'fps' here; there are merge, output, window"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_a_sentence(tiny, word, message):
    name, _, options = word.partition(":")
    with pytest.raises(InputError, match=message):
        make_extractor(f"x={tiny(name)}:{options}")


@pytest.mark.parametrize("name", ["dinov3_vit", "clap", "clap-fused", "whisper"])
def test_what_does_not_merge_says_so_and_runs_whole(tiny, clip_of, caplog, name):
    with caplog.at_level(logging.INFO):
        asked = make_extractor(f"dino={tiny(name)}", RunConfig(merge="4"))
    assert "dino: tokens of this kind of model do not merge; it runs whole" in caplog.text
    usual = make_extractor(f"dino={tiny(name)}")
    assert asked.fingerprint == usual.fingerprint
    clip = clip_of(usual, 2)
    np.testing.assert_array_equal(asked.extract([clip])[0].rows, usual.extract([clip])[0].rows)
    with pytest.raises(InputError, match="tokens of this kind of model do not merge; leave out merge=4"):
        make_extractor(f"dino={tiny(name)}:merge=4")


def still(extractor: Extractor, count: int) -> dict[FrameNeed, Frames]:
    """Frames of one colour each: all their patches are alike but for their places."""
    (need,) = extractor.needs
    colours = np.random.default_rng(0).integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
    return {
        need: Frames(pixels=colours.repeat(need.size, 1).repeat(need.size, 2), times=np.arange(count) / need.fps)
    }


MERGING = ("vit", "dinov2", "dinov2_with_registers", "clip", "metaclip_2", "siglip", "xclip")


@pytest.mark.parametrize("name", [*MERGING, "videomae", "videomae_classifier", "clip_vision_model"])
def test_merging_changes_little_where_patches_are_alike(tiny, clip_of, name):
    for output in make_extractor(f"x={tiny(name)}").available_outputs:
        whole = make_extractor(f"x={tiny(name)}:output={output}")
        merged = make_extractor(f"x={tiny(name)}:output={output}", RunConfig(merge="2"))
        clip = clip_of(whole, 8)
        frames = still(whole, 8)
        clip = Clip(span=clip.span, reader="test", frames=frames)
        (one,), (other,) = whole.extract([clip]), merged.extract([clip])
        cosine = (
            (one.rows * other.rows).sum(1) / np.linalg.norm(one.rows, axis=1) / np.linalg.norm(other.rows, axis=1)
        )
        assert cosine.min() > 0.8
        assert not np.array_equal(one.rows, other.rows)
        assert merged.parameters["merge"] == "2"
        sizes = merged.token_sizes()
        assert sizes.shape[1] < sizes.sum(1).max()  # some tokens stand for several patches
        assert whole.token_sizes() is None


def test_every_family_is_shared_fused_and_merges_as_it_says(tiny):
    from features.extractors.token_merging.apply import supports_merging

    assert set(SEEING) <= set(FAMILIES)
    for name in SEEING:
        extractor = make_extractor(f"x={tiny(name)}")
        extractor.load()
        model = extractor._runner.model
        assert extractor.shared
        assert supports_merging(model) == extractor.merges
        assert model.config._attn_implementation == "sdpa"
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())


@settings(max_examples=10)
@given(st.lists(st.integers(0, 5), max_size=5), st.integers(1, 4))
def test_rows_go_back_to_their_clips(counts, batch_size):
    extractor = Echo(batch_size)
    firsts = [range(10 * place, 10 * place + count) for place, count in enumerate(counts)]
    clips = [SimpleNamespace(frames=[np.array([number]) for number in numbers]) for numbers in firsts]
    streams = extractor.extract(clips)
    for place, (count, stream) in enumerate(zip(counts, streams)):
        assert (stream is None) == (count == 0)
        if stream is not None:
            np.testing.assert_array_equal(stream.rows[:, 0], 10 * place + np.arange(count))


class Echo(ModelExtractor):
    """A family whose model is the identity; nothing but ModelExtractor.extract and ModelRunner.vectors."""

    modality, version, outputs, dim, needs = "echo", 1, ("pooled",), 1, ()
    architecture = Architecture("None")

    def __init__(self, batch_size: int):
        self.spec, self._runner = ExtractorSpec("echo"), object.__new__(ModelRunner)
        self._runner.model, self._runner.batch_size, self._runner.merging = None, batch_size, None
        self._runner.device, self._runner.type = torch.device("cpu"), torch.float32

    def rows(self, clip):
        return Rows(clip.frames, np.arange(len(clip.frames)) * 1.0)

    def prepare(self, items):
        return {"numbers": torch.tensor(np.array(items), dtype=torch.float32)}

    def forward(self, model, inputs):
        return inputs["numbers"]


def test_a_wrong_promise_of_config_json_is_said_in_a_sentence(tiny_checkpoints, tmp_path, clip_of):
    tiny_checkpoints.save_tiny("vit", tmp_path)
    extractor = make_extractor(f"x={tmp_path}")
    extractor.config["hidden_size"] = 20
    with pytest.raises(InputError, match=r"its rows have 16 numbers, config.json promises 20"):
        extractor.extract([clip_of(extractor, 1)])


def test_a_real_file_becomes_a_stream(tiny, media, tmp_path):
    """From mp4 and png to rows, through the reader; a picture has no motion."""
    film = media.write(tmp_path / "film.mp4", [media.plain(number) for number in range(20)])
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), media.quadrants())
    appearance, motion = (make_extractor(f"x={tiny(name)}") for name in ("clip", "videomae"))
    clips = []
    for path in (film, picture):
        reader = open_reader("pyav", path)
        clips += reader.read(path, path.name, (*appearance.needs, *motion.needs), Cutting())
    seen, still = appearance.extract(clips)
    assert seen.rows.shape == (4, 12)  # two seconds, two frames a second
    np.testing.assert_allclose(seen.times, [0.0, 0.5, 1.0, 1.5])
    assert still.rows.shape == (1, 12)
    moved, unmoved = motion.extract(clips)
    assert moved.rows.shape == (4, 16)  # eight frames a second, in fours
    np.testing.assert_allclose(moved.times, [0.1875, 0.6875, 1.1875, 1.6875])
    assert unmoved is None
    (alone,) = appearance.extract(clips[1:])
    np.testing.assert_allclose(alone.rows, still.rows, atol=1e-5)


# what config.json leaves out is what transformers takes for usual: model_type, class, width, side
USUAL = [
    ("vit", "ViTConfig", "hidden_size", "image_size"),
    ("dinov2", "Dinov2Config", "hidden_size", "image_size"),
    ("dinov2_with_registers", "Dinov2WithRegistersConfig", "hidden_size", "image_size"),
    ("dinov3_vit", "DINOv3ViTConfig", "hidden_size", "image_size"),
    ("videomae", "VideoMAEConfig", "hidden_size", "image_size"),
    ("vjepa2", "VJEPA2Config", "hidden_size", "crop_size"),
    ("clip", "CLIPConfig", "projection_dim", "vision_config.image_size"),
    ("metaclip_2", "MetaClip2Config", "projection_dim", "vision_config.image_size"),
    ("siglip", "SiglipConfig", "vision_config.hidden_size", "vision_config.image_size"),
    ("xclip", "XCLIPConfig", "projection_dim", "vision_config.image_size"),
]


@pytest.mark.parametrize(("name", "kind", "width", "side"), USUAL)
def test_what_config_json_leaves_out_is_usual(tiny_checkpoints, tmp_path, name, kind, width, side):
    tiny_checkpoints.write_json(tmp_path / "config.json", {"model_type": name})
    extractor, usual = make_extractor(f"x={tmp_path}"), getattr(transformers, kind)()
    assert extractor.dim == attrgetter(width)(usual)
    assert extractor.image_size == (attrgetter(side)(usual),) * 2
    if name.startswith(("vit", "dino")):
        assert extractor.first_patch == 1 + getattr(usual, "num_register_tokens", 0)
    if name in ("videomae", "xclip"):
        assert extractor.window == getattr(usual, "vision_config", usual).num_frames
