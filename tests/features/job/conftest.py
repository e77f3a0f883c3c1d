"""A job over a folder of clips whose names say what happens to them."""

from pathlib import Path

import pytest

from features.extractors.spec import RunConfig
from features.job.config import PrecomputeConfig
from features.job.precompute import Job
from features.media.library import find_media
from features.store.feature_store import FeatureStore


@pytest.fixture
def pool_work(monkeypatch):
    """The module tests/features/pool_work.py, in workers too."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    import pool_work

    return pool_work


@pytest.fixture
def job(tmp_path, media, odd_extractors, shared_extractor, monkeypatch):
    """job("a.mp4", ..., streams=("odd",), **settings) -> the report; clips of these names are written first."""
    videos, directory, marks = (tmp_path / name for name in ("videos", "store", "marks"))
    videos.mkdir()
    marks.mkdir()
    monkeypatch.setenv("ODD_MARKS", str(marks))

    def prepare(*names, frames=10, batch_size=32, store=directory, **settings):
        for name in names:
            media.write(videos / name, [media.plain(number) for number in range(frames)])
            media.own_content(videos / name, name)
        usual = {"streams": ("odd",), "workers": 2, "run": RunConfig(device="cpu", batch_size=batch_size)}
        return Job(find_media(videos), store, PrecomputeConfig(**(usual | settings)))

    def run(*names, on_file=lambda report: None, **settings):
        seen = []
        report = prepare(*names, **settings).run(lambda r: (seen.append(len(r.outcomes)), on_file(r)))
        assert seen == list(range(1, len(report.outcomes) + 1))
        return report

    run.videos, run.directory, run.marks, run.prepare = videos, directory, marks, prepare
    run.store = lambda: FeatureStore(directory)
    return run
