"""A library that changes between runs of a job; what it decodes is made up, from the content of each file."""

import errno
import hashlib
import itertools
import os
import shutil
from collections import Counter
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.extractors.base import Fingerprint
from features.extractors.registry import resolve
from features.extractors.spec import RunConfig
from features.job import precompute
from features.job.config import PrecomputeConfig
from features.job.result import ClipResult, FileResult, FileTask
from features.job.worker import FileFailure, FileWorker, WorkerSetup
from features.media.clip import FAILED, Clip, Span
from features.media.library import Library, Selection, Stamp, find_media, stamp_of
from features.store.feature_store import FeatureStore
from features.store.upkeep import drop_gone
from features.store.verify import check_store
from features.store.writer import CheckedStream

CLOCK = itertools.count(1_000_000_000)


def clips_of(video, content):
    """Clip -> rows: `2ab` is cut in two, and what begins with 0 cannot be read."""
    count = int(content[:1])
    names = [video] if count == 1 else [f"{video}#t={n},{n + 1}" for n in range(count)]
    value = int.from_bytes(hashlib.sha256(content).digest()[:1])
    return {name: np.full((2, 3), value + number, np.float16) for number, name in enumerate(names[:count])}


class MadeUp:
    """In the place of workers and models."""

    decoded: ClassVar[list[str]] = []

    def __init__(self, extractors, setup, workers, report):
        pass

    def results(self, tasks):
        for task in tasks:
            self.decoded.append(task.video)
            content, stamp = task.path.read_bytes(), stamp_of(task.path)
            result = FileResult(task, decoded=True, stamp=stamp, sha256=hashlib.sha256(content).hexdigest())
            for number, (clip_id, rows) in enumerate(clips_of(task.video, content).items()):
                span = Span(clip_id=clip_id, video=task.video, start_s=number, end_s=number + 1.0)
                made = CheckedStream(rows, np.float32([0.25, 0.75]) + number)
                result.clips.append(ClipResult(Clip(span=span, reader="test"), dict.fromkeys(task.streams, made)))
            if not result.clips:
                result.fail(FAILED, "it cannot be read")
            yield result


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """world(): an empty folder and its store; run() -> report, decoded and read are of the last run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precompute, "Extraction", MadeUp)
        patch.setattr("os.fsync", lambda handle: None)

        def make():
            place = tmp_path_factory.mktemp("world")
            videos, store = place / "videos", place / "store"
            videos.mkdir()
            made = SimpleNamespace(videos=videos, directory=store, store=lambda: FeatureStore(store))

            def put(name, content):
                (videos / name).parent.mkdir(exist_ok=True)
                (videos / name).write_bytes(content.encode())
                made.touch(name)

            def run(streams=("appearance",), **config):
                MadeUp.decoded.clear()
                compared = []
                config = PrecomputeConfig(streams=streams, run=RunConfig(device="cpu"), **config)
                library = Library(videos, config.redo, Counter()) if config.redo else find_media(videos)
                job = precompute.Job(library, store, config, lambda done, of: compared.append(of))
                report = job.run(lambda report: None)
                made.decoded, made.compared = sorted(MadeUp.decoded), len(compared)
                return report

            made.touch = lambda name: os.utime(videos / name, (0, next(CLOCK)))
            made.put, made.run = put, run
            return made

        patch.setattr(precompute, "make_extractor", _extractor)
        patch.setattr(precompute, "resolve", lambda word: SimpleNamespace(stream=word))
        yield make


def _extractor(spec, run):
    made_by = Fingerprint(extractor=spec.stream, version=1, dim=3)
    return SimpleNamespace(load=lambda: None, shared=False, fingerprint=made_by)


def holds(world, *, gone=()):
    """That the store has what the content of each file makes, and of no others, and a further run does nothing."""
    store, files = world.store(), {v: (world.videos / v).read_bytes() for v in find_media(world.videos).videos}
    wanted = {clip: rows for video, content in files.items() for clip, rows in clips_of(video, content).items()}
    there = store.clips.index[~store.clips["video"].isin(list(gone))]
    assert sorted(there) == sorted(wanted)
    for stream in store.manifest.streams:
        for rows, clip in zip(store.read(stream, there), there):
            np.testing.assert_array_equal(rows, wanted[clip])
        assert all(times is not None for times in store.times(stream, there))
    assert {v for v in store.failed if v in files} == {v for v, content in files.items() if content[:1] == b"0"}
    world.run(tuple(store.manifest.streams))
    assert set(world.decoded) <= set(store.failed)
    assert world.compared == 0


NAMES = st.sampled_from(["a.mp4", "b.mp4", "d/c.mp4", "A.mp4"])
CONTENTS = st.sampled_from(["1aa", "1ab", "2aa", "2ab", "3aa", "0aa", "1a", "2abc"])
STEPS = st.tuples(st.sampled_from(["put", "move", "copy", "touch", "remove", "swap"]), NAMES, NAMES, CONTENTS)


def step(world, what, one, other, content):
    first, second = world.videos / one, world.videos / other
    if what == "put":
        return world.put(one, content)
    if not first.exists() or one == other:
        return None
    second.parent.mkdir(exist_ok=True)
    match what:
        case "move":
            first.rename(second)
        case "copy":
            shutil.copyfile(first, second)
            world.touch(other)
        case "touch":
            world.touch(one)
        case "remove":
            first.unlink()
        case "swap" if second.exists():
            aside = first.with_name("aside")
            first.rename(aside)
            second.rename(first)
            aside.rename(second)
    return None


@pytest.mark.parametrize("examples", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_after_each_run_the_store_has_what_the_files_are_and_decodes_no_content_that_it_has(world, examples):
    @settings(max_examples=examples)
    @given(runs=st.lists(st.lists(STEPS, min_size=1, max_size=4), min_size=1, max_size=3))
    def law(runs):
        now = world()
        now.put("always.mp4", "2zz")
        now.run()
        for steps in runs:
            before = set(now.store().clips["file_sha256"])
            for each in steps:
                step(now, *each)
            now.run()
            files = find_media(now.videos).videos
            for video in now.decoded:
                content = (now.videos / video).read_bytes()
                assert content[:1] == b"0" or hashlib.sha256(content).hexdigest() not in before
            holds(now, gone=set(now.store().files.index) - set(files))
            if any((now.videos / video).read_bytes()[:1] != b"0" for video in files):
                drop_gone(now.directory, [now.videos], Selection())
                holds(now)
        assert check_store(now.directory, lambda *_: None).wrong == []

    law()


@pytest.fixture
def now(world):
    """Two files of two clips and of one, extracted."""
    made = world()
    made.put("a.mp4", "2aa")
    made.put("d/b.mp4", "1bb")
    made.run()
    return made


def test_a_touched_file_is_read_once_and_not_decoded(now):
    now.touch("a.mp4")
    assert (now.run().changed, now.decoded, now.compared) == ([], [], 1)
    holds(now)


@pytest.mark.parametrize("content", ["1aa", "2ab", "3aa", "2abcdef", "2"])
def test_a_changed_file_is_extracted_again_and_nothing_of_the_old_one_stays(now, content):
    now.put("a.mp4", content)
    assert (now.run().changed, now.decoded) == (["a.mp4"], ["a.mp4"])
    holds(now)


def test_a_changed_file_that_fails_leaves_nothing_of_the_old_one_and_is_read_again_once_it_is_whole(now):
    now.put("a.mp4", "0aa")
    assert [outcome.video for outcome in now.run().failures] == ["a.mp4"]
    holds(now)
    assert now.run(skip_failed=True).skipped == 1
    now.put("a.mp4", "2ac")
    assert (now.run(skip_failed=True).skipped, now.decoded) == (0, ["a.mp4"])
    holds(now)


def test_all_streams_of_a_changed_file_are_extracted_again(now):
    now.run(("appearance", "motion"))
    now.put("a.mp4", "3zz")
    now.run(("appearance", "motion"))
    holds(now)
    now.put("a.mp4", "1zz")
    now.run(("motion",))  # by one job a stream
    assert now.store().done("appearance") == {"d/b.mp4"}
    now.run(("appearance",))
    holds(now)


def test_a_moved_folder_a_copy_and_swapped_names_cost_no_decoding(now):
    (now.videos / "d").rename(now.videos / "e")
    report = now.run()
    assert (report.moved, now.decoded) == ([("d/b.mp4", "e/b.mp4")], [])
    shutil.copy(now.videos / "a.mp4", now.videos / "copy.mp4")
    os.link(now.videos / "a.mp4", now.videos / "link.mp4")
    report = now.run()
    assert (report.moved, len(report.copied), now.decoded) == ([], 2, [])
    (now.videos / "a.mp4").rename(now.videos / "x")
    (now.videos / "e" / "b.mp4").rename(now.videos / "a.mp4")
    (now.videos / "x").rename(now.videos / "e" / "b.mp4")
    report = now.run()  # the name of one content is gone since the folder was moved
    assert (len(report.moved), len(report.copied), now.decoded) == (1, 1, [])
    holds(now, gone=["d/b.mp4"])


def test_streams_that_a_renamed_file_lacks_are_extracted(now):
    (now.videos / "a.mp4").rename(now.videos / "z.mp4")
    now.run(("appearance", "motion"))
    assert now.decoded == ["d/b.mp4", "z.mp4"]
    holds(now, gone=["a.mp4"])
    (now.videos / "z.mp4").rename(now.videos / "y.mp4")
    now.run(("motion",), overwrite=True)  # the other stream is taken over
    holds(now, gone=["a.mp4", "z.mp4"])


def test_one_file_is_redone_and_keeps_what_it_had_where_that_fails(now):
    now.run(redo=("a.mp4",))
    assert now.decoded == ["a.mp4"]
    holds(now)
    now.put("a.mp4", "0aa")
    assert len(now.run(redo=("a.mp4",)).failures) == 1
    assert sorted(now.store().clips.index) == ["a.mp4#t=0,1", "a.mp4#t=1,2", "d/b.mp4"]
    with pytest.raises(ValueError, match="redo and overwrite exclude each other"):
        PrecomputeConfig(redo=("a.mp4",), overwrite=True)


def test_what_cannot_be_read_or_is_of_an_import_is_neither_changed_nor_renamed(now, monkeypatch, store_job):
    now.touch("a.mp4")
    denied = OSError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: (_ for _ in ()).throw(denied))
    assert (now.run().changed, now.decoded) == ([], [])
    monkeypatch.undo()
    place = now.directory.with_name("imported")
    store_job.write(
        store_job.record("b.mp4", file_bytes=0, appearance=np.ones((1, 3))), directory=place, appearance=3
    )
    found = precompute.find_changes(find_media(now.videos), FeatureStore(place), lambda *_: None)
    assert (found.changed, found.touched, found.taken) == (set(), {}, {})


def test_a_file_that_changes_while_it_is_read_has_failed(job, monkeypatch):
    stamps = iter([Stamp(1, 1.0), Stamp(2, 1.0)])
    monkeypatch.setattr("features.job.worker.stamp_of", lambda path: next(stamps))
    job.prepare("a.mp4")
    config = PrecomputeConfig(streams=("motion",), run=RunConfig(device="cpu"))
    worker = FileWorker(WorkerSetup((resolve("motion"),), config))
    *_, last = worker(FileTask(job.videos, "a.mp4", ("motion",)))
    assert isinstance(last, FileFailure)
    assert last.reason.startswith("it changed while it was read")


def test_dropping_what_is_gone(now, says):
    def drop(folder, **how):
        return drop_gone(now.directory, [folder], Selection(), **how)

    (now.videos / "a.mp4").unlink()
    assert drop(now.videos, dry_run=True) == ["a.mp4"]
    holds(now, gone=["a.mp4"])
    assert drop(now.videos) == ["a.mp4"]
    assert (drop(now.videos), list(now.store().rows.index)) == ([], ["d/b.mp4"])
    holds(now)
    empty = now.videos.with_name("empty")
    empty.mkdir()
    refused = []
    for folder in (empty, now.videos / "nowhere", now.videos / "d" / "b.mp4"):
        with pytest.raises(InputError) as caught:
            drop(folder)
        refused.append(str(caught.value).replace(str(now.videos.parent), "TMP"))
    says("\n".join(refused))
    now.put("a.mp4", "2aa")
    now.run()
    assert now.decoded == ["a.mp4"]
    holds(now)
    assert drop(empty, everything=True) == ["a.mp4", "d/b.mp4"]
    assert len(now.store().rows) == 0


def test_excluded_files_are_gone_where_the_same_is_excluded(now):
    select = Selection(exclude=("D",))
    assert drop_gone(now.directory, [now.videos], Selection()) == []
    assert drop_gone(now.directory, [now.videos], select, dry_run=True) == ["d/b.mp4"]


@pytest.mark.parametrize("file", ["part", "checksums"])
def test_killed_while_it_drops_or_takes_over_the_store_is_as_before(now, monkeypatch, file):
    (now.videos / "a.mp4").rename(now.videos / "z.mp4")
    before = now.store().rows

    def kill(*_):
        raise KeyboardInterrupt

    for work in (lambda: drop_gone(now.directory, [now.videos], Selection()), now.run):
        with monkeypatch.context() as patch:
            patch.setattr(f"features.store.writer.{'write_whole' if file == 'part' else 'write_sums'}", kill)
            with pytest.raises(KeyboardInterrupt):
                work()
        assert now.store().rows.equals(before)
    now.run()
    assert now.decoded == []
    holds(now, gone=["a.mp4"])


def test_a_store_that_cannot_be_written_says_so(now, monkeypatch):
    denied = OSError(errno.EROFS, "Read-only file system")
    monkeypatch.setattr("features.store.writer.write_whole", lambda *_: (_ for _ in ()).throw(denied))
    (now.videos / "a.mp4").unlink()
    with pytest.raises(InputError, match="cannot be written: Read-only file system"):
        drop_gone(now.directory, [now.videos], Selection())
