"""What a worker makes of one file."""

import hashlib
import resource
import sys

import numpy as np
import pytest

import features.job.worker
from features.errors import InputError, MediaError
from features.extractors.spec import ExtractorSpec
from features.job.config import PrecomputeConfig
from features.job.process import WornOut
from features.job.worker import ClipPart, FileEnd, FileTask, FileWorker, WorkerSetup


def setup(*streams, **settings):
    return WorkerSetup(
        specs=tuple(ExtractorSpec(stream) for stream in streams), config=PrecomputeConfig(**settings)
    )


@pytest.fixture
def messages(odd_extractors, shared_extractor, media, tmp_path):
    """messages(name, streams, ...) -> what the worker sends about a file that is written first."""

    def run(name, *streams, frames=10, config=None, **media_settings):
        media.write(tmp_path / name, [media.plain(number) for number in range(frames)], **media_settings)
        streams = streams or ("odd",)
        worker = FileWorker(setup(*streams, **(config or {})))
        return worker.messages(FileTask(tmp_path, name, streams))

    return run


@pytest.fixture
def records(messages):
    def run(*arguments, **settings):
        *parts, end = messages(*arguments, **settings)
        assert end.clips == len(parts)
        return [part.record for part in parts]

    return run


def test_a_file_is_a_clip_with_its_streams(messages, media, tmp_path):
    part, end = messages("a.mp4", "odd", "audio", sounds=[(0.0, media.tone(1.0))])
    record = part.record
    assert (record.clip_id, record.video, record.verdict) == ("a.mp4", "a.mp4", "ok")
    assert record.streams["odd"].shape == (2, 3)
    assert record.streams["odd"].dtype == np.float16
    assert record.streams["audio"] is not None
    assert record.file_bytes == (tmp_path / "a.mp4").stat().st_size
    assert part.clip is None  # no shared extractor wants it
    assert end == FileEnd(1, hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest())


def test_clips_come_as_they_are_decoded(messages):
    stream = messages("a.mp4", frames=30, config={"clip_seconds": 1.0})
    assert next(stream).record.clip_id == "a.mp4#t=0,1"  # the file is not at its end
    assert [type(message) for message in stream] == [ClipPart, ClipPart, FileEnd]


def test_no_track_and_no_answer_are_missing(records):
    (record,) = records("none-.mp4", "odd", "audio")
    assert record.streams == {"odd": None, "audio": None}
    assert record.times == {}


@pytest.mark.parametrize("kind", ["nan", "wide", "huge", "untimed"])
def test_numbers_that_break_the_promise_are_refused(records, kind):
    with pytest.raises(MediaError, match=r"its odd extractor gave no (\(T, 3\) finite numbers|time for each row)"):
        records(f"{kind}-.mp4")


def test_shared_streams_are_left_to_the_main_process(messages):
    part, _ = messages("bug-.mp4", "odd", "shared")
    assert set(part.record.streams) == set(part.record.times) == {"odd"}
    (frames,) = part.clip.frames.values()  # of two needs, the shared one
    assert frames.pixels.shape[1] == 256
    assert part.clip.source == part.record.source


def test_a_file_is_opened_by_its_reader_once_whatever_the_number_of_streams(messages, media, monkeypatch):
    read = []

    def open_reader(name, path):
        reader = real(name, path)

        class Counting:
            def read(self, *arguments):
                read.append(arguments[0].name)
                return reader.read(*arguments)

        return Counting()

    real = features.job.worker.open_reader
    monkeypatch.setattr(features.job.worker, "open_reader", open_reader)
    streams = ("appearance", "motion", "audio", "face", "odd", "shared")
    part, _ = messages("a.mp4", *streams, sounds=[(0.0, media.tone(1.0))])
    assert read == ["a.mp4"]
    assert set(part.record.streams) == {*streams} - {"shared"}


# ---- what goes wrong


@pytest.fixture
def failure(odd_extractors, media, tmp_path):
    def run(name):
        if "-" in name:
            media.write(tmp_path / name, [media.plain(number) for number in range(4)])
        *_, last = FileWorker(setup("odd"))(FileTask(tmp_path, name, ("odd",)))
        return last

    return run


def test_a_mistake_of_an_extractor_comes_with_its_trace(failure):
    made = failure("raise-.mp4")
    assert made.reason == "RuntimeError: two lines"
    assert "odd_extractor.py" in made.trace


@pytest.mark.parametrize("kind", ["hog", "enomem", "cv2memory"])
def test_memory_that_is_used_up_is_no_ordinary_failure(failure, kind, monkeypatch):
    monkeypatch.setattr("odd_extractor.LARGE", 1 << 62)
    with pytest.raises(MemoryError):
        failure(f"{kind}-.mp4")


def test_damage_near_the_limit_of_memory_is_want_of_memory(failure, monkeypatch, media, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    whole = media.write(tmp_path / "whole.mp4", [media.plain(number % 18) for number in range(100)])
    (tmp_path / "cut.mkv").write_bytes(
        media.write(tmp_path / "w.mkv", [media.plain(number % 18) for number in range(100)]).read_bytes()[:-2000]
    )
    assert failure("text.mp4").reason.startswith("not a video")
    assert isinstance(failure("cut.mkv"), FileEnd)
    monkeypatch.setattr(features.job.worker, "came_near", lambda: True)
    for name in ("text.mp4", "cut.mkv"):
        with pytest.raises(MemoryError):
            failure(name)
    with pytest.raises(WornOut):  # after the last message
        failure(whole.name)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_limit_that_leaves_no_room_is_refused_with_the_least_that_works(monkeypatch):
    threads = []
    monkeypatch.setattr(features.job.worker, "use_one_thread", lambda: threads.append(1))
    with pytest.raises(InputError, match=r"at least --memory [\d.]+, not 0\.01$"):
        setup("audio", memory=0.01)()
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    assert threads == [1]
