"""How a checkpoint wants its pictures made, in the forms that its files take."""

import json
import logging

import pytest

from features.errors import InputError
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

CLIP = ImageRecipe(resize=224, crop=(224, 224), resample=BICUBIC, mean=CLIP_MEAN, std=CLIP_STD)
VIT = ImageRecipe(resize=(224, 224), crop=None, resample=BILINEAR, mean=HALVES, std=HALVES)


def read(folder, content, family=CLIP, name="preprocessor_config.json", **how):
    (folder / name).write_text(json.dumps(content))
    return read_recipe(folder, family, (224, 224), **how)


def changed(family: ImageRecipe, **changes) -> ImageRecipe:
    return ImageRecipe(**{**family.as_parameters(), **changes})


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
        (
            CLIP,
            {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD},
            {"mean": IMAGENET_MEAN, "std": IMAGENET_STD},
        ),
        (CLIP, {"resample": 2}, {"resample": BILINEAR}),
        (CLIP, {"resample": 0}, {"resample": NEAREST}),
        (CLIP, {"size": None, "crop_size": None, "resample": None, "do_center_crop": None}, {}),
        (VIT, {"size": {"height": 384, "width": 384}}, {"resize": (384, 384)}),
        (VIT, {"do_center_crop": True}, {"crop": (224, 224)}),  # of the model's own size
    ],
)
def test_a_file_changes_what_is_usual_for_the_family(tmp_path, family, content, changes):
    assert read(tmp_path, content, family) == changed(family, **changes)


def test_a_plain_number_means_what_the_family_says(tmp_path):
    assert read(tmp_path, {"size": 384}, VIT, square=True).resize == (384, 384)
    assert read(tmp_path, {"size": 384}, CLIP, square=False).resize == 384


def test_newer_files_hold_it_in_a_part(tmp_path):
    parts = {"image_processor": {"resample": 2}, "video_processor": {"resample": 0}}
    assert read(tmp_path, parts, name="processor_config.json").resample == BILINEAR
    assert read_recipe(tmp_path, CLIP, (224, 224), videos=True).resample == NEAREST


def test_of_files_for_videos_and_for_pictures_the_right_one_counts(tmp_path):
    read(tmp_path, {"resample": 2})
    assert (
        read_recipe(tmp_path, CLIP, (224, 224), videos=True).resample == BILINEAR
    )  # as long as it is the only one
    read(tmp_path, {"resample": 0}, name="video_preprocessor_config.json")
    assert read_recipe(tmp_path, CLIP, (224, 224), videos=True).resample == NEAREST
    assert read_recipe(tmp_path, CLIP, (224, 224)).resample == BILINEAR


def test_without_a_file_the_family_counts_and_the_log_says_so(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert read_recipe(tmp_path, CLIP, (224, 224)) == CLIP
    assert "has no preprocessor file; pictures are made as is usual" in caplog.text


def test_a_filter_that_torch_lacks_is_stood_in_for_and_the_log_says_so(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert read(tmp_path, {"resample": 1}).resample == BICUBIC
    assert "asks for Pillow's filter 1; bicubic stands in for it" in caplog.text


def test_the_short_side_and_the_shape():
    assert (CLIP.short_side, CLIP.shape) == (224, (224, 224))
    assert (VIT.short_side, VIT.shape) == (224, (224, 224))
    wide = changed(VIT, resize=(128, 256))
    assert (wide.short_side, wide.shape) == (128, (128, 256))
    uncut = changed(CLIP, resize=None, crop=(180, 200))
    assert (uncut.short_side, uncut.shape) == (180, (180, 200))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"size": {"longest_edge": 224}},
            "size must be height and width, or shortest_edge, got {'longest_edge': 224}",
        ),
        ({"size": {"shortest_edge": 0}}, "a size must be a whole number of pixels from 1 to 4096, got 0"),
        ({"size": "large"}, "got 'large'"),
        ({"size": 1e9}, "got 1000000000.0"),
        ({"size": [1, 2, 3]}, "cannot be followed"),
        ({"crop_size": {}}, "got None"),
        ({"resample": 9}, "resample must be one of Pillow's codes 0 to 5, got 9"),
        ({"image_mean": [0.5]}, "means and deviations are three numbers"),
        ({"image_mean": 0.5}, "cannot be followed"),
        ({"image_std": [0, 1, 1]}, "image_std must be above 0"),
        (
            {"do_center_crop": False},
            "pictures would keep their shapes and could not share a batch; set do_center_crop",
        ),
        ([], "is damaged: it holds no object"),
    ],
)
def test_files_that_cannot_be_followed_are_refused_in_a_sentence(tmp_path, content, message):
    with pytest.raises(InputError) as raised:
        read(tmp_path, content)
    assert message in str(raised.value)
    assert str(tmp_path) in str(raised.value)
