"""Fixtures for the readers: media files that the tests write themselves; and stores filled by hand."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import tests.features.media as media_module
from features.extractors.base import Fingerprint
from features.store.layout import ClipRecord
from features.store.manifest import declare
from features.store.writer import StoreWriter
from tests.features import ffmpeg_program


@pytest.fixture(scope="session")
def media() -> ModuleType:
    """The module media.py."""
    return media_module


@pytest.fixture(scope="session")
def ffmpeg() -> ModuleType:
    """The module ffmpeg_program.py."""
    return ffmpeg_program


@pytest.fixture
def store_job(tmp_path: Path) -> SimpleNamespace:
    """Fills stores without decoding anything: `declare` streams, make a `record`, `write` records as one job."""
    return SimpleNamespace(**_store_job(tmp_path / "store"))


@pytest.fixture(scope="session")
def fill_store() -> Callable[..., Path]:
    """fill_store(directory, {clip: rows or None}, {clip: times}): the stream `s`, one job."""

    def fill(directory, streams, times):
        job = SimpleNamespace(**_store_job(directory))
        (dim,) = {rows.shape[1] for rows in streams.values() if rows is not None}
        given = {name: {"times": {"s": times[name]}} if name in times else {} for name in streams}
        return job.write(*(job.record(name, s=rows, **given[name]) for name, rows in streams.items()), s=dim)

    return fill


def _store_job(place: Path) -> dict:
    def begin(directory=place, *, version=1, clip_seconds=None, overwrite=False, **dims):
        made_by = {name: Fingerprint(extractor=name, version=version, dim=dim) for name, dim in dims.items()}
        return declare(directory, made_by, clip_seconds, overwrite=overwrite)

    def record(clip_id, video=None, *, of=1, **columns):
        facts = {"start_s": 0.0, "end_s": 1.0, "verdict": "ok", "note": "", "reader": "pyav", "file_bytes": 100}
        facts |= {name: columns.pop(name) for name in list(columns) if name in ClipRecord.__dataclass_fields__}
        return ClipRecord(clip_id=clip_id, video=video or clip_id, clips_of_video=of, streams=columns, **facts)

    def write(*records, directory=place, **settings):
        manifest = begin(directory, **settings)
        with StoreWriter(directory, manifest) as writer:
            for each in records:
                writer.add([each])
        return directory

    return {"directory": place, "declare": begin, "record": record, "write": write}


@pytest.fixture
def store(store_job: SimpleNamespace) -> Path:
    """Two shards of two clips; `sight` has times, `sound` none and is missing of one clip."""
    rows = np.arange(6, dtype=np.float16).reshape(2, 3)
    times = {"sight": np.array([0.25, 0.75], np.float32)}
    sound = dict.fromkeys("abc", rows[:, :2])
    for names in ("ab", "cd"):
        records = [store_job.record(name, sight=rows, sound=sound.get(name), times=times) for name in names]
        store_job.write(*records, sight=3, sound=2)
    return store_job.directory


@pytest.fixture(scope="session")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`third_party(name, entry, ...)`: a folder with a package installed, of NAME_extractor.py."""

    def install(name: str, *entries: str) -> Path:
        place = tmp_path_factory.mktemp("site")
        shutil.copy(Path(__file__).with_name(f"{name}_extractor.py"), place)
        info = place / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join(["[mee.extractors]", *entries, ""]))
        return place

    return install


@pytest.fixture
def odd_extractors(third_party: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream `odd` of odd_extractor.py, installed for one test, and others that cannot be made."""
    ours = [f"{name} = odd_extractor:{kind}" for name, kind in (("odd", "Odd"), ("appearance", "Odd"))]
    monkeypatch.syspath_prepend(
        third_party("odd", *ours, "not_there = odd_extractor:NotThere", "no_extractor = pathlib:Path")
    )


@pytest.fixture
def shared_extractor(third_party: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> type:
    """The streams `shared` and `forgetful`, made in the main process, installed for one test. The class."""
    entries = ("shared = shared_extractor:Shared", "forgetful = shared_extractor:Forgetful")
    monkeypatch.syspath_prepend(third_party("shared", *entries))
    from shared_extractor import Shared

    for name, value in {"calls": [], "seen": [], "delay": 0.0, "before": None}.items():
        monkeypatch.setattr(Shared, name, value)
    return Shared
