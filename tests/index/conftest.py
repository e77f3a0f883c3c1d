"""Indexes for tests."""

import pytest

from index.scanners import coding, kinds
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
    """make_index(gallery, directory, kind): in memory, or in a directory with every partition of one kind.

    "prefixes" are certified ones with as short prefixes as can be.
    """

    def make(gallery, directory=None, kind="flat", *, layout=LAYOUT, offsets=None, **columns):
        entries = entries_of(gallery, layout, **columns)
        if directory is None:
            return in_memory(entries, layout, offsets)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kinds, "SMALL", {})
            prefixes = kind == "prefixes"
            if prefixes:
                patch.setattr(coding, "STEP", 2)
                patch.setattr(coding, "SHORT", 9)
            settings = Settings(kind="certified" if prefixes else kind)
            with IndexWriter.create(directory, layout, ORIGIN, settings=settings, offsets=offsets) as writer:
                writer.put(entries)
                writer.compact()
        video_index = VideoIndex.open(directory)
        scanners = [each.scanner for each in video_index.snapshot.partitions if each.scanner.shape.width]
        assert {scanner.kind for scanner in scanners} == (
            {"certified" if prefixes else kind} if scanners else set()
        )
        assert not prefixes or all(scanner.coding.short for scanner in scanners)
        return video_index

    return make
