"""An index of each kind, for those who change it; a test that hangs ends."""

import shutil
import signal

import numpy as np
import pytest

from index.scanners import Settings, kinds
from index.storage.writer import IndexWriter
from tests.index.galleries import LAYOUT, ORIGIN, SPOKEN, entries_of, random_gallery
from tests.index.storage.hostile import COUNT


@pytest.fixture(scope="session")
def indexes(tmp_path_factory):
    """Kind of scanner -> an index of one segment with a removed clip and offsets; "words": with such experts."""
    places = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "SMALL", {})
        for kind in ("flat", "certified", "fastscan", "words"):
            places[kind], layout = tmp_path_factory.mktemp(kind) / "ix", SPOKEN[0] if kind == "words" else LAYOUT
            settings, facts = Settings(kind="certified" if kind == "words" else kind), {"method": "made"}
            with IndexWriter.create(places[kind], layout, ORIGIN, settings=settings, offsets=facts) as writer:
                more = {"note": [None if n % 3 else f"é{n}" for n in range(COUNT)], "flag": [True] * COUNT}
                writer.put(
                    entries_of(
                        random_gallery(COUNT, layout=layout), layout, offset=np.arange(COUNT) / 1000, **more
                    )
                )
                writer.compact()
                writer.remove(["c00007"])
    return places


@pytest.fixture
def copied(indexes, tmp_path):
    """copied(kind): a fresh copy of an index."""

    def copy(kind="flat"):
        shutil.rmtree(tmp_path / "ix", ignore_errors=True)
        return shutil.copytree(indexes[kind], tmp_path / "ix")

    return copy


@pytest.fixture
def no_hang():
    signal.alarm(60)
    yield
    signal.alarm(0)
