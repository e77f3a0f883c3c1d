"""Fixtures for the readers: media files that the tests write themselves; and stores filled by hand."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from features.errors import InputError
from features.extractors.base import Fingerprint
from features.store.layout import ClipRecord
from features.store.manifest import declare
from features.store.writer import StoreWriter
from tests.features import ffmpeg_program, media_files


@pytest.fixture(scope="session")
def media() -> ModuleType:
    """The module media_files.py."""
    return media_files


@pytest.fixture(scope="session")
def ffmpeg() -> ModuleType:
    """The module ffmpeg_program.py."""
    return ffmpeg_program


@pytest.fixture
def says_all(says: Callable[[str], None]) -> Callable[..., None]:
    """says_all(call, cases): what `says` compares is one sentence a case, of the error that call(case) raises."""

    def compare(call, cases):
        messages = []
        for case in cases:
            with pytest.raises(InputError) as raised:
                call(case)
            messages.append(str(raised.value))
        says("\n".join(messages))

    return compare


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
    """`third_party(odd="Odd", ...)`: a folder with odd_extractor.py installed, by stream the class."""

    def install(**classes: str) -> Path:
        place, name = tmp_path_factory.mktemp("site"), next(iter(classes))
        shutil.copy(Path(__file__).with_name("odd_extractor.py"), place)
        info = place / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        entries = [f"{stream} = odd_extractor:{kind}" for stream, kind in classes.items()]
        (info / "entry_points.txt").write_text("\n".join(["[mee.extractors]", *entries, ""]))
        return place

    return install


@pytest.fixture
def odd_extractors(third_party: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream `odd` of odd_extractor.py, installed for one test, and others that cannot be made."""
    broken = {"not_there": "NotThere", "no_extractor": "Path", "incomplete": "Incomplete", "misnamed": "Misnamed"}
    monkeypatch.syspath_prepend(third_party(odd="Odd", appearance="Odd", **broken))


@pytest.fixture
def shared_extractor(third_party: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> type:
    """The streams `shared` and `forgetful`, made in the main process, installed for one test. The class."""
    monkeypatch.syspath_prepend(third_party(shared="Shared", forgetful="Forgetful"))
    from odd_extractor import Shared

    for name, value in {"calls": [], "seen": [], "delay": 0.0, "before": None}.items():
        monkeypatch.setattr(Shared, name, value)
    return Shared
