"""The job: videos x extractors -> store. Workers are real processes here."""

import hashlib
import shutil

import numpy as np
import pytest

from features.errors import InputError
from features.job.config import PrecomputeConfig
from features.job.precompute import Job
from features.media.library import find_media
from features.store.feature_store import FeatureStore

ODD = ("odd",)


@pytest.fixture
def clip(media, tmp_path_factory):
    return media.write(tmp_path_factory.mktemp("clip") / "c.mp4", [media.plain(number) for number in range(10)])


@pytest.fixture
def job(tmp_path, clip, odd_extractors):
    """Runs a job over copies of one clip, or over what is in the folder already."""
    videos = tmp_path / "videos"
    videos.mkdir()

    def run(*names, streams=ODD, **settings):
        for name in names:
            shutil.copy(clip, videos / name)
        config = PrecomputeConfig(**{"streams": streams, "workers": 2, **settings})
        seen = []
        report = Job(find_media(videos), tmp_path / "store", config).run(lambda r: seen.append(len(r.outcomes)))
        assert seen == list(range(1, len(report.outcomes) + 1))
        return report

    run.videos, run.directory = videos, tmp_path / "store"
    run.store = lambda: FeatureStore(tmp_path / "store")
    run.shards = lambda: [p for p in (tmp_path / "store" / "odd").iterdir() if ".times." not in p.name]
    run.parts = lambda: len(list((tmp_path / "store" / "parts").glob("*.parquet")))
    return run


def test_built_in_streams_of_every_kind_of_file(job, media):
    moving = [media.plain(number) for number in range(8)]
    media.write(job.videos / "both.mp4", moving, sounds=[(0.0, media.tone(0.8))])
    media.write(job.videos / "silent.mp4", moving)
    media.write(job.videos / "heard.mp4", sounds=[(0.0, media.tone(0.8))])
    import cv2

    cv2.imwrite(str(job.videos / "still.png"), media.quadrants())
    (job.videos / "text.mp4").write_text("this is no video")
    (job.videos / "zero.mp4").touch()
    (job.videos / "cut.mp4").write_bytes((job.videos / "both.mp4").read_bytes()[:600])
    (job.videos / "zero.png").touch()
    (job.videos / "notes.txt").write_text("no media")
    report = job(streams=("appearance", "motion", "audio", "face"))
    store = job.store()
    table = store.rows[["appearance", "motion", "audio"]] == "present"
    assert {name: tuple(row) for name, row in zip(table.index, table.to_numpy().tolist()) if any(row)} == {
        "both.mp4": (True, True, True),
        "silent.mp4": (True, True, False),
        "heard.mp4": (False, False, True),
        "still.png": (True, False, False),
    }
    assert {outcome.video for outcome in report.failures} == {"text.mp4", "zero.mp4", "cut.mp4", "zero.png"}
    assert set(store.failed) == {"text.mp4", "zero.mp4", "cut.mp4", "zero.png"}
    assert store.failed["zero.mp4"] == "the file is empty (0 bytes)"
    assert "not a video" in store.failed["text.mp4"]
    assert "moov" in store.failed["cut.mp4"]
    assert store.clips.loc["heard.mp4", "verdict"] == "no picture"
    assert store.clips.loc["both.mp4", "verdict"] == "ok"
    assert store.clips.loc["still.png", "end_s"] == 0
    for stream, dim in store.dims.items():
        rows = [r for r in store.read(stream, store.clips.index) if r is not None]
        assert all(r.dtype == np.float16 and r.shape[1] == dim and len(r) for r in rows)


def test_whatever_a_file_does_costs_that_file_only(job):
    names = ["exit-.mp4", "segfault-.mp4", "raise-.mp4", "hog-.mp4", "nan-.mp4"]
    report = job(*names, "a.mp4", "b.mp4", "c.mp4", memory=3.0)
    store = job.store()
    assert sorted(store.clips.index) == ["a.mp4", "b.mp4", "c.mp4"]
    assert sorted(store.failed) == sorted(names)
    assert {o.verdict for o in report.failures} == {"failed"}
    assert "crashed (exit code 7)" in store.failed["exit-.mp4"]
    assert "crashed (exit code -11, SIGSEGV)" in store.failed["segfault-.mp4"]
    assert "needs more than 3 GB of memory (--memory)" in store.failed["hog-.mp4"]
    assert store.failed["raise-.mp4"] == "RuntimeError: two lines"


def test_a_file_that_hangs_is_given_up(job):
    report = job("hang-.mp4", "a.mp4", timeout=2.0, retries=0)
    assert [(o.video, o.verdict) for o in report.failures] == [("hang-.mp4", "timed out")]
    assert job.store().failed == {"hang-.mp4": "gave no result within 2 s (--timeout)"}
    assert list(job.store().clips.index) == ["a.mp4"]


def test_twice_writes_once(job):
    job("a.mp4", "b.mp4")
    before = {path: path.stat().st_mtime_ns for path in job.directory.rglob("*") if path.is_file()}
    report = job()
    assert (report.files, report.already, report.outcomes) == (2, 2, [])
    after = {path: path.stat().st_mtime_ns for path in job.directory.rglob("*") if path.is_file()}
    assert {p: t for p, t in after.items() if p.suffix != ".lock"} == {
        p: t for p, t in before.items() if p.suffix != ".lock"
    }


def test_only_what_is_new_is_extracted(job):
    job("a.mp4")
    assert [o.video for o in job("b.mp4").outcomes] == ["b.mp4"]
    assert sorted(job.store().clips.index) == ["a.mp4", "b.mp4"]
    assert [o.video for o in job(streams=("odd", "audio")).outcomes] in (["a.mp4", "b.mp4"], ["b.mp4", "a.mp4"])
    table = job.store().rows
    assert table["odd"].eq("present").all()
    assert table["audio"].eq("missing").all()
    assert len(job.shards()) == 2  # the third job did not extract it again


def test_a_failure_is_tried_again(job, clip):
    (job.videos / "late.mp4").touch()
    assert [o.video for o in job("a.mp4").failures] == ["late.mp4"]
    shutil.copy(clip, job.videos / "late.mp4")  # the download has finished
    report = job()
    assert ([o.video for o in report.outcomes], report.failures) == (["late.mp4"], [])
    assert job.store().failed == {}


def test_a_changed_file_is_noticed_and_taken_in_by_overwrite(job, media):
    job("a.mp4", "b.mp4")
    old = job.store().read("odd", ["a.mp4"])[0]
    media.write(job.videos / "a.mp4", [media.plain(9)] * 20)
    report = job()
    assert (report.changed, report.outcomes) == (["a.mp4"], [])
    job(overwrite=True)
    assert sorted(job.store().clips.index) == ["a.mp4", "b.mp4"]
    assert job.store().read("odd", ["a.mp4"])[0].shape != old.shape
    assert len(job.shards()) == 1


def test_a_killed_jobs_leftovers_go_even_when_nothing_is_left_to_do(job):
    job("a.mp4")
    dead = job.directory / "writers" / "elsewhere-1-0.lock"
    dead.touch()
    job()
    assert not dead.exists()


def test_a_lost_file_is_tried_once_more_and_a_bad_one_is_not(job, tmp_path, monkeypatch):
    monkeypatch.setenv("ODD_MARKS", str(tmp_path))
    report = job("once-1.mp4", "exit-.mp4", "raise-.mp4", "a.mp4", workers=1)
    assert [o.video for o in report.outcomes] == [
        "a.mp4",
        "raise-.mp4",
        "exit-.mp4",
        "once-1.mp4",
    ]  # the last two at the end
    assert {o.video for o in report.failures} == {"exit-.mp4", "raise-.mp4"}
    assert report.retried == 2
    assert "once-1.mp4" in job.store().clips.index


@pytest.mark.parametrize("retries", [0, 3])
def test_how_often_it_is_tried_can_be_said(job, retries):
    report = job("exit-.mp4", retries=retries)
    assert (len(report.failures), report.retried) == (1, retries)


def test_failures_can_be_left_alone(job):
    assert len(job("a.mp4", "raise-.mp4").failures) == 1
    report = job("b.mp4", skip_failed=True)
    assert ([o.video for o in report.outcomes], report.skipped, report.already) == (["b.mp4"], 1, 1)
    assert [o.video for o in job().failures] == ["raise-.mp4"]


def test_a_file_that_crashes_at_its_last_clip_gives_none(job, media):
    media.write(job.videos / "late-.mp4", [media.plain(number) for number in range(30)])
    report = job("a.mp4", clip_seconds=1.0)
    assert [(o.video, o.clips) for o in report.failures] == [("late-.mp4", 0)]
    assert set(job.store().clips["video"]) == {"a.mp4"}


def test_files_that_are_too_long_or_too_large(job, media):
    media.write(job.videos / "long.mp4", [media.plain(0)] * 30)
    media.write(job.videos / "large.mp4", [media.plain(0, (320, 240))] * 5)
    report = job("a.mp4", max_seconds=2.0, max_megapixels=0.05)
    assert sorted(o.video for o in report.failures) == ["large.mp4", "long.mp4"]
    assert "--max-seconds" in job.store().failed["long.mp4"]
    assert "--max-megapixels" in job.store().failed["large.mp4"]


def test_workers_import_nothing_heavy(job):
    assert job("modules-.mp4", streams=("odd", "appearance", "motion", "audio", "face")).failures == []


def test_the_digest_and_the_facts_of_each_file_are_kept(job, clip):
    job("a.mp4")
    row = job.store().rows.loc["a.mp4"]
    assert row["file_sha256"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert (row["width"], row["height"], row["video_codec"]) == (64, 48, "h264")
    (times,) = job.store().times("odd", ["a.mp4"])
    np.testing.assert_array_equal(times, np.float32([0.0, 0.5]))


def test_stopping_keeps_what_is_done(job, tmp_path, clip):
    for name in ("a.mp4", "b.mp4", "hang-.mp4"):
        shutil.copy(clip, job.videos / name)

    def stop(report):
        if len(report.outcomes) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Job(find_media(job.videos), job.directory, PrecomputeConfig(streams=ODD, workers=2)).run(stop)
    assert sorted(job.store().clips.index) == ["a.mp4", "b.mp4"]


def test_the_store_does_not_depend_on_how_many_work(job, tmp_path):
    job("a.mp4", "b.mp4", workers=1)
    config = PrecomputeConfig(streams=ODD, workers=3)
    Job(find_media(job.videos), tmp_path / "other", config).run(lambda _: None)
    one, three = job.store(), FeatureStore(tmp_path / "other")
    assert one.rows.equals(three.rows)
    for left, right in zip(one.read("odd", one.clips.index), three.read("odd", one.clips.index)):
        np.testing.assert_array_equal(left, right)


def test_a_memory_limit_that_is_too_small_for_any_file_ends_the_job_with_a_sentence(job):
    with pytest.raises(InputError, match=r"takes [\d.]+ GB before it opens a file; give it at least --memory"):
        job("a.mp4", memory=0.05)
    assert job.store().failed == {}


def test_which_extractors_a_job_runs():
    builtin = ("appearance", "motion", "audio", "face")
    assert PrecomputeConfig().words == PrecomputeConfig(preset="builtin").words == builtin
    assert PrecomputeConfig(streams=("audio", "dino=a/b:fps=2")).words == ("audio", "dino=a/b:fps=2")
    mixed = PrecomputeConfig(preset="builtin", streams=("audio=a/b", "dino=c/d"))
    assert mixed.words == ("appearance", "motion", "audio=a/b", "face", "dino=c/d")  # a named one takes its place
    assert [word.partition("=")[0] for word in PrecomputeConfig(preset="clip").words] == list(builtin)


@pytest.mark.parametrize(
    "settings",
    [
        {"streams": ()},
        {"streams": ("audio", "audio")},
        {"clip_seconds": 0.01},
        {"clip_seconds": float("nan")},
        {"workers": 0},
        {"timeout": 0},
        {"memory": -1},
        {"timeout": float("inf")},
        {"max_seconds": 0.0},
        {"max_megapixels": -1.0},
        {"retries": -1},
        {"streams": ("clip=a/b", "clip=c/d")},
    ],
)
def test_senseless_settings_are_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        PrecomputeConfig(**settings)


def test_a_model_that_cannot_be_used_leaves_no_store_and_is_not_asked_where_nothing_is_left(job, monkeypatch):
    import odd_extractor

    def broken(extractor):
        raise InputError("its weights are damaged")

    with monkeypatch.context() as patch:
        patch.setattr(odd_extractor.Odd, "load", broken)
        with pytest.raises(InputError, match="damaged"):
            job("a.mp4")
    assert not job.directory.exists()
    assert job().clips == 1
    monkeypatch.setattr(odd_extractor.Odd, "load", broken)
    assert job().already == 1
    with pytest.raises(InputError, match="damaged"):
        job("b.mp4")
