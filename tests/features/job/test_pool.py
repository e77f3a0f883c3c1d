"""Workers, real processes here: what one makes of a file, and the pool, in which a task ends or is lost."""

import hashlib
import os
import resource
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

import features.job.pool
import features.job.worker
from features.errors import InputError
from features.extractors.spec import ExtractorSpec
from features.job.config import PrecomputeConfig
from features.job.pool import Idle, Lost, Received, WorkerPool
from features.job.result import ClipResult, FileTask
from features.job.worker import FileEnd, FileFailure, FileWorker, WorkerSetup
from features.media.library import stamp_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def run(pool_work):
    """run(tasks) -> messages by task, and losses by task, as (how, exit code)."""

    def call(*tasks, workers=2, timeout=60.0, start=pool_work.start, on_event=lambda event, pool: None):
        told, lost = defaultdict(list), {}
        with WorkerPool(start, workers, timeout) as pool:
            for task in tasks:
                pool.submit(task)
            for event in pool.events():
                on_event(event, pool)
                match event:
                    case Received(task, message):
                        assert task not in lost
                        told[task].append(message)
                    case Lost(task, how, code):
                        assert task not in lost
                        lost[task] = (how, code)
            processes = [worker.process for worker in pool._workers]
        assert pool._workers == []
        assert all(process._closed for process in processes)
        return dict(told), lost

    return call


def test_messages_come_in_order_and_without_tasks_there_is_no_worker(run, monkeypatch):
    tasks = [("say", number, "a", "b") for number in range(20)]
    messages = {task: list(task[1:]) for task in tasks} | {("large", 3): [(n, bytes(4 << 20)) for n in range(3)]}
    assert run(*messages, workers=3) == (messages, {})
    monkeypatch.setattr(features.job.pool, "_Worker", None)
    assert run() == ({}, {})
    refuse = Mock(side_effect=BlockingIOError(11, "Resource temporarily unavailable"))
    monkeypatch.setattr(features.job.pool, "_Worker", refuse)
    with pytest.raises(InputError, match=r"no worker process can be started .*temporarily unavailable.*--workers"):
        run(("say", 1))


def test_a_worker_that_ends_loses_its_task_only_which_can_be_submitted_again(run):
    bad = [("exit",), ("segfault",), ("memory",), ("bug",)]
    good = [("say", number) for number in range(8)]
    told, lost = run(*(task for pair in zip(good, bad) for task in pair), *good[4:])
    crashes = {("exit",): ("crashed", 7), ("segfault",): ("crashed", -signal.SIGSEGV), ("bug",): ("crashed", 1)}
    assert lost == crashes | {("memory",): ("out of memory", 0)}
    assert {task: told[task] for task in good} == {task: [task[1]] for task in good}
    assert told[("exit",)] == told[("memory",)] == ["before"]  # messages sent before the end arrive

    def again(event, pool):
        if isinstance(event, Lost) and event.task == ("exit",):
            pool.submit(("say", "again"))

    told, lost = run(("exit",), ("say", 1), workers=1, on_event=again)
    assert list(lost) == [("exit",)]
    assert list(told) == [("exit",), ("say", 1), ("say", "again")]  # at the end


def test_a_worker_that_hangs_is_killed_and_idle_events_come_meanwhile(run, monkeypatch):
    monkeypatch.setattr(features.job.pool, "TICK_S", 0.1)
    idle = []
    tasks = ("hang",), ("spin",), ("say", 1), ("say", 2)
    told, lost = run(*tasks, timeout=1.5, on_event=lambda event, _: idle.append(isinstance(event, Idle)))
    assert lost == {("hang",): ("timed out", 0), ("spin",): ("timed out", 0)}
    assert told == {("hang",): ["before"], ("say", 1): [1], ("say", 2): [2]}
    assert sum(idle) >= 5


def test_a_worker_waits_for_a_slow_consumer_and_that_time_does_not_count(run, tmp_path):
    def slow(event, pool):
        if isinstance(event, Received):
            time.sleep(0.5)

    told, lost = run(("large", 3), ("large", 4), timeout=1.0, on_event=slow)  # 3.5 s in all
    assert lost == {}
    assert {task: len(messages) for task, messages in told.items()} == {("large", 3): 3, ("large", 4): 4}
    marks, seen = tmp_path / "marks", []

    def slow(event, pool):
        if isinstance(event, Received) and event.message == 0:
            time.sleep(1.5)  # time enough to make all ten, if nothing blocked it
            seen.append(marks.stat().st_size)

    told, _ = run(("count", 10, str(marks)), workers=1, on_event=slow)
    assert seen == [1]
    assert len(told[("count", 10, str(marks))]) == 20


@linux
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_ends_or_freezes_in_the_middle_of_a_message_spoils_nothing(run, monkeypatch, end):
    monkeypatch.setattr(features.job.pool, "MESSAGE_S", 0.5)

    def stop(event, pool):
        if isinstance(event, Received) and event.task[0] == "large-once" and isinstance(event.message, int):
            (worker,) = (worker for worker in pool._workers if worker.process.pid == event.message)
            while not worker.connection.poll():  # the first bytes of 64 MB are in the pipe: the others do not fit
                time.sleep(0.01)
            os.kill(event.message, end)

    good = [("say", number) for number in range(6)]
    told, lost = run(good[0], ("large-once",), *good[1:], on_event=stop)
    assert lost == {("large-once",): ("crashed", -signal.SIGKILL)}
    assert len(told.pop(("large-once",))) == 1
    assert told == {task: [task[1]] for task in good}


@pytest.mark.parametrize(("kind", "tasks"), [("pid", [2, 2, 1]), ("worn", [1, 1, 1, 1, 1])])
def test_workers_are_recycled_after_some_tasks_or_near_their_memory_limit(run, monkeypatch, kind, tasks):
    monkeypatch.setattr(features.job.pool, "TASKS_A_WORKER", 2)
    told, lost = run(*((kind, number) for number in range(5)), workers=1)
    pids = [message for messages in told.values() for message in messages]
    assert lost == {}
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == tasks


def test_workers_have_one_thread_and_block_stop_signals_and_may_print(run, capfd):
    before = {name: os.environ.get(name) for name in features.job.pool.VARIABLES}
    told, _ = run(("threads",), ("signals",), ("print",))
    assert told[("threads",)] == [("1", "1")]
    assert {signal.SIGINT, signal.SIGTERM} <= set(told[("signals",)][0])
    assert {name: os.environ.get(name) for name in before} == before
    assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert told[("print",)] == ["printed"]
    assert capfd.readouterr() == ("", "a decoder says something\n")


EARLY = "the worker processes end before they read a file "
STARTS = [
    ("dies", EARLY + r"\(exit code 5\); give them more memory"),
    ("has_no_memory", EARLY + r"\(MemoryError\)"),
]
STARTS += [("refuses", "^give it at least --memory 2.0, not 0.1$")]


@pytest.mark.parametrize(("start", "says"), STARTS)
def test_workers_that_cannot_start_end_the_job_with_a_sentence(run, pool_work, start, says):
    with pytest.raises(InputError, match=says):
        run(*(("hang", number) for number in range(9)), start=getattr(pool_work, start))


@linux
def test_whatever_ends_the_job_no_worker_lives_on(run):
    pids = []

    def stop(event, pool):
        if isinstance(event, Received):
            pids.extend(worker.process.pid for worker in pool._workers)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(("hang", 1), ("hang", 2), on_event=stop)
    assert len(pids) == 2
    assert not any(Path("/proc", str(pid)).exists() for pid in pids)


def worker_setup(*streams, **settings):
    specs = tuple(ExtractorSpec(stream) for stream in streams)
    return WorkerSetup(specs=specs, config=PrecomputeConfig(**settings))


@pytest.fixture
def messages(odd_extractors, shared_extractor, media, tmp_path):
    """messages(name, streams, ...) -> what the worker sends about a file, written first unless it exists."""

    def run(name, *streams, frames=10, config=None, **media_settings):
        if not (tmp_path / name).exists():
            media.write(tmp_path / name, [media.plain(number % 18) for number in range(frames)], **media_settings)
        streams = streams or ("odd",)
        return FileWorker(worker_setup(*streams, **(config or {})))(FileTask(tmp_path, name, streams))

    return run


def test_a_file_is_a_clip_with_its_streams(messages, media, tmp_path):
    part, end = messages("a.mp4", "odd", "audio", sounds=[(0.0, media.tone(1.0))])
    assert (part.clip.span.clip_id, part.clip.verdict) == ("a.mp4", "ok")
    assert (part.streams["odd"].rows.shape, part.streams["odd"].rows.dtype) == ((2, 3), np.float16)
    assert part.streams["audio"] is not None
    assert (part.clip.frames, part.clip.sound) == ({}, {})  # no shared extractor wants it
    path = tmp_path / "a.mp4"
    assert end == FileEnd(stamp_of(path), hashlib.sha256(path.read_bytes()).hexdigest())
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


def test_damage_near_the_limit_of_memory_means_too_little_memory(messages, monkeypatch, media, tmp_path):
    """And used up memory is no ordinary failure."""
    monkeypatch.setattr("odd_extractor.LARGE", 1 << 62)
    for kind in ("hog", "enomem", "cv2memory"):
        with pytest.raises(MemoryError):
            list(messages(f"{kind}-.mp4"))
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


@linux
def test_a_limit_that_leaves_no_room_is_refused_with_the_least_that_works(monkeypatch):
    threads = []
    monkeypatch.setattr(features.job.worker, "use_one_thread", lambda: threads.append(1))
    with pytest.raises(InputError, match=r"at least --memory [\d.]+, not 0\.01$"):
        worker_setup("audio", memory=0.01)()
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    assert threads == [1]
