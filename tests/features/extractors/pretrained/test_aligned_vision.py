"""Vision halves of models that also read text, against plain transformers."""

import numpy as np
import pytest
import torch
import transformers
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from features.errors import InputError
from features.extractors.registry import make_extractor

KINDS = {
    "clip": ("CLIPModel", "CLIPVisionModel"),
    "metaclip_2": ("MetaClip2Model", "MetaClip2VisionModel"),
    "siglip": ("SiglipModel", "SiglipVisionModel"),
}


def prepared(extractor, clip) -> torch.Tensor:
    """(T, 3, h, w) what the model reads."""
    levels = extractor.prepare(list(clip.frames[extractor.need].pixels))["levels"].float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (extractor.recipe.mean, extractor.recipe.std))
    return (levels / 255 - mean) / std


def rows_of(tiny, clip_of, name: str, output: str):
    extractor = make_extractor(f"x={tiny(name)}:output={output}")
    clip = clip_of(extractor, 4)
    (stream,) = extractor.extract([clip])
    assert stream.rows.shape == (4, extractor.dim)
    return stream.rows, prepared(extractor, clip)


@pytest.mark.parametrize("name", KINDS)
@torch.inference_mode()
def test_projected_rows_are_the_whole_model_s_image_vectors_not_normalised(tiny, clip_of, name):
    rows, pixels = rows_of(tiny, clip_of, name, "projected")
    model = getattr(transformers, KINDS[name][0]).from_pretrained(tiny(name)).eval()
    wanted = model.get_image_features(pixel_values=pixels).pooler_output.numpy()
    np.testing.assert_allclose(rows, wanted, atol=1e-5)
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).min() > 0.01
    words = torch.tensor([[1, 7, 8, 2]])
    both = model(input_ids=words, pixel_values=pixels)
    sentence = both.text_embeds[0].numpy()
    cosine = rows @ sentence / np.linalg.norm(rows, axis=1)
    shown = both.logits_per_image[:, 0] - getattr(model, "logit_bias", torch.tensor(0.0))
    np.testing.assert_allclose(cosine, (shown / model.logit_scale.exp()).numpy(), atol=1e-5)  # zero-shot scores


@pytest.mark.parametrize("name", KINDS)
@torch.inference_mode()
def test_pooled_rows_are_the_patches_mean(tiny, clip_of, name):
    rows, pixels = rows_of(tiny, clip_of, name, "pooled")
    model = getattr(transformers, KINDS[name][1]).from_pretrained(tiny(name)).eval()
    first = 0 if name == "siglip" else 1
    wanted = model(pixel_values=pixels).last_hidden_state[:, first:].mean(1).numpy()
    np.testing.assert_allclose(rows, wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "metaclip_2"])
@torch.inference_mode()
def test_class_rows_are_the_normed_class_token(tiny, clip_of, name):
    rows, pixels = rows_of(tiny, clip_of, name, "class")
    model = getattr(transformers, KINDS[name][1]).from_pretrained(tiny(name)).eval()
    np.testing.assert_allclose(rows, model(pixel_values=pixels).pooler_output.numpy(), atol=1e-5)


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


def test_projected_is_what_one_gets_unasked(tiny):
    for name in ("clip", "clip_vision_model", "metaclip_2", "siglip", "siglip_vision_model", "siglip2"):
        assert make_extractor(f"x={tiny(name)}").output == "projected"


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


def test_what_config_json_leaves_out_is_what_transformers_takes_for_usual(tiny_checkpoints, tmp_path):
    for name, kind in {"clip": "CLIPConfig", "siglip": "SiglipConfig", "metaclip_2": "MetaClip2Config"}.items():
        folder = tmp_path / name
        folder.mkdir()
        tiny_checkpoints.write_json(folder / "config.json", {"model_type": name})
        extractor, usual = make_extractor(f"x={folder}"), getattr(transformers, kind)()
        assert extractor.width == usual.vision_config.hidden_size
        assert extractor.image_size == (usual.vision_config.image_size,) * 2
        assert extractor.dim == getattr(usual, "projection_dim", usual.vision_config.hidden_size)


def test_a_config_that_makes_no_sense_is_refused_in_a_sentence(tiny_checkpoints, tmp_path):
    tiny_checkpoints.save_tiny("clip", tmp_path, vision_config=3)
    with pytest.raises(InputError, match="vision_config must be an object, got 3"):
        make_extractor(f"x={tmp_path}")


SHAPES = [(40, 60), (60, 41), (32, 32), (33, 140)]


def theirs(frames: np.ndarray) -> dict:
    """What transformers' processor makes of frames."""
    processor = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    return processor(list(frames), return_tensors="pt")


@pytest.mark.parametrize("output", ["projected", "pooled"])
@torch.inference_mode()
def test_rows_are_those_of_the_plain_model(tiny, clip_of, output):
    extractor = make_extractor(f"x={tiny('siglip2')}:output={output}")
    model = transformers.Siglip2VisionModel.from_pretrained(tiny("siglip2")).eval()
    clips = [clip_of(extractor, 2, seed, shape) for seed, shape in enumerate(SHAPES)]
    streams = extractor.extract(clips)
    for clip, stream in zip(clips, streams):
        frames = clip.frames[extractor.need].pixels
        ours = extractor.prepare(list(frames))
        their = theirs(frames)
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


def test_frames_are_decoded_at_a_square_picture_s_side(tiny):
    extractor = make_extractor(f"x={tiny('siglip2')}")
    assert extractor.need.size == 32
    assert extractor.parameters["patches"] == 16
