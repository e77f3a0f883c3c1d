"""Shared extractors: workers decode, the model runs here, in batches. Workers are real processes."""

import os
from functools import partial

import cv2
import numpy as np
import pytest

from features.errors import InputError
from features.job.batches import ModelBatches
from features.job.result import ClipResult, FileResult, FileTask
from features.media.clip import Clip, Frames, Span

BOTH = ("odd", "shared")


@pytest.fixture
def job(job):
    """The same, over films of three clips each, with both streams."""
    run = partial(job, streams=BOTH, frames=30, clip_seconds=1.0)
    vars(run).update(vars(job))
    return run


def spans(name):
    return [f"{name}#t={second},{second + 1}" for second in range(3)]


def test_the_model_runs_here_on_clips_of_several_files(job, shared_extractor):
    shared_extractor.delay = 0.2  # meanwhile the workers decode
    report = job("a.mp4", "b.mp4", "c.mp4", "d.mp4")
    assert (report.failures, report.clips) == ([], 12)
    assert {process for process, _ in shared_extractor.calls} == {os.getpid()}
    batches = [{clip_id.partition("#")[0] for clip_id in clip_ids} for _, clip_ids in shared_extractor.calls]
    assert max(len(files) for files in batches) >= 2
    assert all(needs == set(shared_extractor.needs) for needs in shared_extractor.seen)  # not those of odd
    given = [clip_id for _, clip_ids in shared_extractor.calls for clip_id in clip_ids]
    assert sorted(given) == sorted(span for name in "abcd" for span in spans(f"{name}.mp4"))


def test_streams_of_both_kinds_meet_in_one_row_with_their_times(job):
    job("a.mp4")
    store = job.store()
    assert (store.clips[["odd", "shared"]] == "present").all(axis=None)
    assert list(store.clips.index) == spans("a.mp4")
    assert set(store.clips["clips_of_video"]) == {3}
    for start, odd, shared in zip(range(3), *(store.times(stream, store.clips.index) for stream in BOTH)):
        np.testing.assert_allclose(odd, [start, start + 0.5])
        np.testing.assert_allclose(shared, start + np.arange(4) / 4)
    rows = store.read("shared", store.clips.index)
    assert [len(each) for each in rows] == [4, 4, 4]
    assert rows[0][0, 0] < rows[1][0, 0]  # frames get lighter, until their numbers start again


def test_only_the_missing_stream_is_extracted(job, shared_extractor):
    job("a.mp4", streams=("shared",))
    shared_extractor.calls.clear()
    job("b.mp4")
    assert {clip_id for _, clip_ids in shared_extractor.calls for clip_id in clip_ids} == set(spans("b.mp4"))
    assert (job.store().clips[["odd", "shared"]] == "present").all(axis=None)
    assert len(job.store().clips) == 6


def test_only_the_file_to_blame_fails(job):
    report = job("a.mp4", "bug-.mp4", "sick-.mp4", "nowhere-.mp4", "timeless-.mp4", "raise-.mp4", "b.mp4")
    assert job.store().failed == {
        "bug-.mp4": "RuntimeError: two lines",
        "sick-.mp4": "the model cannot work on it",
        "nowhere-.mp4": "its shared extractor gave no (T, 3) finite numbers at nowhere-.mp4#t=0,1",
        "timeless-.mp4": "its shared extractor gave no time for each row at timeless-.mp4#t=0,1",
        "raise-.mp4": "RuntimeError: two lines",
    }
    assert list(job.store().clips.index) == [*spans("a.mp4"), *spans("b.mp4")]
    assert (len(report.outcomes), report.retried) == (7, 0)


def test_a_model_that_cannot_be_used_ends_the_job_and_blames_no_file(job):
    with pytest.raises(InputError, match="the weights are not there"):
        job("a.mp4", "weightless-.mp4", workers=1)
    assert job.store().failed == {}


def test_a_worker_lost_while_its_clips_wait_for_the_model(job, shared_extractor):
    report = job("late-.mp4", "once-.mp4", "a.mp4")
    assert job.store().failed == {"late-.mp4": "its worker process crashed (exit code 7)"}
    assert report.retried == 2
    assert list(job.store().clips.index) == [*spans("a.mp4"), *spans("once-.mp4")]


def test_memory_holds_a_batch_and_a_clip_a_worker(job, shared_extractor):
    in_flight, consumed = [], []

    def count(clips):
        in_flight.append(len(list(job.marks.iterdir())) - len(consumed))
        consumed.extend(clip.span.clip_id for clip in clips)

    shared_extractor.before, shared_extractor.delay = staticmethod(count), 0.12
    report = job("mark-1.mp4", "mark-2.mp4", frames=100, batch_size=2)
    assert (report.failures, len(consumed)) == ([], 20)
    assert all(len(clip_ids) <= 2 for _, clip_ids in shared_extractor.calls)
    assert max(in_flight) <= 2 + 2  # of 20; a clip is larger than what a pipe holds


@pytest.mark.slow
def test_the_time_limit_does_not_count_waiting_for_the_model(job, shared_extractor):
    shared_extractor.delay = 0.8  # five clips: four seconds
    assert job("a.mp4", frames=50, batch_size=1, workers=1, timeout=2.5).failures == []


def test_a_still_image_and_a_file_without_pictures_miss_the_stream_or_have_it(job, media):
    cv2.imwrite(str(job.videos / "still.png"), media.quadrants())
    media.write(job.videos / "sound.mp4", sounds=[(0.0, media.tone(0.8))])
    job(streams=("audio", "shared"))
    states = job.store().clips["shared"]
    assert dict(states) == {"still.png": "present", "sound.mp4": "missing"}


def test_stopping_while_the_model_runs_keeps_whole_files_only(job, shared_extractor):
    def stop(clips):
        if any(clip.span.video == "b.mp4" and clip.span.start_s == 2 for clip in clips):
            raise KeyboardInterrupt

    shared_extractor.before = staticmethod(stop)
    with pytest.raises(KeyboardInterrupt):
        job("a.mp4", "b.mp4", workers=1)
    assert list(job.store().clips.index) == spans("a.mp4")
    assert list((job.directory / "writers").iterdir()) == []
    shared_extractor.before = None
    assert [o.video for o in job().outcomes] == ["b.mp4"]


def test_cores_are_left_to_a_model_on_the_cpu(job, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(12), raising=False)
    for number in range(20):
        (job.videos / f"{number}.mp4").touch()
    cases = {(("odd",), None): 12, (BOTH, None): 3, (BOTH, 7): 7, (BOTH, 50): 20}  # no more than files
    for (streams, number), workers in cases.items():
        assert job.prepare(streams=streams, workers=number)._workers() == workers


@pytest.fixture
def waiting(shared_extractor, tmp_path):
    """waiting("bug-b", ...) -> a file of this name and its clip of one grey."""

    def make(name, streams=("shared",), side=4):
        (need,) = shared_extractor.needs
        grey = sum(map(ord, name)) % 200
        frames = Frames(pixels=np.full((2, side, side, 3), grey, np.uint8), times=np.array([0.0, 0.25]))
        span = Span(clip_id=name, video=name, start_s=0.0, end_s=0.5)
        clip = Clip(span=span, reader="pyav", frames={need: frames})
        return FileResult(FileTask(tmp_path, name, streams)), ClipResult(clip, {"odd": None})

    return make


@pytest.fixture
def run(waiting, shared_extractor):
    """run("a", "bug-b", ...) -> by name the streams, or the reason of the failure."""

    def call(*names, extractor=None):
        models = ModelBatches({"shared": extractor or shared_extractor()}, 32)
        for name in names:
            models.add(*waiting(name))
        return {file.task.video: reason or clip.streams for file, clip, reason in models.run()}

    return call


def test_one_call_for_all(run, shared_extractor):
    results = run("a", "b", "c")
    assert [ids for _, ids in shared_extractor.calls] == [["a", "b", "c"]]
    assert {name: made["shared"].rows[0, 0] for name, made in results.items()} == {"a": 97, "b": 98, "c": 99}
    assert (results["a"]["shared"].rows.dtype, results["a"]["odd"]) == (np.float16, None)
    np.testing.assert_array_equal(results["a"]["shared"].times, np.float32([0.0, 0.25]))


def test_a_batch_that_raises_is_tried_clip_by_clip(run, shared_extractor, caplog):
    names = ["a", "bug-1", "b", "sick-2"]
    results = run(*names)
    assert [ids for _, ids in shared_extractor.calls] == [names, *([name] for name in names)]
    assert results["bug-1"] == "RuntimeError: two lines"
    assert results["sick-2"] == "the model cannot work on it"
    assert results["a"].keys() == results["b"].keys() == {"odd", "shared"}
    assert "bug-1" in caplog.text
    assert "sick-2" not in caplog.text  # an expected failure


def test_a_model_that_fails_on_every_file_ends_the_job(run, shared_extractor):
    from odd_extractor import Forgetful

    results = run("a", "b", extractor=Forgetful())
    assert set(results.values()) == {"RuntimeError: its shared extractor gave 0 streams for 1 clips"}
    nine = [f"bug-{number}" for number in range(9)]
    assert len(run(*nine, "a", *(f"{name}b" for name in nine))) == 19  # not ten in a row
    assert len(run(*(f"sick-{number}" for number in range(12)))) == 12  # the extractor names the files
    with pytest.raises(InputError, match=r"'shared' broke on 10 files in a row, .*: RuntimeError: two lines"):
        run(*nine, "sick-0", "bug-9", "a")


def test_batches_hold_clips_that_lack_a_stream_until_they_are_full(waiting, shared_extractor, monkeypatch):
    models = ModelBatches({"shared": shared_extractor(), "other": shared_extractor()}, 32)
    for name, streams in {"a": ("shared",), "b": ("other",), "c": ("shared", "other")}.items():
        models.add(*waiting(name, streams))
    made = {file.task.video: set(clip.streams) for file, clip, _ in models.run()}
    assert made == {"a": {"odd", "shared"}, "b": {"odd", "other"}, "c": {"odd", "shared", "other"}}
    assert [ids for _, ids in shared_extractor.calls] == [["a", "c"], ["b", "c"]]
    models = ModelBatches({"shared": shared_extractor()}, 2)
    full = [(models.add(*waiting(name)), models.full)[1] for name in "ab"]
    assert (full, len(list(models.run())), models.full) == ([False, True], 2, False)
    monkeypatch.setattr("features.job.batches.BYTES", 2 * 64 * 64 * 3)
    models.add(*waiting("large", side=64))
    assert models.full
