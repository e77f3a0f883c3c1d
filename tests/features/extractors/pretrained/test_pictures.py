"""How a checkpoint wants its pictures, and how they are made: as transformers' own processors do, with Pillow."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import get_image_size_for_max_num_patches
from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from features.extractors.pretrained import recipe as recipes
from features.extractors.pretrained.image_preprocessing import cut_pictures, grid_of, normalise, resized_shape
from features.extractors.pretrained.recipe import BICUBIC, BILINEAR, NEAREST, ImageRecipe, follow
from features.extractors.registry import make_extractor

CLIP = recipes.cropped(BICUBIC, recipes.CLIP)((224, 224))
VIT = recipes.squeezed(BILINEAR, recipes.HALVES)((224, 224))
HALF = recipes.HALVES[0]


@pytest.mark.parametrize(
    ("family", "content", "changes"),
    [
        (CLIP, {}, {}),
        (CLIP, {"size": 336, "crop_size": 336}, {"resize": 336, "crop": (336, 336)}),
        (CLIP, {"size": {"shortest_edge": 256}}, {"resize": 256}),
        (CLIP, {"size": {"height": 256, "width": 320}}, {"resize": (256, 320)}),
        (CLIP, {"size": [256, 320]}, {"resize": (256, 320)}),
        (CLIP, {"crop_size": {"height": 200, "width": 180}}, {"crop": (200, 180)}),
        (CLIP, {"crop_size": {"shortest_edge": 200}}, {"crop": (200, 200)}),
        (CLIP, {"do_center_crop": False, "size": {"height": 9, "width": 9}}, {"crop": None, "resize": (9, 9)}),
        (CLIP, {"do_resize": False}, {"resize": None}),
        (CLIP, {"do_rescale": False}, {"scale": 1.0}),
        (CLIP, {"rescale_factor": 0.5}, {"scale": 0.5}),
        (CLIP, {"do_normalize": False}, {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}),
        (CLIP, {"image_mean": recipes.IMAGENET[0]}, {"mean": recipes.IMAGENET[0]}),
        (CLIP, {"image_std": recipes.IMAGENET[1]}, {"std": recipes.IMAGENET[1]}),
        (CLIP, {"resample": 2}, {"resample": BILINEAR}),
        (CLIP, {"resample": 0}, {"resample": NEAREST}),
        (CLIP, {"size": None, "crop_size": None, "resample": None, "do_center_crop": None}, {}),
        (VIT, {"size": {"height": 384, "width": 384}}, {"resize": (384, 384)}),
        (VIT, {"do_center_crop": True}, {"crop": (224, 224)}),  # of the model's own size
    ],
)
def test_a_file_changes_what_is_usual_for_the_family(family, content, changes):
    assert follow(content, family, (224, 224)) == replace(family, **changes)


@pytest.fixture
def recipe_of(tmp_path):
    """recipe_of("clip", {name: content}): the recipe of a checkpoint with these files beside its config.json."""

    def make(kind, files):
        for name, content in {"config": {"model_type": kind}, **files}.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return make_extractor(f"x={tmp_path}").inputs.recipe

    return make


PARTS = {"image_processor": {"resample": 2}, "video_processor": {"resample": 0}}
BOTH = {"preprocessor_config": {"resample": 2}, "video_preprocessor_config": {"resample": 0}}


@pytest.mark.parametrize(
    ("kind", "files", "resample"),
    [
        ("clip", {"processor_config": PARTS}, BILINEAR),  # newer files hold it in a part
        ("videomae", {"processor_config": PARTS}, NEAREST),
        ("videomae", {"preprocessor_config": {"resample": 3}}, BICUBIC),  # the only file
        ("videomae", {"video_preprocessor_config": {"resample": 0}}, NEAREST),
        ("clip", {"video_preprocessor_config": {"resample": 0}}, BICUBIC),
        ("clip", BOTH, BILINEAR),
        ("videomae", BOTH, NEAREST),
    ],
)
def test_which_file_and_which_part_of_it_is_used(recipe_of, kind, files, resample):
    assert recipe_of(kind, files).resample == resample


def test_without_a_file_the_usual_recipe_is_used_and_logged(recipe_of, caplog):
    with caplog.at_level(logging.INFO):
        assert recipe_of("clip", {}) == CLIP
        assert recipe_of("vit", {}) == VIT
    assert "has no preprocessor file" in caplog.text


def test_the_usual_recipe_its_sizes_and_what_a_plain_number_means(caplog):
    wide, uncut = replace(VIT, resize=(128, 256)), replace(CLIP, resize=None, crop=(180, 200))
    sizes = [(recipe.short_side, recipe.shape) for recipe in (CLIP, VIT, wide, uncut)]
    assert sizes == [(224, (224, 224)), (224, (224, 224)), (128, (128, 256)), (180, (180, 200))]
    assert follow({"size": 384}, VIT, (224, 224), square=True).resize == (384, 384)
    assert follow({"size": 384}, CLIP, (224, 224)).resize == 384
    with caplog.at_level(logging.INFO):
        assert follow({"resample": 1}, VIT, (224, 224)).resample == BICUBIC
    assert "Pillow's filter 1; bicubic is used instead" in caplog.text
    colours = {"mean": (0.1, 0.2, 0.3), "std": (1.0, 2.0, 4.0), "scale": 0.5}
    recipe = ImageRecipe(resize=2, crop=(2, 2), resample=BICUBIC, **colours)
    made = normalise(torch.full((1, 3, 2, 2), 3, dtype=torch.uint8), recipe)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made[0, :, 0, 0], torch.tensor([1.4, 0.65, 0.3]))


def test_files_that_cannot_be_followed(recipe_of, says_all):
    sizes = ({"longest_edge": 224}, {"shortest_edge": 0}, "large", 1e9, [1, 2, 3])
    contents = [*({"size": size} for size in sizes), {"crop_size": {}}, {"resample": 9}, {"image_mean": [0.5]}]
    contents += [{"image_mean": 0.5}, {"image_std": [0, 1, 1]}, {"do_center_crop": False}, []]
    says_all(lambda content: recipe_of("clip", {"preprocessor_config": content}), contents)


THEIRS = [
    (ViTImageProcessorPil, VIT),
    (CLIPImageProcessorPil, CLIP),
    (SiglipImageProcessorPil, recipes.squeezed(BICUBIC, recipes.HALVES)((224, 224))),
    (VideoMAEImageProcessorPil, recipes.cropped(BILINEAR, recipes.IMAGENET)((224, 224))),
]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Soft colours, hard edges and noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    soft = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], 2)
    soft[(x // 9 + y // 7) % 2 == 0] *= 0.3
    return np.clip(soft + random.normal(0, 20, soft.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(300, 400), (301, 333), (224, 399), (90, 120), (224, 224), (1080, 1921)])
@pytest.mark.parametrize(("theirs", "recipe"), THEIRS)
def test_it_agrees_with_transformers_within_one_level(theirs, recipe, shape, tmp_path):
    """Wide frames: of tall ones Pillow 13 scales the height first, and clips in between where we do not."""
    frame = picture(*shape)
    processor = theirs(image_mean=recipe.mean, image_std=recipe.std)
    processor.save_pretrained(tmp_path)
    file = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert follow(file, recipe, (224, 224)) == recipe  # what they write is our default
    wanted = np.asarray(processor(frame, return_tensors="np")["pixel_values"]).reshape(3, 224, 224)
    ours = normalise(cut_pictures([frame], recipe), recipe)[0].numpy()
    levels = np.abs(ours - wanted) * np.array(recipe.std)[:, None, None] * 255
    assert levels.max() < 2.01
    assert (levels > 1.01).mean() < 1e-4  # a few pixels of noise, twice rounded
    assert (levels > 0.01).mean() < 0.02  # nearly all are equal


@pytest.mark.parametrize(("resample", "code"), [(BICUBIC, Image.BICUBIC), (BILINEAR, Image.BILINEAR)])
def test_it_agrees_with_pillow_within_one_level(resample, code):
    recipe = ImageRecipe(resize=97, crop=(81, 96), resample=resample, mean=HALF, std=HALF)
    for seed, (height, width) in enumerate([(200, 300), (301, 200), (333, 500), (500, 160)]):
        frame = picture(height, width, seed)
        high, wide = resized_shape(height, width, recipe)
        narrow = Image.fromarray(frame).resize((wide, height), code)  # the width first, as Pillow did up to 12
        resized = np.asarray(narrow.resize((wide, high), code), dtype=int)
        top, left = (high - 81) // 2, (wide - 96) // 2
        ours = cut_pictures([frame], recipe)[0].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(ours - resized[top : top + 81, left : left + 96]).max() <= 1


def test_a_picture_smaller_than_the_crop_is_put_on_black_and_nearest_takes_pixels_as_they_are():
    def cut(frame, **settings):
        recipe = ImageRecipe(**settings, mean=HALF, std=HALF)
        return cut_pictures([frame], recipe)[0].permute(1, 2, 0).numpy()

    frame, size = picture(7, 20), {"height": 10, "width": 12}
    theirs = CLIPImageProcessorPil(do_resize=False, crop_size=size, do_rescale=False, do_normalize=False)
    wanted = np.moveaxis(theirs(frame, return_tensors="np")["pixel_values"][0], 0, 2)
    np.testing.assert_array_equal(cut(frame, resize=None, crop=(10, 12), resample=BICUBIC), wanted)
    frame = picture(24, 24)
    np.testing.assert_array_equal(cut(frame, resize=(8, 8), crop=None, resample=NEAREST), frame[1::3, 1::3])


@given(st.lists(st.sampled_from([(40, 50), (50, 40), (32, 32), (33, 90)]), min_size=1, max_size=6))
def test_pictures_of_many_shapes_share_a_batch_in_their_order(shapes):
    recipe = ImageRecipe(resize=32, crop=(32, 32), resample=BICUBIC, mean=HALF, std=HALF)
    frames = [picture(*shape, seed) for seed, shape in enumerate(shapes)]
    together = cut_pictures(frames, recipe)
    for frame, made in zip(frames, together):
        assert torch.equal(cut_pictures([frame], recipe)[0], made)


@given(st.integers(1, 2000), st.integers(1, 2000), st.sampled_from([8, 14, 16]), st.sampled_from([16, 196, 256]))
def test_grids_of_patches_are_those_of_transformers(height, width, patch, most):
    rows, columns = grid_of(height, width, patch, most)
    assert (rows * patch, columns * patch) == get_image_size_for_max_num_patches(height, width, patch, most)
