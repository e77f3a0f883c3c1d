"""The detector: a portrait is found, texture and drawings are not."""

import cv2
import numpy as np
import pytest
import skimage.data

from features.extractors.builtin.face import SUPPORT, find_faces


def scaled(image: np.ndarray, short: int = 160) -> np.ndarray:
    ratio = short / min(image.shape[:2])
    return cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)


def test_the_astronaut_has_one_face():
    (face,) = find_faces(scaled(skimage.data.astronaut()))
    assert face.support >= SUPPORT
    centre = (face.left + face.size / 2, face.top + face.size / 2)
    assert centre == pytest.approx((71, 37), abs=5)
    assert 30 < face.size < 45


def test_the_mirror_image_has_the_mirrored_face():
    image = scaled(skimage.data.astronaut())
    (face,) = find_faces(image)
    (mirrored,) = find_faces(np.ascontiguousarray(image[:, ::-1]))
    assert mirrored.left == pytest.approx(160 - face.left - face.size, abs=4)


@pytest.mark.parametrize("name", ["chelsea", "coffee", "brick", "grass", "page"])
def test_no_face_in_a_cat_a_cup_or_texture(name):
    image = getattr(skimage.data, name)()
    assert find_faces(scaled(image if image.ndim == 3 else np.stack([image] * 3, -1))) == []


@pytest.mark.parametrize("size", [(8, 8), (24, 24), (160, 30)])
def test_tiny_and_plain_images_hold_none(size):
    assert find_faces(np.full((*size, 3), 120, np.uint8)) == []
