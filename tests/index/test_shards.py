"""Searches of an index in shards are those of one index of the same clips, to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale.shards import answered, asked
from benchmarks.sequences.cost import Given
from index.queries import Queries
from index.scanners import Settings
from index.searcher import Searcher
from index.storage.sharded import create_writer
from index.text_side import Text
from index.video_index import VideoIndex
from tests.index.galleries import LAYOUT, ORIGIN, entries_of, random_gallery, random_text

COUNT, VIDEOS = 240, 30
PLAIN = replace(LAYOUT, missing="renormalise")
SPOKEN = replace(LAYOUT, names=("appearance", "speech", "audio", "text"), words=("speech", "text"))


def made(layout, first, count):
    """Clips of which a tenth looks like others."""
    rng = np.random.default_rng(first)
    columns = {
        "video": [f"v{number}" for number in rng.permutation(count) % VIDEOS],
        "start_s": np.arange(count) * 5.0,
        "end_s": np.arange(count) * 5.0 + rng.integers(1, 12, count),
        "split": rng.choice(["val", "test"], count),
        "views": rng.integers(1000, size=count),
        "file_modified": [f"2024-{number:02}-01" for number in rng.integers(1, 13, count)],
        "file_seconds": rng.integers(100, 200, count).astype(float),
    }
    gallery = random_gallery(count, seed=first, first=first, doubled=0.1, layout=layout)
    return entries_of(gallery, layout, **columns)


@pytest.fixture(scope="module")
def searchers(tmp_path_factory):
    """Layout -> searchers of one index, of several segments, and of four shards."""

    def make(layout, kind):
        place, found = tmp_path_factory.mktemp("shards"), []
        for shards in (0, 4):
            how = {"settings": Settings(kind=kind), "overwrite": False, "shards": shards}
            with create_writer(place / str(shards), layout, ORIGIN, **how) as writer:
                writer.put(made(layout, 0, COUNT // 2))
                writer.put(made(layout, COUNT // 2, COUNT))
                writer.remove(["c00007", "c00150"])
                if shards:
                    writer.compact()
            queries = Queries.of(random_text(1000, layout=layout))
            found.append(Searcher(VideoIndex.open(place / str(shards)), Text(None, Given(queries))))
        assert [len(its.video_index.snapshot.shards) for its in found] == [0, 4]
        return found

    return [make(PLAIN, "certified"), make(SPOKEN, "flat")]


@given(seed=st.integers(0, 2**32), number=st.integers(0, 1))
def test_they_say_the_same(searchers, seed, number):
    one, four = searchers[number]
    request = asked(np.random.default_rng(seed), one, four)
    assert answered(request, four).split("\n") == answered(request, one).split("\n")
