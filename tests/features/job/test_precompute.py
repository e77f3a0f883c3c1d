"""The job: videos x extractors -> store, with real worker processes; full disks, and files that change."""

import errno
import hashlib
import os
import stat
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from features.errors import InputError
from features.files import write_whole
from features.job.config import PrecomputeConfig
from features.media.library import Stamp, stamp_of
from features.store.feature_store import FeatureStore
from features.store.verify import check_store
from tests.features.small_stores import files, same

BUILTIN = ("appearance", "motion", "audio", "face")


def videos(outcomes):
    return [outcome.video for outcome in outcomes]


def test_built_in_streams_of_every_kind_of_file(job, media):
    moving = [media.plain(number) for number in range(8)]
    media.write(job.videos / "both.mp4", moving, sounds=[(0.0, media.tone(0.8))])
    media.write(job.videos / "pictures.mp4", moving)
    media.write(job.videos / "sound.mp4", sounds=[(0.0, media.tone(0.8))])
    cv2.imwrite(str(job.videos / "still.png"), media.quadrants())
    (job.videos / "text.mp4").write_text("this is no video")
    (job.videos / "zero.mp4").touch()
    (job.videos / "cut.mp4").write_bytes((job.videos / "both.mp4").read_bytes()[:600])
    (job.videos / "zero.png").touch()
    (job.videos / "notes.txt").write_text("no media")
    report = job(streams=BUILTIN)
    store = job.store()
    table = store.rows[["appearance", "motion", "audio"]] == "present"
    assert {name: tuple(row) for name, row in zip(table.index, table.to_numpy().tolist()) if any(row)} == {
        "both.mp4": (True, True, True),
        "pictures.mp4": (True, True, False),
        "sound.mp4": (False, False, True),
        "still.png": (True, False, False),
    }
    assert set(videos(report.failures)) == set(store.failed) == {"text.mp4", "zero.mp4", "cut.mp4", "zero.png"}
    assert store.failed["zero.mp4"] == "the file is empty (0 bytes)"
    assert "not a video" in store.failed["text.mp4"]
    assert "moov" in store.failed["cut.mp4"]
    verdicts = {"both.mp4": "ok", "pictures.mp4": "no sound", "sound.mp4": "no picture", "still.png": "ok"}
    assert dict(store.clips["verdict"]) == verdicts
    assert store.clips.loc["still.png", "end_s"] == 0
    for stream, dim in store.dims.items():
        rows = [r for r in store.read(stream, store.clips.index) if r is not None]
        assert all(r.dtype == np.float16 and r.shape[1] == dim and len(r) for r in rows)


def test_whatever_a_file_does_costs_that_file_only(job):
    reasons = {
        "exit-.mp4": "its worker process crashed (exit code 7)",
        "segfault-.mp4": "its worker process crashed (exit code -11, SIGSEGV)",
        "raise-.mp4": "RuntimeError: two lines",
        "hog-.mp4": "needs more than 3 GB of memory (--memory)",
        "nan-.mp4": "its odd extractor gave no (T, 3) finite numbers at nan-.mp4",
        "hang-.mp4": "gave no result within 4 s (--timeout)",
    }
    report = job(*reasons, "a.mp4", "b.mp4", "c.mp4", memory=3.0, timeout=4.0, retries=0)
    assert sorted(job.store().clips.index) == ["a.mp4", "b.mp4", "c.mp4"]
    assert job.store().failed == reasons
    assert {outcome.video for outcome in report.failures if outcome.verdict == "timed out"} == {"hang-.mp4"}


def test_only_what_is_missing_is_extracted_and_twice_writes_once(job):
    job("a.mp4")
    assert videos(job("b.mp4").outcomes) == ["b.mp4"]
    assert sorted(job.store().clips.index) == ["a.mp4", "b.mp4"]
    before = files(job.directory)
    dead = job.directory / "writers" / "elsewhere-1-0.lock"  # of a killed job
    dead.touch()
    report = job()
    assert (report.files, report.already, report.outcomes, dead.exists()) == (2, 2, [], False)
    assert files(job.directory) == before
    assert sorted(videos(job(streams=("odd", "audio")).outcomes)) == ["a.mp4", "b.mp4"]
    assert job.store().rows["odd"].eq("present").all()
    assert job.store().rows["audio"].eq("missing").all()
    assert len(files(job.directory, "odd/*[0-9].safetensors")) == 2  # the last job did not extract it again


def test_a_failure_is_tried_again_unless_it_is_skipped(job, media):
    (job.videos / "late.mp4").touch()
    assert videos(job("a.mp4").failures) == ["late.mp4"]
    report = job("b.mp4", skip_failed=True)
    assert (videos(report.outcomes), report.skipped, report.already) == (["b.mp4"], 1, 1)
    assert videos(job().failures) == ["late.mp4"]
    report = job("late.mp4")  # the download has finished
    assert (videos(report.outcomes), report.failures) == (["late.mp4"], [])
    assert job.store().failed == {}


def test_files_that_change_or_are_lost(job):
    job("a.mp4", "b.mp4")
    old = job.store().read("odd", ["a.mp4"])[0]
    report = job("a.mp4", frames=20)
    assert (report.changes.changed, videos(report.outcomes)) == ({"a.mp4"}, ["a.mp4"])
    assert job.store().read("odd", ["a.mp4"])[0].shape != old.shape
    job(overwrite=True)
    assert sorted(job.store().clips.index) == ["a.mp4", "b.mp4"]
    assert len(files(job.directory, "odd/*[0-9].safetensors")) == 1
    (job.videos / "a.mp4").unlink()
    (job.videos / "a.mp4").symlink_to("nowhere.mp4")
    report = job()
    assert (report.outcomes, report.changes.changed) == ([], set())
    assert sorted(FeatureStore(job.directory).clips.index) == ["a.mp4", "b.mp4"]


def test_a_lost_file_is_tried_again_at_the_end_and_a_bad_one_is_not(job):
    report = job("once-1.mp4", "exit-.mp4", "raise-.mp4", "a.mp4", workers=1)
    assert videos(report.outcomes) == ["a.mp4", "raise-.mp4", "exit-.mp4", "once-1.mp4"]
    assert set(videos(report.failures)) == {"exit-.mp4", "raise-.mp4"}
    assert report.retried == 2
    assert "once-1.mp4" in job.store().clips.index
    report = job(retries=3)
    assert (len(report.failures), report.retried) == (2, 3)


def test_limits_of_length_and_size_and_a_crash_at_the_last_clip_give_no_clips(job, media):
    media.write(job.videos / "long.mp4", [media.plain(0)] * 40)
    media.write(job.videos / "large.mp4", [media.plain(0, (320, 240))] * 5)
    report = job("late-.mp4", frames=30, clip_seconds=1.0, max_seconds=3.5, max_megapixels=0.05)
    assert sorted(videos(report.failures)) == ["large.mp4", "late-.mp4", "long.mp4"]
    assert job.store().failed["late-.mp4"] == "its worker process crashed (exit code 7)"
    assert "--max-seconds" in job.store().failed["long.mp4"]
    assert "--max-megapixels" in job.store().failed["large.mp4"]
    assert len(job.store().clips) == 0


def test_the_digest_and_the_facts_of_each_file_are_recorded_and_workers_import_nothing_heavy(job):
    name = "modules-.mp4"
    assert job(name, streams=("odd", *BUILTIN)).failures == []
    row, content = job.store().rows.loc[name], (job.videos / name).read_bytes()
    assert (row["file_sha256"], row["file_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert (row["width"], row["height"], row["video_codec"]) == (64, 48, "h264")
    (times,) = job.store().times("odd", [name])
    np.testing.assert_array_equal(times, np.float32([0.0, 0.5]))


def test_stopping_keeps_finished_files_and_the_store_does_not_depend_on_the_number_of_workers(job, tmp_path):
    def stop(report):
        if len(report.outcomes) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job("a.mp4", "b.mp4", "hang-.mp4", on_file=stop)
    assert sorted(job.store().clips.index) == ["a.mp4", "b.mp4"]
    (job.videos / "hang-.mp4").unlink()
    job(workers=1, store=tmp_path / "one")
    job(workers=3, store=tmp_path / "three")
    assert same(tmp_path / "one", tmp_path / "three")


def test_which_extractors_a_job_runs():
    assert PrecomputeConfig().words == PrecomputeConfig(preset="builtin").words == BUILTIN
    assert PrecomputeConfig(streams=("audio", "dino=a/b:fps=2")).words == ("audio", "dino=a/b:fps=2")
    mixed = PrecomputeConfig(preset="builtin", streams=("audio=a/b", "dino=c/d"))
    assert mixed.words == ("appearance", "motion", "audio=a/b", "face", "dino=c/d")  # a named one replaces it
    assert tuple(word.partition("=")[0] for word in PrecomputeConfig(preset="clip").words) == BUILTIN


NAN = float("nan")
INVALID = {"streams": [(), ("audio", "audio"), ("clip=a/b", "clip=c/d")], "clip_seconds": [0.01, NAN]}
INVALID |= {"workers": [0], "timeout": [0, float("inf")], "memory": [-1], "max_seconds": [0.0, NAN]}
INVALID |= {"max_megapixels": [-1.0, 0], "retries": [-1]}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in INVALID.items() for value in values]
)
def test_invalid_settings_are_refused(name, value):
    with pytest.raises(ValueError, match="must be"):
        PrecomputeConfig(**{name: value})


def test_a_model_that_cannot_be_used_leaves_no_store_and_is_not_loaded_where_nothing_is_missing(job, monkeypatch):
    broken = Mock(side_effect=InputError("its weights are damaged"))
    with monkeypatch.context() as patch:
        patch.setattr("odd_extractor.Odd.load", broken)
        with pytest.raises(InputError, match="damaged"):
            job("a.mp4")
    assert not job.directory.exists()
    assert job().clips == 1
    monkeypatch.setattr("odd_extractor.Odd.load", broken)
    assert job().already == 1
    with pytest.raises(InputError, match="damaged"):
        job("b.mp4")
    with pytest.raises(InputError, match=r"takes [\d.]+ GB before it opens a file; give it at least --memory"):
        job("c.mp4", streams=("audio",), memory=0.05)  # too small for any file
    assert set(job.store().failed) == {"a.mp4"}  # whose audio is still to be extracted: no file is to blame


ROWS = np.ones((2, 3), np.float16)


@pytest.fixture
def full(monkeypatch):
    """`full(n)`: the disk has room for so many files more."""

    def make(files):
        left = [files]
        sync = os.fsync

        def fsync(number):
            left[0] -= stat.S_ISREG(os.fstat(number).st_mode)
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(number)

        monkeypatch.setattr(os, "fsync", fsync)

    yield make
    monkeypatch.undo()


@pytest.mark.parametrize("files", range(4))
def test_a_full_disk(store_job, full, monkeypatch, files):
    """One sentence; what was written before is whole, and nothing of what was not stays."""
    store_job.write(store_job.record("a", sight=ROWS, sound=ROWS), sight=3, sound=3)
    before = {path for path in store_job.directory.rglob("*") if path.is_file()}
    full(files)
    sentence = r"^\S+ cannot be written: No space left on device; what was written before is whole, so make room"
    late = store_job.record("b", sight=ROWS, sound=ROWS, times={"sight": np.ones(2, np.float32)})
    with pytest.raises(InputError, match=sentence):
        store_job.write(late, sight=3, sound=3)
    assert {path for path in store_job.directory.rglob("*") if path.is_file()} == before
    monkeypatch.undo()
    store_job.write(late, sight=3, sound=3)
    assert list(FeatureStore(store_job.directory).clips.index) == ["a", "b"]
    assert check_store(store_job.directory, lambda done, of: None).findings == []


def test_a_write_is_complete_or_keeps_the_old_file_and_names_it(tmp_path, full):
    path = tmp_path / "a" / "store.json"
    write_whole(path, b"first")
    full(0)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(path, b"second")
    assert caught.value.filename == str(path)
    assert [each.read_bytes() for each in path.parent.iterdir()] == [b"first"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_be_listed_but_not_entered(job):
    (job.videos / "closed").mkdir()
    (job.videos / "closed" / "a.mp4").write_bytes(b"closed")
    (job.videos / "closed").chmod(0o600)
    try:
        (failure,) = job("a.mp4", "b.mp4").failures
    finally:
        (job.videos / "closed").chmod(0o700)
    assert (failure.video, failure.note) == ("closed/a.mp4", "it cannot be read: Permission denied")
    assert sorted(FeatureStore(job.directory).clips.index) == ["a.mp4", "b.mp4"]


def test_a_file_that_may_not_be_examined_has_no_size(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"abc")
    assert stamp_of(path) == Stamp(3, path.stat().st_mtime)
    for number in (errno.EACCES, errno.EIO, errno.ESTALE):
        monkeypatch.setattr(type(path), "stat", Mock(side_effect=OSError(number, os.strerror(number))))
        assert stamp_of(path) is None
