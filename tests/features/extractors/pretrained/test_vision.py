"""Appearance from vision transformers: what the plain models give for the same frames."""

import numpy as np
import pytest
import torch
import transformers

from features.errors import InputError
from features.extractors.registry import make_extractor
from features.media.clip import FrameNeed


def pixels_of(extractor, clip) -> torch.Tensor:
    """(T, 3, h, w): the frames' middle, normalised by hand. The frames have the short side already."""
    frames = clip.frames[extractor.need].pixels
    height, width = extractor.recipe.shape
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    cut = frames[:, top : top + height, left : left + width] / 255
    normed = (cut - np.array(extractor.recipe.mean)) / np.array(extractor.recipe.std)
    return torch.tensor(np.moveaxis(normed, -1, 1), dtype=torch.float32)


def plain(kind: str, directory, **settings):
    """The model as transformers loads it, in evaluation mode."""
    return getattr(transformers, kind).from_pretrained(directory, **settings).eval()


CASES = [
    ("vit", "class", "ViTModel", lambda seen: seen.last_hidden_state[:, 0]),
    ("vit", "pooled", "ViTModel", lambda seen: seen.last_hidden_state[:, 1:].mean(1)),
    ("vit_classifier", "class", "ViTModel", lambda seen: seen.last_hidden_state[:, 0]),
    ("dinov2", "class", "Dinov2Model", lambda seen: seen.pooler_output),
    ("dinov2", "pooled", "Dinov2Model", lambda seen: seen.last_hidden_state[:, 1:].mean(1)),
    ("dinov2_with_registers", "class", "Dinov2WithRegistersModel", lambda seen: seen.pooler_output),
    (
        "dinov2_with_registers",
        "pooled",
        "Dinov2WithRegistersModel",
        lambda seen: seen.last_hidden_state[:, 5:].mean(1),
    ),
    ("dinov3_vit", "class", "DINOv3ViTModel", lambda seen: seen.pooler_output),
    ("dinov3_vit", "pooled", "DINOv3ViTModel", lambda seen: seen.last_hidden_state[:, 5:].mean(1)),
]


@pytest.mark.parametrize(("name", "output", "kind", "row"), CASES)
@torch.inference_mode()
def test_rows_are_those_of_the_plain_model(tiny, clip_of, name, output, kind, row):
    extractor = make_extractor(f"x={tiny(name)}:output={output}")
    square = (extractor.need.size, extractor.need.size)
    clip = clip_of(extractor, 3, shape=square)
    (stream,) = extractor.extract([clip])
    wanted = row(plain(kind, tiny(name))(pixel_values=pixels_of(extractor, clip))).numpy()
    np.testing.assert_allclose(stream.rows, wanted, atol=1e-5)
    np.testing.assert_array_equal(stream.times, clip.frames[extractor.need].times)
    assert stream.rows.dtype == np.float32
    assert extractor.dim == wanted.shape[1]
    assert wanted.std(0).min() > 1e-3  # the frames differ, and so do their rows


@pytest.mark.parametrize("name", ["vit", "dinov2", "dinov2_with_registers", "dinov3_vit"])
def test_the_class_token_is_what_one_gets_unasked(tiny, name):
    extractor = make_extractor(f"x={tiny(name)}")
    assert extractor.output == "class"
    assert extractor.modality == "appearance"


def test_two_frames_a_second_unless_asked_for_more(tiny):
    assert make_extractor(f"x={tiny('vit')}").needs == (FrameNeed(fps=2, size=32),)
    assert make_extractor(f"x={tiny('dinov2')}:fps=0.5").needs == (FrameNeed(fps=0.5, size=36),)


def test_frames_of_any_shape_become_rows(tiny, clip_of):
    for name in ("vit", "dinov2"):
        extractor = make_extractor(f"x={tiny(name)}")
        shapes = [(32, 57), (57, 32), (20, 20), (36, 128), (500, 301)]
        clips = [clip_of(extractor, 2, seed, shape) for seed, shape in enumerate(shapes)]
        assert [stream.rows.shape for stream in extractor.extract(clips)] == [(2, 16)] * len(shapes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 48}, "makes pictures of 32x32 pixels, its config.json says that the model reads 48x48"),
        ({"image_size": "big"}, "config.json: image_size: a size must be a whole number of pixels"),
        ({"hidden_size": "big"}, "config.json: hidden_size must be a whole number above 0, got 'big'"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_in_a_sentence(tiny_checkpoints, tmp_path, changes, message):
    tiny_checkpoints.save_tiny("vit", tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        _ = make_extractor(f"x={tmp_path}").fingerprint


def test_what_config_json_leaves_out_is_what_transformers_takes_for_usual(tiny_checkpoints, tmp_path):
    kinds = {
        "vit": ("ViTConfig", "hidden_size", "image_size"),
        "dinov2": ("Dinov2Config", "hidden_size", "image_size"),
        "dinov2_with_registers": ("Dinov2WithRegistersConfig", "hidden_size", "image_size"),
        "dinov3_vit": ("DINOv3ViTConfig", "hidden_size", "image_size"),
        "videomae": ("VideoMAEConfig", "hidden_size", "image_size"),
        "vjepa2": ("VJEPA2Config", "hidden_size", "crop_size"),
    }
    for name, (kind, width, side) in kinds.items():
        folder = tmp_path / name
        folder.mkdir()
        tiny_checkpoints.write_json(folder / "config.json", {"model_type": name})
        extractor, usual = make_extractor(f"x={folder}"), getattr(transformers, kind)()
        assert extractor.width == getattr(usual, width)
        assert extractor.image_size == (getattr(usual, side),) * 2
        assert getattr(extractor, "first_patch", 1) == 1 + getattr(usual, "num_register_tokens", 0)
        assert getattr(extractor, "window", 16) == 16
    assert transformers.VideoMAEConfig().num_frames == 16
