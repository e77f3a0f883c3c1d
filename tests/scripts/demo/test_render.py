"""Rendered files decode to what their facts say; a second call renders nothing again."""

from __future__ import annotations

import csv
import json

import av
import cv2
import numpy as np
import pytest

from scripts.demo import render
from scripts.demo.facts import DemoClip, Face, Facts
from scripts.demo.picture import FPS, FRAMES, HEIGHT, WIDTH
from scripts.demo.world import make_clips

FACE = Face(glasses=True, beard="moustache", hat=False)


def clip(form: str, sound: str | None = None, face: Face | None = None, seed: int = 7, **looks: str) -> DemoClip:
    look = {"shape": "heart", "colour": "blue", "texture": "checked", "background": "wood"} | looks
    still = form in ("png", "jpg", "webp")
    facts = Facts(**look, motion=None if still else "bounce", sound=sound, face=face)
    return DemoClip(name=f"clip.{form}", split="train", form=form, facts=facts, seed=seed)


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("form", "codecs"), [("mp4", ("h264", "aac")), ("webm", ("vp9", "opus"))])
@pytest.mark.parametrize("sound", [None, "beeps high fast"])
def test_a_video_has_its_tracks(videos, form, codecs, sound):
    name = render.write_clip(clip(form, sound), videos)
    with av.open(str(videos / name)) as container:
        assert container.streams.video[0].codec_context.name.startswith(codecs[0])
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == FRAMES
    assert frames[0].shape == (HEIGHT, WIDTH, 3)
    with av.open(str(videos / name)) as container:
        assert len(container.streams.audio) == (sound is not None)
        if sound:
            assert codecs[1] in container.streams.audio[0].codec_context.name
            wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
            assert len(wave) / render.RATE == pytest.approx(FRAMES / FPS, abs=0.1)
            spectrum = np.abs(np.fft.rfft(wave))
            assert np.fft.rfftfreq(len(wave), 1 / render.RATE)[spectrum.argmax()] == pytest.approx(1900, rel=0.1)


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_an_image_is_an_image(videos, form):
    name = render.write_clip(clip(form), videos)
    pixels = cv2.imread(str(videos / name))
    assert pixels.shape == (HEIGHT, WIDTH, 3)


def faces_in(path) -> int:
    from features.extractors.builtin.face import find_faces  # the demo's own code never looks for faces

    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return len(find_faces(cv2.resize(frame, (252, 160), interpolation=cv2.INTER_AREA)))


def test_a_person_is_found_and_nobody_where_nobody_is(videos):
    assert faces_in(videos / render.write_clip(clip("mp4", face=FACE), videos)) == 1
    assert faces_in(videos / render.write_clip(clip("mp4", background="brick"), videos)) == 0


@pytest.mark.slow
def test_faces_of_the_whole_world(videos):
    wrong = []
    for each in make_clips(0):
        found = faces_in(videos / render.write_clip(each, videos))
        wrong += [each] * (found != (each.facts.face is not None))
    assert len(wrong) <= 4


@pytest.fixture
def small_world(monkeypatch):
    clips = [clip for clip in make_clips(0) if clip.form in ("png", "webp")]
    monkeypatch.setattr(render, "make_clips", lambda seed: clips[: 2 + seed])
    monkeypatch.setattr(render, "make_captions", lambda clips, seed: [])


def test_what_is_there_is_not_rendered_again(small_world, tmp_path):
    heard: list[str] = []
    render.render_world(tmp_path, 0, 1, heard.append)
    kept, lost = (tmp_path / "videos" / name for name in sorted(heard))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    render.render_world(tmp_path, 0, 1, heard.append)
    assert kept.stat().st_mtime_ns == before
    assert lost.exists()
    assert len(heard) == 4
    assert not list(tmp_path.rglob("*.part"))
    rows = [json.loads(line) for line in (tmp_path / "facts.jsonl").read_text().splitlines()]
    assert {row["video_id"] for row in rows} == {kept.name, lost.name}
    with (tmp_path / "captions.csv").open(newline="") as table:
        assert next(csv.reader(table)) == ["video_id", "caption", "split"]


def test_files_of_another_seed_do_not_stay(small_world, tmp_path, monkeypatch):
    render.render_world(tmp_path, 1, 1)
    old = {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()}
    monkeypatch.setattr(render, "VERSION", render.VERSION + 1)
    render.render_world(tmp_path, 1, 1)
    assert all(path.stat().st_mtime_ns > time for path, time in old.items())
