"""Which faces are found, which count, and how they are described; laws of every built-in extractor."""

import cv2
import numpy as np
import pytest
import skimage.data

from features.extractors.builtin import face as faces
from features.extractors.builtin.face import (
    Face,
    FaceExtractor,
    confirmed,
    cut,
    describe_face,
    faces_of,
    find_faces,
)
from features.extractors.registry import EXTRACTORS, make_extractor
from features.media.clip import Clip, FrameNeed, Frames, Span
from tests.features.clips import clip_of

COLOURS = slice(16 * 59, 16 * 79)


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return cv2.resize(skimage.data.astronaut(), (240, 240), interpolation=cv2.INTER_AREA)


def test_one_row_a_face_with_its_place_and_texture(portrait):
    plain = np.full_like(portrait, 90)
    still, found_once, none = FaceExtractor().extract(
        [clip_of(FaceExtractor(), *images) for images in ((portrait,), (plain, portrait), (plain,))]
    )
    assert still.rows.shape == (1, 1267)
    np.testing.assert_array_equal(found_once.rows, still.rows)  # beyond doubt, so one frame of two is enough
    assert (still.times, found_once.times) == ([0.0], [1.0])
    assert none is None
    ((face,),) = faces_of(portrait[None])
    row = describe_face(portrait, face)
    assert row[-3:] == pytest.approx([0.44, 0.23, 0.23], abs=0.03)
    np.testing.assert_allclose(np.linalg.norm(row[: 16 * 59].reshape(16, 59), axis=1), 1, atol=1e-6)
    tinted = describe_face(np.ascontiguousarray(portrait[..., ::-1]), face)
    assert np.abs(tinted[COLOURS] - row[COLOURS]).max() > 0.5


def test_cut_repeats_the_frame_at_its_edge_and_a_doubtful_face_needs_a_second_frame():
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, :10] = 200
    patch = cut(image, Face(0, 0, 10, 9), widen=2.0, size=40)
    assert patch.shape == (40, 40, 3)
    assert (patch[:, :25] == 200).all()
    weak, alike, larger, sure = Face(10, 10, 40, 9), Face(60, 20, 50, 8), Face(10, 10, 80, 9), Face(10, 10, 40, 30)
    for kept in ([[weak]], [[weak], [alike]], [[sure], []]):
        assert confirmed(kept) == kept
    assert confirmed([[weak, Face(10, 10, 40, 7)]]) == [[weak]]
    for doubtful in ([[weak], []], [[weak, alike], []], [[weak], [larger]]):
        assert confirmed(doubtful) == [[], []]


def scaled(image: np.ndarray, short: int = 160) -> np.ndarray:
    ratio = short / min(image.shape[:2])
    return cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)


def test_the_astronaut_has_one_face_and_the_mirror_image_the_mirrored_one():
    image = scaled(skimage.data.astronaut())
    ((face,),) = find_faces([image])
    assert face.support >= faces.SUPPORT
    centre = (face.left + face.size / 2, face.top + face.size / 2)
    assert centre == pytest.approx((71, 37), abs=5)
    assert 30 < face.size < 45
    ((mirrored,),) = find_faces([np.ascontiguousarray(image[:, ::-1])])
    assert mirrored.left == pytest.approx(160 - face.left - face.size, abs=4)


@pytest.mark.parametrize("name", ["chelsea", "coffee", "brick", "grass", "page"])
def test_no_face_in_a_cat_a_cup_or_texture(name):
    image = getattr(skimage.data, name)()
    assert find_faces([scaled(image if image.ndim == 3 else np.stack([image] * 3, -1))]) == [[]]
    for size in ((8, 8), (24, 24), (160, 30)):  # tiny and plain
        assert find_faces([np.full((*size, 3), 120, np.uint8)]) == [[]]


@pytest.mark.parametrize("side", [80, 100, 130])
@pytest.mark.parametrize(("left", "top"), [(0, 0), (0, 29), (51, 11), (51, 29), (107, 0), (107, 29)])
def test_a_face_that_drifts_is_found_wherever_it_is_and_however_large(side, left, top):
    head = scaled(skimage.data.astronaut()[:300, 70:370], side)
    images = np.full((3, 160, 240, 3), 90, np.uint8)
    for drift, image in enumerate(images):
        image[top : top + side, left + drift : left + drift + side] = head
    found = [(face, drift) for drift, part in enumerate(find_faces(images)) for face in part]
    assert len(found) >= 2
    for face, drift in found:
        assert face.left + face.size / 2 - left - drift == pytest.approx(0.53 * side, abs=0.06 * side)
        assert face.top + face.size / 2 - top == pytest.approx(0.39 * side, abs=0.06 * side)


def test_a_frame_is_searched_where_its_neighbours_show_a_face(monkeypatch):
    image = scaled(skimage.data.astronaut())
    plain, coarse = np.full_like(image, 90), faces._accepted
    alone = find_faces([image])

    def only_the_first(grey, smallest, largest, grid):
        seen.append(grid)
        return coarse(grey, smallest, largest, grid) if grid == faces._FINE or len(seen) == 1 else np.empty((0, 3))

    for frames, expected in (([image] * 3, alone * 2 + [[]]), ([image, plain], [*alone, []])):
        seen: list[tuple[float, float]] = []
        monkeypatch.setattr(faces, "_accepted", only_the_first)
        assert find_faces(frames) == expected


def clip_for(extractor, seed: int) -> Clip:
    """Two seconds of a portrait that drifts, with a buzz: it has every modality."""
    portrait = cv2.resize(skimage.data.astronaut(), (240, 240), interpolation=cv2.INTER_AREA)
    portrait = np.pad(portrait, ((0, 0), (20, 60), (0, 0)), mode="edge")
    frames, sound = {}, {}
    for need in extractor.needs:
        if isinstance(need, FrameNeed):
            times = need.times(0.0, 2.0)
            images = [np.roll(portrait, round(time * 8) + seed, axis=1) for time in times]
            size = (round(320 * need.size / 240), need.size)
            pixels = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images])
            frames[need] = Frames(pixels=pixels, times=times)
        else:
            time = np.arange(2 * need.rate) / need.rate
            sound[need] = (0.3 * np.sin(2 * np.pi * (300 + 100 * seed) * time)).astype(np.float32)
    span = Span(clip_id=str(seed), video="c.mp4", start_s=0.0, end_s=2.0)
    return Clip(span=span, reader="pyav", frames=frames, sound=sound)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_streams_keep_the_contract(name):
    extractor = make_extractor(name)
    assert extractor.modality == name
    first, second = clip_for(extractor, 0), clip_for(extractor, 1)
    nothing = Clip(span=first.span, reader="pyav")
    streams = extractor.extract([first, nothing, second])
    assert streams[1] is None
    again = [make_extractor(name).extract([clip])[0] for clip in (first, second)]
    for stream, alone in zip(streams[::2], again):
        rows = stream.rows
        np.testing.assert_array_equal(rows, alone.rows)  # batch = one by one, and the same every time
        assert (rows.dtype, rows.shape) == (np.float32, (len(rows), extractor.dim))
        assert np.isfinite(rows).all()
        assert 0.1 < np.abs(rows).max() < 8
        np.testing.assert_allclose(rows.astype(np.float16), rows, atol=4e-3)
        assert stream.times.shape == (len(rows),)
        assert (np.diff(stream.times) >= 0).all()
        assert 0 <= stream.times[0] <= stream.times[-1] <= 2
    assert extractor.extract([]) == []
    assert extractor.fingerprint.dim == extractor.dim
    assert len(extractor.fingerprint.digest) == 12
