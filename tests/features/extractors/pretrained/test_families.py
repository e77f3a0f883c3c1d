"""Rows are those that plain transformers give; each family's defaults, needs and outputs."""

from operator import attrgetter

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from features.errors import InputError
from features.extractors.pretrained.families import FAMILIES
from features.extractors.registry import make_extractor
from features.media.clip import FrameNeed
from tests.features.extractors.pretrained.tiny_checkpoints import change_config, pixels_of, save_tiny, write_json


def first_token(model, pixels):
    return model(pixel_values=pixels).last_hidden_state[:, 0]


def head(model, pixels):
    return model(pixel_values=pixels).pooler_output


def mean_from(first):
    """The mean of patches."""
    return lambda model, pixels: model(pixel_values=pixels).last_hidden_state[:, first:].mean(1)


def image(model, pixels):
    return model.get_image_features(pixel_values=pixels).pooler_output


PAIRS = [
    ("clip", "CLIPModel"),
    ("metaclip_2", "MetaClip2Model"),
    ("siglip", "SiglipModel"),
    ("xclip", "XCLIPModel"),
]
# name, class, the row of a whole picture, the token where its patches begin
TOWERS = [("vit", "ViTModel", first_token, 1), ("dinov3_vit", "DINOv3ViTModel", head, 5)]
TOWERS += [("dinov2", "Dinov2Model", head, 1), ("dinov2_with_registers", "Dinov2WithRegistersModel", head, 5)]
TOWERS += [("clip", "CLIPVisionModel", head, 1), ("metaclip_2", "MetaClip2VisionModel", head, 1)]
FRAMES = [(name, "class", kind, row) for name, kind, row, _ in TOWERS]
FRAMES += [(name, "pooled", kind, mean_from(first)) for name, kind, _, first in TOWERS]
FRAMES += [(name, "projected", kind, image) for name, kind in PAIRS[:3]]
FRAMES += [("vit_classifier", "class", "ViTModel", first_token)]
FRAMES += [("siglip", "pooled", "SiglipVisionModel", mean_from(0))]


def square_clip(extractor, clip_of, count=3):
    (need,) = extractor.needs
    return clip_of(extractor, count, shape=(need.size, need.size))


@pytest.mark.parametrize(("name", "output", "kind", "row"), FRAMES)
@torch.inference_mode()
def test_rows_of_frames(tiny, clip_of, name, output, kind, row):
    extractor = make_extractor(f"x={tiny(name)}:output={output}")
    clip = square_clip(extractor, clip_of)
    (stream,) = extractor.extract([clip])
    model = getattr(transformers, kind).from_pretrained(tiny(name)).eval()
    wanted = row(model, pixels_of(extractor, clip)).numpy()
    np.testing.assert_allclose(stream.rows, wanted, atol=1e-5)
    np.testing.assert_array_equal(stream.times, clip.frames[extractor.needs[0]].times)
    found = stream.rows.dtype, extractor.dim, extractor.modality
    assert found == (np.float32, wanted.shape[1], "appearance")
    assert wanted.std(0).min() > 1e-3  # the frames differ, and so do their rows


def windows_of(extractor, clip) -> torch.Tensor:
    """(W, F, 3, h, w) what the model reads: the middle of the frames, normalised."""
    pixels = pixels_of(extractor, clip)
    return torch.stack([pixels[start : start + 4] for start in (0, 4, 7) if start + 4 <= len(pixels)])


def fine_tuned(model, pixels):
    kept = []
    model.classifier.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    model(pixels)
    return kept[0]  # what its classifier reads


def xclip_pooled(model, pixels):
    states = model.vision_model(pixels.flatten(0, 1)).last_hidden_state[:, 1:]
    return states.unflatten(0, pixels.shape[:2]).mean((1, 2))


WINDOWS = [
    ("videomae", "pooled", "VideoMAEModel", lambda model, pixels: model(pixels).last_hidden_state.mean(1)),
    ("videomae_classifier", "pooled", "VideoMAEForVideoClassification", fine_tuned),
    ("vjepa2", "pooled", "VJEPA2Model", lambda model, pixels: model.get_vision_features(pixels).mean(1)),
    ("xclip", "projected", "XCLIPModel", lambda model, pixels: model.get_video_features(pixels).pooler_output),
    ("xclip", "pooled", "XCLIPModel", xclip_pooled),
]


@pytest.mark.parametrize(("name", "output", "kind", "plain"), WINDOWS)
@torch.inference_mode()
def test_rows_of_windows(tiny, clip_of, name, output, kind, plain):
    extractor = make_extractor(f"x={tiny(name)}:output={output}")
    clip = clip_of(extractor, 11)
    (stream,) = extractor.extract([clip])
    model = getattr(transformers, kind).from_pretrained(tiny(name)).eval()
    wanted = plain(model, windows_of(extractor, clip)).numpy()
    assert (wanted.shape, extractor.modality) == ((3, extractor.dim), "motion")
    np.testing.assert_allclose(stream.rows, wanted, atol=1e-5)
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3
    np.testing.assert_allclose(stream.times, np.array([1.5, 5.5, 8.5]) / extractor.needs[0].fps)


@pytest.mark.parametrize("name", ["videomae", "vjepa2", "xclip"])
def test_a_clip_shorter_than_a_window_repeats_its_last_frame_and_one_frame_has_no_motion(tiny, clip_of, name):
    extractor = make_extractor(f"x={tiny(name)}")
    (need,), clips = extractor.needs, [clip_of(extractor, count) for count in (4, 3, 2, 1, 0)]
    whole, short, pair, *without = extractor.extract(clips)
    assert whole.rows.shape == short.rows.shape == pair.rows.shape == (1, extractor.dim)
    np.testing.assert_allclose(pair.times * need.fps, [0.75])  # frames 0, 1, 1, 1
    assert without == [None, None]
    padded = clip_of(extractor, 4)
    padded.frames[need].pixels[3] = padded.frames[need].pixels[2]
    np.testing.assert_allclose(extractor.extract([padded])[0].rows, short.rows, atol=1e-5)


@pytest.mark.parametrize("output", ["projected", "pooled"])
@torch.inference_mode()
def test_rows_of_patches(tiny, clip_of, output):
    extractor = make_extractor(f"x={tiny('siglip2')}:output={output}")
    model = transformers.Siglip2VisionModel.from_pretrained(tiny("siglip2")).eval()
    assert extractor.parameters["patches"] == 16
    processor = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    shapes = enumerate([(40, 60), (60, 41), (32, 32), (33, 140)])
    clips = [clip_of(extractor, 2, seed, shape) for seed, shape in shapes]
    for clip, stream in zip(clips, extractor.extract(clips)):
        frames = clip.frames[extractor.needs[0]].pixels
        ours, theirs = extractor.inputs.prepare(list(frames)), processor(list(frames), return_tensors="pt")
        assert torch.equal(ours["grid"], theirs["spatial_shapes"])
        patches = extractor.inputs.finish(ours, torch.float32)["pixels"].permute(0, 1, 3, 4, 2).flatten(2)
        real = theirs["pixel_attention_mask"].bool()
        distance = (patches - theirs["pixel_values"])[real].abs() * 127.5
        if frames.shape[1] <= frames.shape[2]:  # of tall pictures Pillow 13 scales the height first
            assert distance.max() < 1.01  # levels
        result = model(patches, theirs["pixel_attention_mask"], theirs["spatial_shapes"])
        means = torch.stack([rows[mask].mean(0) for rows, mask in zip(result.last_hidden_state, real)])
        wanted = means if output == "pooled" else result.pooler_output
        np.testing.assert_allclose(stream.rows, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), PAIRS)
@torch.inference_mode()
def test_projected_rows_are_not_normalised_and_in_the_space_of_the_text(tiny, clip_of, name, kind):
    model = getattr(transformers, kind).from_pretrained(tiny(name)).eval()
    extractor = make_extractor(f"x={tiny(name)}:output=projected")
    clip = square_clip(extractor, clip_of, 4)
    rows = extractor.extract([clip])[0].rows
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.abs(norms - 1).min() > 0.01
    words = torch.tensor([[1, 7, 8, 2]])
    if name == "xclip":
        np.testing.assert_allclose(rows / norms, model(words, windows_of(extractor, clip)).video_embeds, atol=1e-5)
        return
    both = model(input_ids=words, pixel_values=pixels_of(extractor, clip))
    shown = both.logits_per_image[:, 0] - getattr(model, "logit_bias", torch.tensor(0.0))
    cosine = (rows / norms) @ both.text_embeds[0].numpy()
    np.testing.assert_allclose(cosine, (shown / model.logit_scale.exp()).numpy(), atol=1e-5)  # zero-shot scores


WINDOW = {"window": 4, "stride": 4}
NEEDS = [
    ("vit", "", FrameNeed(fps=2, size=32), "class"),
    ("siglip2", "", FrameNeed(fps=2, size=32), "projected"),  # a square picture's side
    ("dinov2", ":fps=0.5", FrameNeed(fps=0.5, size=36), "class"),
    ("videomae", "", FrameNeed(fps=8, size=32, **WINDOW), "pooled"),
    ("videomae", ":fps=7.5,stride=2", FrameNeed(fps=7.5, size=32, window=4, stride=2), "pooled"),
    ("vjepa2", "", FrameNeed(fps=4, size=36, **WINDOW), "pooled"),
    ("vjepa2", ":window=2", FrameNeed(fps=4, size=36, window=2, stride=2), "pooled"),
    ("xclip", "", FrameNeed(fps=2, size=32, **WINDOW), "projected"),
    *((name, "", None, "class") for name in ("dinov2_with_registers", "dinov3_vit")),
    *((name, "", None, "projected") for name in ("clip", "clip_vision_model", "metaclip_2")),
    *((name, "", None, "projected") for name in ("siglip", "siglip_vision_model")),
]


@pytest.mark.parametrize(("name", "options", "need", "output"), NEEDS)
def test_needs_and_default_outputs(tiny, name, options, need, output):
    extractor = make_extractor(f"x={tiny(name)}{options}")
    assert (extractor.needs[0], extractor.output) == (need or extractor.needs[0], output)


# what config.json omits is transformers' default: model_type, class, width, side
PLAIN = {"vit": "ViT", "dinov2": "Dinov2", "dinov2_with_registers": "Dinov2WithRegisters"}
PLAIN |= {"dinov3_vit": "DINOv3ViT", "videomae": "VideoMAE"}
USUAL = [(name, f"{kind}Config", "hidden_size", "image_size") for name, kind in PLAIN.items()]
USUAL += [("vjepa2", "VJEPA2Config", "hidden_size", "crop_size")]
USUAL += [("siglip", "SiglipConfig", "vision_config.hidden_size", "vision_config.image_size")]
USUAL += [
    (name, f"{kind}Config", "projection_dim", "vision_config.image_size")
    for name, kind in {"clip": "CLIP", "metaclip_2": "MetaClip2", "xclip": "XCLIP"}.items()
]


@pytest.mark.parametrize(("name", "kind", "width", "side"), USUAL)
def test_defaults_of_config_json_are_those_of_transformers(tmp_path, name, kind, width, side):
    write_json(tmp_path / "config.json", {"model_type": name})
    extractor, usual = make_extractor(f"x={tmp_path}"), getattr(transformers, kind)()
    assert extractor.dim == attrgetter(width)(usual)
    assert extractor.inputs.recipe.shape == (attrgetter(side)(usual),) * 2
    if name in ("videomae", "xclip"):
        assert extractor.needs[0].window == getattr(usual, "vision_config", usual).num_frames


def test_configs_that_make_no_sense(tmp_path, says_all):
    def make(changes):
        change_config(save_tiny("vit", tmp_path), **changes)
        make_extractor(f"x={tmp_path}")

    clip = {"model_type": "clip", "vision_config": 3}
    says_all(make, [{"image_size": 48}, {"image_size": "big"}, {"hidden_size": "big"}, clip])


def tower_alone(whole, folder):
    model = transformers.CLIPModel.from_pretrained(whole)
    alone = transformers.CLIPVisionModelWithProjection.from_pretrained(whole, projection_dim=12)
    assert torch.equal(alone.visual_projection.weight, model.visual_projection.weight)
    alone.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_bytes((whole / "preprocessor_config.json").read_bytes())


def without_predictor(whole, folder):
    weights = load_file(save_tiny("vjepa2", folder) / "model.safetensors")
    kept = {key: value for key, value in weights.items() if "predictor" not in key}
    save_file(kept, folder / "model.safetensors")


@pytest.mark.parametrize(("name", "save_part"), [("clip", tower_alone), ("vjepa2", without_predictor)])
@torch.inference_mode()
def test_a_vision_tower_saved_without_the_other_parts_gives_the_same(tiny, clip_of, tmp_path, name, save_part):
    save_part(tiny(name), tmp_path)
    extractors = [make_extractor(f"x={place}") for place in (tiny(name), tmp_path)]
    (one,), (other,) = (extractor.extract([clip_of(extractor, 4)]) for extractor in extractors)
    np.testing.assert_array_equal(one.rows, other.rows)


def test_names_match_existing_stores_and_outputs_that_a_checkpoint_lacks(tiny, tmp_path):
    # A name is in every fingerprint.
    names = "ViT Dino Dino3 Clip Siglip Naflex VideoMAE VJepa2 XClip Timesformer Ast Clap Whisper"
    assert {family.name.removesuffix("Extractor") for family in FAMILIES.values()} == {*names.split()}
    bare = save_tiny("clip_vision_model", tmp_path / "bare", architectures=["CLIPVisionModel"])
    headless = save_tiny("siglip_vision_model", tmp_path / "headless", vision_use_head=False)
    assert make_extractor(f"x={bare}").output == "class"
    for place, output, available in (
        (tiny("siglip"), "class", "projected, pooled"),
        (bare, "projected", "class, pooled"),
        (headless, "projected", "pooled"),
    ):
        with pytest.raises(InputError, match=f"no output '{output}'; it has {available}$"):
            make_extractor(f"x={place}:output={output}")
