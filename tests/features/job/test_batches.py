"""Batches of clips for shared extractors: who gets what, and who is to blame."""

import numpy as np
import pytest

from features.errors import InputError
from features.job.batches import ModelBatches, WaitingClip
from features.job.worker import FileTask
from features.media.clip import Clip, Frames, Span
from features.store.layout import ClipRecord


@pytest.fixture
def waiting(shared_extractor, store_job, tmp_path):
    """waiting("a", "bug-b", ...) -> clips of files of these names, each of one grey."""

    def make(name, streams=("shared",), side=4):
        (need,) = shared_extractor.needs
        grey = sum(map(ord, name)) % 200
        frames = Frames(pixels=np.full((2, side, side, 3), grey, np.uint8), times=np.array([0.0, 0.25]))
        span = Span(clip_id=name, video=name, start_s=0.0, end_s=0.5)
        record = store_job.record(name, odd=None)
        clip = Clip(span=span, reader="pyav", frames={need: frames})
        return WaitingClip(FileTask(tmp_path, name, streams), record, clip, streams)

    return make


@pytest.fixture
def run(waiting, shared_extractor):
    def call(*names, extractor=None):
        models = ModelBatches({"shared": extractor or shared_extractor()}, 32)
        for name in names:
            models.add(waiting(name))
        return {task.video: result for task, result in models.run()}

    return call


def test_one_call_for_all(run, shared_extractor):
    results = run("a", "b", "c")
    assert [ids for _, ids in shared_extractor.calls] == [["a", "b", "c"]]
    assert {name: record.streams["shared"][0, 0] for name, record in results.items()} == {
        "a": 97,
        "b": 98,
        "c": 99,
    }
    record = results["a"]
    assert record.streams["shared"].dtype == np.float16
    assert record.streams["odd"] is None  # what it had is kept
    np.testing.assert_array_equal(record.times["shared"], np.float32([0.0, 0.25]))


def test_a_batch_that_raises_is_tried_clip_by_clip(run, shared_extractor, caplog):
    results = run("a", "bug-1", "b", "sick-2")
    assert [ids for _, ids in shared_extractor.calls] == [
        ["a", "bug-1", "b", "sick-2"],
        ["a"],
        ["bug-1"],
        ["b"],
        ["sick-2"],
    ]
    assert results["bug-1"] == "RuntimeError: two lines"
    assert results["sick-2"] == "the model cannot work on it"
    assert isinstance(results["a"], ClipRecord)
    assert isinstance(results["b"], ClipRecord)
    assert "bug-1" in caplog.text
    assert "sick-2" not in caplog.text  # no mistake of ours


def test_an_extractor_that_gives_too_few_streams(run, shared_extractor):
    from shared_extractor import Forgetful

    results = run("a", "b", extractor=Forgetful())
    assert set(results.values()) == {"RuntimeError: its shared extractor gave 0 streams for 1 clips"}


def test_a_model_that_breaks_on_every_file_is_to_blame_itself(run):
    nine = [f"bug-{number}" for number in range(9)]
    assert len(run(*nine, "a", *(f"{name}b" for name in nine))) == 19  # no ten in a row
    assert len(run(*(f"sick-{number}" for number in range(12)))) == 12  # they are, by its own word
    with pytest.raises(InputError, match=r"'shared' broke on 10 files in a row, .*: RuntimeError: two lines"):
        run(*nine, "sick-0", "bug-9", "a")


def test_only_the_clips_that_lack_a_stream(waiting, shared_extractor):
    models = ModelBatches({"shared": shared_extractor(), "other": shared_extractor()}, 32)
    for each in (waiting("a"), waiting("b", ("other",)), waiting("c", ("shared", "other"))):
        models.add(each)
    made = {task.video: set(record.streams) for task, record in models.run()}
    assert made == {"a": {"odd", "shared"}, "b": {"odd", "other"}, "c": {"odd", "shared", "other"}}
    assert [ids for _, ids in shared_extractor.calls] == [["a", "c"], ["b", "c"]]


def test_full_by_number_or_by_size(waiting, shared_extractor, monkeypatch):
    models = ModelBatches({"shared": shared_extractor()}, 2)
    models.add(waiting("a"))
    assert not models.full
    models.add(waiting("b"))
    assert models.full
    assert len(list(models.run())) == 2
    assert not models.full
    monkeypatch.setattr("features.job.batches.BYTES", 2 * 64 * 64 * 3)
    models.add(waiting("large", side=64))
    assert models.full
