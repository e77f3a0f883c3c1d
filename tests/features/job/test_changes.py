"""A library that changes between runs of a job; what is decoded is made up, from the content of each file."""

import errno
import hashlib
import itertools
import os
import shutil
from collections import Counter
from types import SimpleNamespace
from typing import ClassVar
from unittest.mock import Mock

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
from features.store.upkeep import drop_gone, gone_from
from features.store.verify import check_store
from features.store.writer import CheckedStream

CLOCK = itertools.count(1_000_000_000)


def clips_of(video, content):
    """Clip -> rows: `2ab` is cut in two, and what begins with 0 cannot be read."""
    count = int(content[:1])
    names = [f"{video}#t={n},{n + 1}" for n in range(count)] if count > 1 else [video] * count
    value = hashlib.sha256(content).digest()[0]
    return {name: np.full((2, 3), value + number, np.float16) for number, name in enumerate(names)}


class MadeUp:
    """In the place of workers and models."""

    decoded: ClassVar[list[str]] = []

    def __init__(self, *_):
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


class World:
    """A folder of videos and its store; `decoded` and `compared` are of the last run."""

    def __init__(self, place):
        self.videos, self.directory = place / "videos", place / "store"
        self.put("a.mp4", "2aa")
        self.put("d/b.mp4", "1bb")
        self.run()

    def touch(self, name):
        os.utime(self.videos / name, (0, next(CLOCK)))

    def put(self, name, content):
        (self.videos / name).parent.mkdir(parents=True, exist_ok=True)
        (self.videos / name).write_text(content)
        self.touch(name)

    def move(self, one, other):
        (self.videos / other).parent.mkdir(exist_ok=True)
        (self.videos / one).rename(self.videos / other)

    def run(self, *streams, redo=(), **settings):
        MadeUp.decoded.clear()
        compared = Mock()
        library = Library(self.videos, redo, Counter()) if redo else find_media(self.videos)
        config = PrecomputeConfig(streams=streams or ("s",), redo=redo, run=RunConfig(device="cpu"), **settings)
        report = precompute.Job(library, self.directory, config, compared).run(lambda report: None)
        self.decoded, self.compared = sorted(MadeUp.decoded), compared.call_count
        return report

    def drop(self, folder=None, everything=False, dry_run=False, **select):
        how = {"everything": everything, "dry_run": dry_run}
        return drop_gone(self.store, [folder or self.videos], Selection(**select), **how)

    @property
    def store(self):
        return FeatureStore(self.directory)

    def check(self, *, gone=()):
        """The store has what the content of each file makes, and of no others; a further run does nothing."""
        store, files = self.store, {v: (self.videos / v).read_bytes() for v in find_media(self.videos).videos}
        wanted = {
            clip: rows for video, content in files.items() for clip, rows in clips_of(video, content).items()
        }
        there = store.clips.index[~store.clips["video"].isin(list(gone))]
        assert sorted(there) == sorted(wanted)
        for stream in store.manifest.streams:
            for rows, times, clip in zip(store.read(stream, there), store.times(stream, there), there):
                np.testing.assert_array_equal(rows, wanted[clip])
                assert times is not None
        unreadable = {video for video, content in files.items() if content[:1] == b"0"}
        assert set(store.failed) & set(files) == unreadable
        self.run(*store.manifest.streams)
        assert set(self.decoded) == unreadable
        assert self.compared == 0


@pytest.fixture(scope="module")
def new_world(tmp_path_factory):
    def extractor(spec, run):
        made_by = Fingerprint(extractor=spec.stream, version=1, dim=3)
        return SimpleNamespace(load=lambda: None, shared=False, fingerprint=made_by)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precompute, "Extraction", MadeUp)
        patch.setattr("os.fsync", lambda handle: None)
        patch.setattr(precompute, "make_extractor", extractor)
        patch.setattr(precompute, "resolve", lambda word: SimpleNamespace(stream=word))
        yield lambda: World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(new_world):
    """Two files, of two clips and of one, are extracted."""
    return new_world()


NAMES = st.sampled_from(["a.mp4", "d/b.mp4", "d/c.mp4", "A.mp4"])
CONTENTS = st.sampled_from(["1aa", "1ab", "2aa", "2ab", "3aa", "0aa", "1a", "2abc"])
STEPS = st.tuples(st.sampled_from(["put", "move", "copy", "touch", "remove", "swap"]), NAMES, NAMES, CONTENTS)


def step(world, what, one, other, content):
    first, second = world.videos / one, world.videos / other
    if what == "put":
        world.put(one, content)
    elif first.exists() and one != other:
        match what:
            case "move":
                world.move(one, other)
            case "copy":
                world.put(other, first.read_text())
            case "touch":
                world.touch(one)
            case "remove":
                first.unlink()
            case "swap" if second.exists():
                for names in ((one, "aside"), (other, one), ("aside", other)):
                    world.move(*names)


@pytest.mark.parametrize("examples", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_after_each_run_the_store_has_what_the_files_are_and_nothing_that_it_had_is_decoded(new_world, examples):
    @settings(max_examples=examples)
    @given(runs=st.lists(st.lists(STEPS, min_size=1, max_size=4), min_size=1, max_size=3))
    def law(runs):
        world = new_world()
        world.put("always.mp4", "2zz")
        world.run()
        for steps in runs:
            before = set(world.store.clips["file_sha256"])
            for each in steps:
                step(world, *each)
            world.run()
            for video in world.decoded:
                content = (world.videos / video).read_bytes()
                assert content[:1] == b"0" or hashlib.sha256(content).hexdigest() not in before
            world.check(gone=set(world.store.files.index) - set(find_media(world.videos).videos))
            world.drop()
            world.check()
        assert check_store(world.directory, lambda *_: None).wrong == []

    law()


@pytest.mark.parametrize("content", ["1aa", "2ab", "3aa", "2abcdef", "2", "0aa"])
def test_of_a_changed_file_nothing_old_stays(world, content):
    for now in (content, "2aa"):
        world.put("a.mp4", now)
        assert world.run(skip_failed=True).changes.changed == {"a.mp4"}
        assert (world.run(skip_failed=True).skipped, world.compared) == (now == "0aa", 0)
        world.check()


def test_all_streams_of_a_changed_file_are_extracted_again_by_one_job_or_several(world):
    world.run("s", "t")
    world.put("a.mp4", "3zz")
    world.run("s", "t")
    world.check()
    world.put("a.mp4", "1zz")
    world.run("t")
    assert world.store.done("s") == {"d/b.mp4"}
    world.run("s")
    world.check()


def test_a_touch_a_moved_folder_a_copy_a_link_and_swapped_names_cost_no_decoding(world):
    world.touch("a.mp4")
    assert (world.run().changes.changed, world.decoded, world.compared) == (set(), [], 1)
    world.check()
    world.move("d", "e")
    assert list(world.run().changes.taken) == ["e/b.mp4"]
    shutil.copy(world.videos / "a.mp4", world.videos / "copy.mp4")
    os.link(world.videos / "a.mp4", world.videos / "link.mp4")
    assert (len(world.run().changes.taken), world.decoded) == (2, [])
    for names in (("a.mp4", "aside"), ("e/b.mp4", "a.mp4"), ("aside", "e/b.mp4")):
        world.move(*names)
    assert (len(world.run().changes.taken), world.decoded) == (2, [])
    world.check(gone=["d/b.mp4"])


def test_streams_that_a_renamed_file_lacks_are_extracted(world):
    world.move("a.mp4", "z.mp4")
    world.run("s", "t")
    assert world.decoded == ["d/b.mp4", "z.mp4"]
    world.check(gone=["a.mp4"])
    world.move("z.mp4", "y.mp4")
    world.run("t", overwrite=True)  # s is taken over
    world.check(gone=["a.mp4", "z.mp4"])


def test_one_file_is_redone_and_keeps_what_it_had_where_that_fails(world):
    world.run(redo=("a.mp4",))
    assert world.decoded == ["a.mp4"]
    world.check()
    world.put("a.mp4", "0aa")
    world.put("d/b.mp4", "0bb")
    assert len(world.run(redo=("a.mp4", "d/b.mp4")).failures) == 2
    assert sorted(world.store.clips.index) == ["a.mp4#t=0,1", "a.mp4#t=1,2", "d/b.mp4"]
    with pytest.raises(ValueError, match="redo and overwrite exclude each other"):
        PrecomputeConfig(redo=("a.mp4",), overwrite=True)


def test_what_cannot_be_read_or_is_of_an_import_is_neither_changed_nor_renamed(world, monkeypatch, store_job):
    world.touch("a.mp4")
    denied = Mock(side_effect=OSError(errno.EACCES, "Permission denied"))
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", denied)
        assert (world.run().changes.changed, world.decoded) == (set(), [])
    store = world.store
    with monkeypatch.context() as patch:
        patch.setattr(type(world.videos), "lstat", denied)  # of a folder that may not be entered
        assert gone_from([world.videos], store, Selection()) == []
    imported = store_job.write(store_job.record("a.mp4", file_bytes=0, s=np.ones((1, 3))), s=3)
    assert precompute.find_changes(find_media(world.videos), FeatureStore(imported), None) == precompute.Changes()


def test_a_file_that_changes_while_it_is_read_has_failed(job, monkeypatch):
    monkeypatch.setattr("features.job.worker.stamp_of", Mock(side_effect=[Stamp(1, 1.0), Stamp(2, 1.0)]))
    job.prepare("a.mp4")
    config = PrecomputeConfig(streams=("motion",), run=RunConfig(device="cpu"))
    *_, last = FileWorker(WorkerSetup((resolve("motion"),), config))(FileTask(job.videos, "a.mp4", ("motion",)))
    assert last == FileFailure("it changed while it was read; run this again when it is whole")


def test_what_is_gone_is_dropped_but_not_all_of_it(world, says):
    (world.videos / "a.mp4").unlink()
    assert world.drop(dry_run=True) == ["a.mp4"]
    world.check(gone=["a.mp4"])
    assert world.drop() == ["a.mp4"]
    assert (world.drop(), list(world.store.rows.index)) == ([], ["d/b.mp4"])
    assert world.drop(exclude=("D",), everything=True, dry_run=True) == ["d/b.mp4"]
    said, empty = [], world.videos.with_name("empty")
    empty.mkdir()
    for folder in (empty, world.videos / "nowhere", world.videos / "d" / "b.mp4"):
        with pytest.raises(InputError) as caught:
            world.drop(folder)
        said.append(str(caught.value).replace(str(empty.parent), "TMP"))
    says("\n".join(said))
    world.put("a.mp4", "2aa")
    world.run()
    assert world.decoded == ["a.mp4"]
    world.check()
    assert (world.drop(empty, everything=True), len(world.store.rows)) == (["a.mp4", "d/b.mp4"], 0)


@pytest.mark.parametrize("step", ["write_whole", "write_sums"])
@pytest.mark.parametrize("work", [World.drop, World.run])
def test_killed_while_it_drops_or_takes_over_the_store_is_as_before(world, monkeypatch, step, work):
    world.move("a.mp4", "z.mp4")
    before = world.store.rows
    with monkeypatch.context() as patch:
        patch.setattr(f"features.store.writer.{step}", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            work(world)
    assert world.store.rows.equals(before)
    world.run()
    assert world.decoded == []
    world.check(gone=["a.mp4"])
