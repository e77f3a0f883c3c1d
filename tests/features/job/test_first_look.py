"""Jobs of one frame a clip, callbacks that end a job or look into its store, and streams declared before."""

import multiprocessing
from unittest.mock import Mock

import pytest

from features.errors import InputError
from features.job.config import PrecomputeConfig
from features.job.precompute import Job, declare_streams
from features.media.library import find_media
from features.store.feature_store import FeatureStore

ODD = PrecomputeConfig(streams=("odd",), workers=2)


@pytest.fixture
def looks(job, tmp_path):
    """looks(config): a job of first looks over the clips of `job`."""
    return lambda config=ODD: Job(find_media(job.videos), tmp_path / "first", config, first_look=True)


def test_one_row_a_clip_of_the_same_clips_and_no_store_takes_both(job, looks, tmp_path):
    job("a.mp4", "b.mp4", "none-.mp4", frames=50, clip_seconds=2.0)
    config = PrecomputeConfig(streams=("odd",), clip_seconds=2.0)
    report = looks(config).run(lambda _: None)
    first, full = FeatureStore(tmp_path / "first"), job.store()
    assert (report.clips, list(first.clips.index)) == (len(full.clips), list(full.clips.index))
    facts = ["video", "start_s", "end_s", "verdict", "file_sha256", "odd"]
    assert first.clips[facts].astype(str).equals(full.clips[facts].astype(str))
    assert set(first.lengths("odd", first.clips.index)) == {0, 1}
    assert looks(config).tasks == []
    jobs = [lambda: Job(find_media(job.videos), tmp_path / "first", config)]
    jobs += [lambda: Job(find_media(job.videos), job.directory, config, first_look=True)]
    for begin in jobs:
        with pytest.raises(InputError, match="its 'odd' was made by another extractor"):
            begin()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["on_file", "on_tick"])
def test_a_callback_that_raises_ends_the_job_in_order(job, error, name):
    begun = job.prepare("a.mp4", "b.mp4", "hang-.mp4")

    def stop(report):
        if len(report.outcomes) == 2:
            raise error

    with pytest.raises(error):
        begun.run(**{"on_file": lambda report: None, name: stop})
    assert multiprocessing.active_children() == []
    assert sorted(job.store().clips.index) == ["a.mp4", "b.mp4"]
    assert list(job.directory.glob("writers/*.lock")) == []


def test_a_callback_finds_in_the_store_what_is_done(job):
    begun, found = job.prepare("a.mp4", "b.mp4", "c.mp4"), []

    def look(report):
        begun.flush()
        found.append((len(report.outcomes), len(job.store().clips)))

    begun.flush()
    begun.run(look)
    begun.flush()
    assert found == [(1, 1), (2, 2), (3, 3)]


def test_streams_are_declared_before_and_no_weights_are_loaded(job, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("odd_extractor.Odd.load", Mock(side_effect=InputError("loaded")))
        for _ in range(2):
            declare_streams(job.directory, PrecomputeConfig(streams=("odd", "audio", "shared")))
    assert (len(job.store().clips), list(job.store().dims)) == (0, ["odd", "audio", "shared"])
    with pytest.raises(InputError, match="--clip-seconds default"):
        declare_streams(job.directory, PrecomputeConfig(streams=("odd",), clip_seconds=2.0))
    assert job("a.mp4", streams=("audio",)).clips == 1
    assert job(streams=("odd",)).clips == 1
    store = FeatureStore(job.directory, so_far=True)
    assert store.clips.loc["a.mp4", ["odd", "audio", "shared"]].tolist() == ["present", "missing", "missing"]
    assert store.unfinished(["shared"]) == ["a.mp4"]
