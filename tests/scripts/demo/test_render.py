"""Rendered files decode to what their facts say."""

import av
import cv2
import numpy as np
import pytest

from scripts.demo.objects import FPS, FRAMES, HEIGHT, WIDTH
from scripts.demo.render import write_clip
from scripts.demo.sound import RATE
from scripts.demo.world import STILL_FORMS, DemoClip


@pytest.fixture
def render(tmp_path):
    def call(form, **more):
        facts = {"shape": "heart", "colour": "blue", "texture": "checked", "background": "wood"} | more
        facts |= {} if form in STILL_FORMS else {"motion": "bounce"}
        clip = DemoClip(name=f"clip.{form}", split="train", facts=facts, seed=7)
        (tmp_path / "videos").mkdir(exist_ok=True)
        return write_clip(clip, tmp_path / "videos")

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
        pitch = np.fft.rfftfreq(len(wave), 1 / RATE)[np.abs(np.fft.rfft(wave)).argmax()]
        assert pitch == pytest.approx(1900, rel=0.1)


@pytest.mark.parametrize("form", STILL_FORMS)
def test_an_image_is_an_image_and_the_same_seed_gives_the_same_bytes(render, form):
    path = render(form)
    assert cv2.imread(str(path)).shape == (HEIGHT, WIDTH, 3)
    assert path.read_bytes() == render(form).read_bytes()
