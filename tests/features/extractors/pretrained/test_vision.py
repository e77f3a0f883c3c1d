"""Appearance from vision transformers, alone or half of a model that reads: what the plain models give."""

import numpy as np
import pytest
import torch
import transformers
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from features.errors import InputError
from features.extractors.registry import make_extractor
from features.media.clip import FrameNeed
from tests.features.extractors.pretrained.tiny_checkpoints import pixels_of


def first_token(model, pixels):
    return model(pixel_values=pixels).last_hidden_state[:, 0]


def head(model, pixels):
    return model(pixel_values=pixels).pooler_output


def image(model, pixels):
    return model.get_image_features(pixel_values=pixels).pooler_output


def mean_from(first):
    """The mean of patches."""
    return lambda model, pixels: model(pixel_values=pixels).last_hidden_state[:, first:].mean(1)


CASES = [
    ("vit", "class", "ViTModel", first_token),
    ("vit", "pooled", "ViTModel", mean_from(1)),
    ("vit_classifier", "class", "ViTModel", first_token),
    ("dinov2", "class", "Dinov2Model", head),
    ("dinov2", "pooled", "Dinov2Model", mean_from(1)),
    ("dinov2_with_registers", "class", "Dinov2WithRegistersModel", head),
    ("dinov2_with_registers", "pooled", "Dinov2WithRegistersModel", mean_from(5)),
    ("dinov3_vit", "class", "DINOv3ViTModel", head),
    ("dinov3_vit", "pooled", "DINOv3ViTModel", mean_from(5)),
    ("clip", "projected", "CLIPModel", image),
    ("clip", "class", "CLIPVisionModel", head),
    ("clip", "pooled", "CLIPVisionModel", mean_from(1)),
    ("metaclip_2", "projected", "MetaClip2Model", image),
    ("metaclip_2", "class", "MetaClip2VisionModel", head),
    ("metaclip_2", "pooled", "MetaClip2VisionModel", mean_from(1)),
    ("siglip", "projected", "SiglipModel", image),
    ("siglip", "pooled", "SiglipVisionModel", mean_from(0)),
]


def square_clip(extractor, clip_of, count=3):
    return clip_of(extractor, count, shape=(extractor.need.size, extractor.need.size))


@pytest.mark.parametrize(("name", "output", "kind", "row"), CASES)
@torch.inference_mode()
def test_rows_are_those_of_the_plain_model(tiny, clip_of, name, output, kind, row):
    extractor = make_extractor(f"x={tiny(name)}:output={output}")
    clip = square_clip(extractor, clip_of)
    (stream,) = extractor.extract([clip])
    model = getattr(transformers, kind).from_pretrained(tiny(name)).eval()
    wanted = row(model, pixels_of(extractor, clip)).numpy()
    np.testing.assert_allclose(stream.rows, wanted, atol=1e-5)
    np.testing.assert_array_equal(stream.times, clip.frames[extractor.need].times)
    assert stream.rows.dtype == np.float32
    assert extractor.dim == wanted.shape[1]
    assert wanted.std(0).min() > 1e-3  # the frames differ, and so do their rows


@pytest.mark.parametrize(
    ("name", "kind"), [("clip", "CLIPModel"), ("metaclip_2", "MetaClip2Model"), ("siglip", "SiglipModel")]
)
@torch.inference_mode()
def test_projected_rows_are_not_normalised_and_in_the_space_of_the_text(tiny, clip_of, name, kind):
    extractor = make_extractor(f"x={tiny(name)}:output=projected")
    clip = square_clip(extractor, clip_of, 4)
    rows = extractor.extract([clip])[0].rows
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).min() > 0.01
    model = getattr(transformers, kind).from_pretrained(tiny(name)).eval()
    both = model(input_ids=torch.tensor([[1, 7, 8, 2]]), pixel_values=pixels_of(extractor, clip))
    cosine = rows @ both.text_embeds[0].numpy() / np.linalg.norm(rows, axis=1)
    shown = both.logits_per_image[:, 0] - getattr(model, "logit_bias", torch.tensor(0.0))
    np.testing.assert_allclose(cosine, (shown / model.logit_scale.exp()).numpy(), atol=1e-5)  # zero-shot scores


@pytest.mark.parametrize(
    ("names", "output"),
    [
        ("vit dinov2 dinov2_with_registers dinov3_vit", "class"),
        ("clip clip_vision_model metaclip_2 siglip siglip_vision_model siglip2", "projected"),
    ],
)
def test_what_one_gets_unasked(tiny, names, output):
    for name in names.split():
        extractor = make_extractor(f"x={tiny(name)}")
        assert (extractor.output, extractor.modality) == (output, "appearance")


def test_two_frames_a_second_unless_asked_for_more(tiny):
    assert make_extractor(f"x={tiny('vit')}").needs == (FrameNeed(fps=2, size=32),)
    assert make_extractor(f"x={tiny('siglip2')}").needs == (FrameNeed(fps=2, size=32),)  # a square picture's side
    assert make_extractor(f"x={tiny('dinov2')}:fps=0.5").needs == (FrameNeed(fps=0.5, size=36),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 48}, "makes pictures of 32x32 pixels, its config.json says that the model reads 48x48"),
        ({"image_size": "big"}, "config.json: image_size: a size must be a whole number of pixels"),
        ({"hidden_size": "big"}, "config.json: hidden_size must be a whole number above 0, got 'big'"),
        ({"model_type": "clip", "vision_config": 3}, "vision_config must be an object, got 3"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_in_a_sentence(tiny_checkpoints, tmp_path, changes, message):
    tiny_checkpoints.save_tiny("vit", tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        _ = make_extractor(f"x={tmp_path}").fingerprint


@torch.inference_mode()
def test_a_half_that_was_saved_alone_gives_the_same(tiny, clip_of, tmp_path):
    whole = transformers.CLIPModel.from_pretrained(tiny("clip"))
    alone = transformers.CLIPVisionModelWithProjection.from_pretrained(tiny("clip"), projection_dim=12)
    assert torch.equal(alone.visual_projection.weight, whole.visual_projection.weight)
    alone.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_bytes((tiny("clip") / "preprocessor_config.json").read_bytes())
    streams = []
    for place in (tiny("clip"), tmp_path):
        extractor = make_extractor(f"x={place}")
        streams += extractor.extract([clip_of(extractor, 2)])
    np.testing.assert_array_equal(streams[0].rows, streams[1].rows)


def test_outputs_that_a_checkpoint_lacks_are_refused_in_a_sentence(tiny, tiny_checkpoints, tmp_path):
    with pytest.raises(InputError, match="this model has no output 'class'; it has projected, pooled"):
        make_extractor(f"x={tiny('siglip')}:output=class")
    bare = tmp_path / "bare"
    tiny_checkpoints.save_tiny("clip_vision_model", bare, architectures=["CLIPVisionModel"])
    assert make_extractor(f"x={bare}").output == "class"
    with pytest.raises(InputError, match="this model has no output 'projected'; it has class, pooled"):
        make_extractor(f"x={bare}:output=projected")
    headless = tmp_path / "headless"
    tiny_checkpoints.save_tiny("siglip_vision_model", headless, vision_use_head=False)
    with pytest.raises(InputError, match="this model has no output 'projected'; it has pooled"):
        make_extractor(f"x={headless}:output=projected")


SHAPES = [(40, 60), (60, 41), (32, 32), (33, 140)]


@pytest.mark.parametrize("output", ["projected", "pooled"])
@torch.inference_mode()
def test_rows_of_siglip2_are_those_of_the_plain_model(tiny, clip_of, output):
    extractor = make_extractor(f"x={tiny('siglip2')}:output={output}")
    model = transformers.Siglip2VisionModel.from_pretrained(tiny("siglip2")).eval()
    assert extractor.parameters["patches"] == 16
    processor = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    clips = [clip_of(extractor, 2, seed, shape) for seed, shape in enumerate(SHAPES)]
    streams = extractor.extract(clips)
    for clip, stream in zip(clips, streams):
        frames = clip.frames[extractor.need].pixels
        ours = extractor.prepare(list(frames))
        their = processor(list(frames), return_tensors="pt")
        assert torch.equal(ours["grid"], their["spatial_shapes"])
        patches = extractor.pixels(model, ours).permute(0, 1, 3, 4, 2).flatten(2)
        real = their["pixel_attention_mask"].bool()
        distance = (patches - their["pixel_values"])[real].abs() * 127.5
        if frames.shape[1] <= frames.shape[2]:  # of tall pictures Pillow 13 scales the height first
            assert distance.max() < 1.01  # levels
        seen = model(patches, their["pixel_attention_mask"], their["spatial_shapes"])
        wanted = seen.pooler_output
        if output == "pooled":
            wanted = torch.stack([states[mask].mean(0) for states, mask in zip(seen.last_hidden_state, real)])
        np.testing.assert_allclose(stream.rows, wanted.numpy(), atol=1e-5)
