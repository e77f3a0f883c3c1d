"""What a worker makes of one file."""

import hashlib
import resource
import sys

import numpy as np
import pytest

import features.job.worker
from features.errors import InputError
from features.extractors.spec import ExtractorSpec
from features.job.config import PrecomputeConfig
from features.job.result import ClipResult, FileTask
from features.job.worker import FileEnd, FileFailure, FileWorker, WorkerSetup


def setup(*streams, **settings):
    specs = tuple(ExtractorSpec(stream) for stream in streams)
    return WorkerSetup(specs=specs, config=PrecomputeConfig(**settings))


@pytest.fixture
def messages(odd_extractors, shared_extractor, media, tmp_path):
    """messages(name, streams, ...) -> what the worker sends about a file, written first unless it exists."""

    def run(name, *streams, frames=10, config=None, **media_settings):
        if not (tmp_path / name).exists():
            media.write(tmp_path / name, [media.plain(number % 18) for number in range(frames)], **media_settings)
        streams = streams or ("odd",)
        return FileWorker(setup(*streams, **(config or {})))(FileTask(tmp_path, name, streams))

    return run


def test_a_file_is_a_clip_with_its_streams(messages, media, tmp_path):
    part, end = messages("a.mp4", "odd", "audio", sounds=[(0.0, media.tone(1.0))])
    assert (part.clip.span.clip_id, part.clip.verdict) == ("a.mp4", "ok")
    assert (part.streams["odd"].rows.shape, part.streams["odd"].rows.dtype) == ((2, 3), np.float16)
    assert part.streams["audio"] is not None
    assert (part.clip.frames, part.clip.sound) == ({}, {})  # no shared extractor wants it
    content = (tmp_path / "a.mp4").read_bytes()
    assert end == FileEnd(len(content), hashlib.sha256(content).hexdigest())
    part, _ = messages("none-.mp4", "odd", "audio")  # no track and no stream are missing
    assert part.streams == {"odd": None, "audio": None}


def test_clips_come_as_they_are_decoded_with_the_frames_of_shared_extractors(messages):
    stream = messages("a.mp4", frames=30, config={"clip_seconds": 1.0})
    assert next(stream).clip.span.clip_id == "a.mp4#t=0,1"  # the file is not at its end
    assert [type(message) for message in stream] == [ClipResult, ClipResult, FileEnd]
    part, _ = messages("bug-.mp4", "odd", "shared")
    assert set(part.streams) == {"odd"}
    (frames,) = part.clip.frames.values()  # of two needs, the shared one
    assert (frames.pixels.shape[1], part.clip.source.video_codec) == (256, "h264")


def test_a_file_is_read_once_whatever_the_number_of_streams(messages, media, monkeypatch):
    read, real = [], features.job.worker.read_clips

    def counted(path, *arguments, **settings):
        read.append(path.name)
        return real(path, *arguments, **settings)

    monkeypatch.setattr(features.job.worker, "read_clips", counted)
    streams = ("appearance", "motion", "audio", "face", "odd", "shared")
    part, _ = messages("a.mp4", *streams, sounds=[(0.0, media.tone(1.0))])
    assert read == ["a.mp4"]
    assert set(part.streams) == {*streams} - {"shared"}


NUMBERS = "its odd extractor gave no (T, 3) finite numbers"
REASONS = {"raise": "RuntimeError: two lines", **dict.fromkeys(("nan", "wide", "huge"), NUMBERS)}
REASONS["untimed"] = "its odd extractor gave no time for each row"


@pytest.mark.parametrize("kind", REASONS)
def test_an_extractor_that_fails_or_breaks_its_promise(messages, kind):
    (failure,) = messages(f"{kind}-.mp4")
    assert isinstance(failure, FileFailure)
    assert failure.reason.startswith(REASONS[kind])
    assert ("odd_extractor.py" in failure.trace) == (kind == "raise")  # a trace of unexpected errors only


@pytest.mark.parametrize("kind", ["hog", "enomem", "cv2memory"])
def test_memory_that_is_used_up_is_no_ordinary_failure(messages, kind, monkeypatch):
    monkeypatch.setattr("odd_extractor.LARGE", 1 << 62)
    with pytest.raises(MemoryError):
        list(messages(f"{kind}-.mp4"))


def test_damage_near_the_limit_of_memory_means_too_little_memory(messages, monkeypatch, media, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    whole = media.write(tmp_path / "whole.mkv", [media.plain(number % 18) for number in range(100)])
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[:-2000])
    assert next(messages("text.mp4")).reason.startswith("not a video")
    assert isinstance([*messages("cut.mkv")][-1], FileEnd)
    for module in (features.job.worker, features.job.process):
        monkeypatch.setattr(module, "came_near", lambda: True)
    for name in ("text.mp4", "cut.mkv"):
        with pytest.raises(MemoryError):
            list(messages(name))
    assert isinstance([*messages("whole.mkv")][-1], FileEnd)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_limit_that_leaves_no_room_is_refused_with_the_least_that_works(monkeypatch):
    threads = []
    monkeypatch.setattr(features.job.worker, "use_one_thread", lambda: threads.append(1))
    with pytest.raises(InputError, match=r"at least --memory [\d.]+, not 0\.01$"):
        setup("audio", memory=0.01)()
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    assert threads == [1]
