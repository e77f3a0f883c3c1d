"""Indexes for tests."""

import pytest

from index.scanners import kinds
from index.scanners.kinds import Settings
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex
from tests.index.galleries import LAYOUT, ORIGIN, entries_of, in_memory


@pytest.fixture
def place(tmp_path):
    """Of an index."""
    return tmp_path / "ix"


@pytest.fixture(scope="session")
def make_index():
    """make_index(gallery, directory, kind): in memory, or in a directory with every partition of one kind."""

    def make(gallery, directory=None, kind="flat", *, layout=LAYOUT, offsets=None, **columns):
        entries = entries_of(gallery, layout, **columns)
        if directory is None:
            return in_memory(entries, layout, offsets)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kinds, "SMALL", 1)
            settings = Settings(kind=kind)
            with IndexWriter.create(directory, layout, ORIGIN, settings=settings, offsets=offsets) as writer:
                writer.put(entries)
                writer.compact()
        video_index = VideoIndex.open(directory)
        assert {partition.scanner.kind for partition in video_index.snapshot.partitions} == {kind}
        return video_index

    return make
