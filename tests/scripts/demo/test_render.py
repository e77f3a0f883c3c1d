"""What the demo's files show and sound like, measured on frames, paths, waves and decoded files."""

from itertools import pairwise

import av
import cv2
import numpy as np
import pytest

from scripts.demo.drawing import FPS, FRAMES, HEIGHT, WIDTH, draw_frames, poses
from scripts.demo.render import RATE, synthesise, write_clip
from scripts.demo.world import STILL_FORMS, VALUES, DemoClip

SECONDS = 2.75


def grey_frames(motion):
    facts = {"shape": "star", "colour": "red", "texture": "checked", "background": "white", "motion": motion}
    clip = DemoClip(name="clip.mp4", split="train", facts=facts, seed=1)
    return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in draw_frames(clip)]


def path(motion, seed=0):
    return poses(motion, WIDTH / 2, 60, np.random.default_rng(seed))


def mean_flow(motion):
    """Median over frames of the object's mean flow, (x, y) pixels a frame."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pairs = pairwise(grey_frames(motion)[10:20])
    return np.median([flow.calc(one, two, None)[one < 200].mean(0) for one, two in pairs], axis=0)


@pytest.mark.parametrize(
    ("way", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)]
)
def test_straight_motion_goes_its_way_at_its_speed(way, axis, sign):
    slow, fast = mean_flow(f"{way} slow"), mean_flow(f"{way} fast")
    assert slow[axis] * sign > 2
    assert fast[axis] * sign > 2 * slow[axis] * sign
    assert abs(slow[1 - axis]) < 1


def test_turns_are_clockwise_as_seen():
    one, two = grey_frames("spin clockwise")[:2]
    centre = [float(places.mean()) for places in np.nonzero(one < 150)][::-1]
    back, on = (cv2.getRotationMatrix2D(centre, -turn, 1) for turn in (-8, 8))
    turned = (cv2.warpAffine(one, matrix, one.shape[::-1], borderValue=240) for matrix in (back, on))
    backward, forward = (np.abs(each.astype(int) - two).mean() for each in turned)
    assert forward < 0.8 * backward
    for how, sign in (("clockwise", 1), ("anticlockwise", -1)):
        x, y = (path(f"circle {how}") - path(f"circle {how}").mean(0))[:24, :2].T
        assert np.median(np.diff(np.unwrap(np.arctan2(y, x)))) * sign > 0.1  # y runs downward


@pytest.mark.parametrize(("motion", "sign"), [("grow", 1), ("shrink", -1)])
def test_size_changes(motion, sign):
    size = path(motion)[::sign, 3]
    assert (np.diff(size) > 0).all()
    assert size[-1] / size[0] > 2.5


@pytest.mark.parametrize("motion", VALUES["motion"])
def test_every_motion_moves_and_is_different(motion):
    assert path(motion).shape == (FRAMES, 4)
    assert np.ptp(path(motion), axis=0).max() > 0.5
    assert sum(np.allclose(path(motion), path(other)) for other in VALUES["motion"]) == 1


def wave_of(sound, seed=0):
    return synthesise(sound, SECONDS, np.random.default_rng(seed))


def pitch(wave):
    return float(np.fft.rfftfreq(len(wave), 1 / RATE)[np.abs(np.fft.rfft(wave)).argmax()])


def strokes(wave):
    """Strokes a second: how often loudness rises through a third of its greatest value."""
    block = RATE // 50
    loudness = np.abs(wave[: len(wave) // block * block]).reshape(-1, block).mean(1)
    return int((np.diff((loudness > loudness.max() / 3).astype(int)) == 1).sum()) / SECONDS


@pytest.mark.parametrize("sound", VALUES["sound"])
def test_every_sound_is_audible_and_not_clipped(sound):
    wave = wave_of(sound)
    assert wave.shape == (round(SECONDS * RATE),)
    assert 0.4 < np.abs(wave).max() < 0.8
    assert np.sqrt((wave**2).mean()) > 0.01
    assert np.array_equal(wave, wave_of(sound))


@pytest.mark.parametrize("seed", range(3))
def test_pitch_rate_and_direction(seed):
    for sound, hz in (("tone low", 150), ("tone high", 3100), ("beeps low fast", 330), ("beeps high slow", 1900)):
        assert pitch(wave_of(sound, seed)) == pytest.approx(hz, rel=0.1)
    for kind in ("beeps low", "beeps high", "drum", "clicks"):
        assert strokes(wave_of(f"{kind} slow", seed)) == pytest.approx(1.8, abs=0.9)
        assert 5 < strokes(wave_of(f"{kind} fast", seed)) < 9.5
    for word, sign in (("rising", 1), ("falling", -1)):
        first, *_, last = np.array_split(wave_of(f"whistle {word}", seed), 3)
        assert sign * (pitch(last) - pitch(first)) > 500


@pytest.fixture
def render(tmp_path):
    def call(form, **more):
        facts = {"shape": "heart", "colour": "blue", "texture": "checked", "background": "wood"} | more
        facts |= {} if form in STILL_FORMS else {"motion": "bounce"}
        (tmp_path / "videos").mkdir(exist_ok=True)
        clip = DemoClip(name=f"clip.{form}", split="train", facts=facts, seed=7)
        return next(write_clip((clip, tmp_path / "videos")))

    return call


@pytest.mark.parametrize(("form", "codecs"), [("mp4", ("h264", "aac")), ("webm", ("vp9", "opus"))])
@pytest.mark.parametrize("sound", [{}, {"sound": "beeps high fast"}])
def test_a_video_has_its_tracks(render, form, codecs, sound):
    with av.open(str(render(form, **sound))) as container:
        streams = [stream.codec_context.name for stream in container.streams]
        frames = [frame.to_ndarray() for frame in container.decode()]
    assert all(codec in name for codec, name in zip(codecs[: 1 + len(sound)], streams, strict=True))
    assert sum(frame.shape == (HEIGHT * 3 // 2, WIDTH) for frame in frames) == FRAMES  # yuv420
    if sound:
        wave = np.concatenate([frame[0] for frame in frames if frame.dtype == np.float32])
        assert len(wave) / RATE == pytest.approx(FRAMES / FPS, abs=0.1)
        assert pitch(wave) == pytest.approx(1900, rel=0.1)


@pytest.mark.parametrize("form", STILL_FORMS)
def test_an_image_is_an_image_and_the_same_seed_gives_the_same_bytes(render, form):
    path = render(form)
    assert cv2.imread(str(path)).shape == (HEIGHT, WIDTH, 3)
    assert path.read_bytes() == render(form).read_bytes()
