"""Batches of clips for shared extractors: which clips each gets, and which file fails."""

import numpy as np
import pytest

from features.errors import InputError
from features.job.batches import ModelBatches
from features.job.result import ClipResult, FileResult, FileTask
from features.media.clip import Clip, Frames, Span


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
    from shared_extractor import Forgetful

    results = run("a", "b", extractor=Forgetful())
    assert set(results.values()) == {"RuntimeError: its shared extractor gave 0 streams for 1 clips"}
    nine = [f"bug-{number}" for number in range(9)]
    assert len(run(*nine, "a", *(f"{name}b" for name in nine))) == 19  # not ten in a row
    assert len(run(*(f"sick-{number}" for number in range(12)))) == 12  # the extractor names the files
    with pytest.raises(InputError, match=r"'shared' broke on 10 files in a row, .*: RuntimeError: two lines"):
        run(*nine, "sick-0", "bug-9", "a")


def test_only_the_clips_that_lack_a_stream(waiting, shared_extractor):
    models = ModelBatches({"shared": shared_extractor(), "other": shared_extractor()}, 32)
    for name, streams in {"a": ("shared",), "b": ("other",), "c": ("shared", "other")}.items():
        models.add(*waiting(name, streams))
    made = {file.task.video: set(clip.streams) for file, clip, _ in models.run()}
    assert made == {"a": {"odd", "shared"}, "b": {"odd", "other"}, "c": {"odd", "shared", "other"}}
    assert [ids for _, ids in shared_extractor.calls] == [["a", "c"], ["b", "c"]]


def test_full_by_number_or_by_size(waiting, shared_extractor, monkeypatch):
    models = ModelBatches({"shared": shared_extractor()}, 2)
    full = [(models.add(*waiting(name)), models.full)[1] for name in "ab"]
    assert (full, len(list(models.run())), models.full) == ([False, True], 2, False)
    monkeypatch.setattr("features.job.batches.BYTES", 2 * 64 * 64 * 3)
    models.add(*waiting("large", side=64))
    assert models.full
