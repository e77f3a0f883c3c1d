"""Frames -> what a vision model reads, compared with transformers' own processors, which work with Pillow."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import (
    get_image_size_for_max_num_patches,
)
from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from features.extractors.pretrained.aligned_vision import grid_of
from features.extractors.pretrained.image_preprocessing import cut_pictures, normalise, resized_shape
from features.extractors.pretrained.images import (
    BICUBIC,
    BILINEAR,
    CLIP_MEAN,
    CLIP_STD,
    HALVES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    NEAREST,
    ImageRecipe,
    read_recipe,
)

VIT = ImageRecipe(resize=(224, 224), crop=None, resample=BILINEAR, mean=HALVES, std=HALVES)
CLIP = ImageRecipe(resize=224, crop=(224, 224), resample=BICUBIC, mean=CLIP_MEAN, std=CLIP_STD)
SIGLIP = ImageRecipe(resize=(224, 224), crop=None, resample=BICUBIC, mean=HALVES, std=HALVES)
VIDEOMAE = ImageRecipe(resize=224, crop=(224, 224), resample=BILINEAR, mean=IMAGENET_MEAN, std=IMAGENET_STD)
THEIRS = [
    (ViTImageProcessorPil, VIT),
    (CLIPImageProcessorPil, CLIP),
    (SiglipImageProcessorPil, SIGLIP),
    (VideoMAEImageProcessorPil, VIDEOMAE),
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
    assert read_recipe(tmp_path, recipe, (224, 224)) == recipe  # what they write is what we take for usual
    wanted = np.asarray(processor(frame, return_tensors="np")["pixel_values"]).reshape(3, 224, 224)
    ours = normalise(cut_pictures([frame], recipe), recipe)[0].numpy()
    levels = np.abs(ours - wanted) * np.array(recipe.std)[:, None, None] * 255
    assert levels.max() < 2.01
    assert (levels > 1.01).mean() < 1e-4  # a few pixels of noise, twice rounded
    assert (levels > 0.01).mean() < 0.02  # nearly all are equal


@pytest.mark.parametrize(("resample", "code"), [(BICUBIC, Image.BICUBIC), (BILINEAR, Image.BILINEAR)])
def test_it_agrees_with_pillow_within_one_level(resample, code):
    recipe = ImageRecipe(resize=97, crop=(81, 96), resample=resample, mean=HALVES, std=HALVES)
    for seed, (height, width) in enumerate([(200, 300), (301, 200), (333, 500), (500, 160)]):
        frame = picture(height, width, seed)
        high, wide = resized_shape(height, width, recipe)
        narrow = Image.fromarray(frame).resize((wide, height), code)  # the width first, as Pillow did up to 12
        resized = np.asarray(narrow.resize((wide, high), code), dtype=int)
        top, left = (high - 81) // 2, (wide - 96) // 2
        ours = cut_pictures([frame], recipe)[0].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(ours - resized[top : top + 81, left : left + 96]).max() <= 1


def test_frames_at_the_short_side_are_not_resized_again():
    frame = picture(224, 300)
    ours = cut_pictures([frame], CLIP)[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(ours, frame[:, 38:262])


def test_a_picture_smaller_than_the_crop_is_laid_on_black():
    recipe = ImageRecipe(resize=None, crop=(10, 12), resample=BICUBIC, mean=HALVES, std=HALVES)
    frame = picture(7, 20)
    made = cut_pictures([frame], recipe)[0].permute(1, 2, 0).numpy()
    theirs = CLIPImageProcessorPil(
        do_resize=False, crop_size={"height": 10, "width": 12}, do_rescale=False, do_normalize=False
    )
    np.testing.assert_array_equal(made, np.moveaxis(theirs(frame, return_tensors="np")["pixel_values"][0], 0, 2))


def test_nearest_takes_pixels_as_they_are():
    recipe = ImageRecipe(resize=(8, 8), crop=None, resample=NEAREST, mean=HALVES, std=HALVES)
    frame = picture(24, 24)
    np.testing.assert_array_equal(cut_pictures([frame], recipe)[0].permute(1, 2, 0).numpy(), frame[1::3, 1::3])


@given(st.lists(st.sampled_from([(40, 50), (50, 40), (32, 32), (33, 90)]), min_size=1, max_size=6))
def test_pictures_of_many_shapes_share_a_batch_in_their_order(shapes):
    recipe = ImageRecipe(resize=32, crop=(32, 32), resample=BICUBIC, mean=HALVES, std=HALVES)
    frames = [picture(*shape, seed) for seed, shape in enumerate(shapes)]
    together = cut_pictures(frames, recipe)
    for frame, made in zip(frames, together):
        assert torch.equal(cut_pictures([frame], recipe)[0], made)


def test_rescaling_and_normalising():
    recipe = ImageRecipe(
        resize=2, crop=(2, 2), resample=BICUBIC, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0), scale=0.5
    )
    levels = torch.full((1, 3, 2, 2), 3, dtype=torch.uint8)
    made = normalise(levels, recipe)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made[0, :, 0, 0], torch.tensor([1.4, 0.65, 0.3]))


@given(st.integers(1, 2000), st.integers(1, 2000), st.sampled_from([8, 14, 16]), st.sampled_from([16, 196, 256]))
def test_grids_of_patches_are_those_of_transformers(height, width, patch, most):
    rows, columns = grid_of(height, width, patch, most)
    assert (rows * patch, columns * patch) == get_image_size_for_max_num_patches(height, width, patch, most)


def test_the_hub_s_own_files_are_read_as_transformers_reads_them(tmp_path):
    """Files in the forms of google/vit-base-patch16-224 and openai/clip-vit-base-patch32."""
    forms = [
        (
            {
                "image_processor_type": "ViTImageProcessor",
                "size": 224,
                "resample": 2,
                "image_mean": [0.5] * 3,
                "image_std": [0.5] * 3,
            },
            VIT,
        ),
        ({"image_processor_type": "CLIPImageProcessor", "size": 224, "crop_size": 224, "resample": 3}, CLIP),
    ]
    frame = picture(260, 333)
    for number, (content, family) in enumerate(forms):
        place = tmp_path / str(number)
        place.mkdir()
        (place / "preprocessor_config.json").write_text(json.dumps(content))
        recipe = read_recipe(place, family, (224, 224), square=family is VIT)
        theirs = AutoImageProcessor.from_pretrained(place, backend="pil")
        wanted = np.asarray(theirs(frame, return_tensors="np")["pixel_values"])
        ours = normalise(cut_pictures([frame], recipe), recipe).numpy()
        assert np.abs(ours - wanted).max() < 1.01 / 255 / min(recipe.std)
