"""Whatever is put, replaced and removed: the index holds what a dict holds, for its writer and for readers."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from index.scanners.kinds import Settings
from index.storage import merge
from index.storage import writer as writer_module
from index.storage.manifest import Recall
from index.storage.snapshot import read_snapshot, refreshed
from index.storage.verify import verify_index
from index.storage.writer import IndexWriter
from mee.errors import InputError
from tests.index.made_clips import LAYOUT, ORIGIN, SPOKEN, as_dict, contents, made_entries

IDS = [f"c{number:02d}" for number in range(24)] + ["é", "日本", "a b/c#t=1,2"]
SOME = st.lists(st.sampled_from(IDS), min_size=1, max_size=12, unique=True)
FACTS = {"method": "nnn", "bank": 3}
RECALL = Recall(0.99, 0.995, 100, 10, 500, "500 sentences of q.txt", 1000)


class Machine(RuleBasedStateMachine):
    """A writer, a reader that refreshes, and a dict; of an index that has offsets and words, or not."""

    @initialize(
        many=st.integers(2, 8),
        floor=st.sampled_from([2, 8, 1024]),
        offsets=st.booleans(),
        layout=st.sampled_from([LAYOUT, SPOKEN]),
    )
    def begin(self, many, floor, offsets, layout):
        self.offsets, self.layout, self.folder = offsets, layout, Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(writer_module, "MANY", many)
        self.patch.setattr(merge, "FLOOR", floor)
        facts = FACTS if self.offsets else None
        self.writer = IndexWriter.create(self.folder / "ix", layout, ORIGIN, offsets=facts)
        self.reader = read_snapshot(self.folder / "ix")
        self.old = self.reader, contents(self.reader)
        self.expected, self.seed = {}, 0

    @rule(ids=SOME, split=st.sampled_from([None, "test", 1.5]))
    def put(self, ids, split):
        self.seed += 1
        columns = {} if split is None else {f"split{type(split).__name__}": [split] * len(ids)}
        entries = made_entries(ids, seed=self.seed, layout=self.layout, offsets=self.offsets, **columns)
        self.writer.put(entries)
        self.expected |= as_dict(entries, self.layout)

    @rule(data=st.data())
    def remove(self, data):
        if self.expected:
            gone = data.draw(st.lists(st.sampled_from(sorted(self.expected)), unique=True))
            assert self.writer.remove(gone) == len(gone)
            for clip_id in gone:
                del self.expected[clip_id]
        with pytest.raises(ValueError, match="1 clips are not in the index, 'nobody' among them"):
            self.writer.remove([*self.expected, "nobody"])

    @rule(kind=st.sampled_from(["auto", "flat", "fastscan", "certified"]))
    def compact(self, kind):
        self.writer.compact(settings=Settings(kind=kind))
        assert len(self.writer.snapshot.segments) <= 1
        assert self.writer.snapshot.settings == Settings(kind=kind)

    @rule()
    def reopen(self):
        self.writer.close()
        assert verify_index(self.folder / "ix") == []
        self.writer = IndexWriter.open(self.folder / "ix")

    @rule()
    def refresh(self):
        self.reader = refreshed(self.reader)
        assert contents(self.reader) == self.expected
        assert refreshed(self.reader) is self.reader

    @rule()
    def look_at_what_was(self):
        snapshot, kept = self.old
        assert contents(snapshot) == kept
        self.old = self.reader, contents(self.reader)

    @invariant()
    def holds_the_same(self):
        if hasattr(self, "writer"):
            assert contents(self.writer.snapshot) == self.expected
            bare = sorted(clip_id for clip_id, (_, _, there) in self.expected.items() if not any(there))
            assert self.writer.snapshot.without_stream() == bare
            assert len(self.writer.snapshot) == len(self.expected) - len(bare)

    def teardown(self):
        if hasattr(self, "writer"):
            self.writer.close()
            assert contents(read_snapshot(self.folder / "ix")) == self.expected
            self.patch.undo()
            shutil.rmtree(self.folder)


TestMachine = Machine.TestCase
TestMachine.settings = hypothesis_settings(max_examples=11, stateful_step_count=18)


def test_a_put_is_all_or_nothing(place):
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        writer.put(made_entries(["a", "b"], split=["x", "y"]))
        before = contents(writer.snapshot)
        bad = made_entries(["a", "c"], seed=5, missing=0)
        bad.packed[1, 0] = np.nan
        with pytest.raises(ValueError, match="clip 'c' by expert 'appearance' has values that are not finite"):
            writer.put(bad)
        with pytest.raises(ValueError, match="column 'split' holds numbers here and text in the index"):
            writer.put(made_entries(["d"], split=[1.5]))
        assert contents(writer.snapshot) == before
    assert contents(read_snapshot(place)) == before


def test_offsets_and_recall_come_and_go(place):
    ids = IDS[:20]
    entries = made_entries(ids)
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        writer.put(entries)
        writer.set_recall(RECALL)
        given = {clip_id: number / 7 for number, clip_id in enumerate(ids)}
        for offset in (np.nan, 1e39):
            with pytest.raises(ValueError, match="1 clips have no finite offset, 'c00' among them"):
                writer.compact(offsets={**given, "c00": offset}, facts=FACTS)
        writer.compact(offsets=given, facts=FACTS)
        assert writer.snapshot.offsets == FACTS
        assert writer.snapshot.recall is None
        kept = contents(read_snapshot(place))
        assert {clip_id: facts["offset"] for clip_id, (facts, *_) in kept.items()} == given
        with pytest.raises(ValueError, match="this index has offsets, and 1 clips have none, 'x'"):
            writer.put(made_entries(["x"], missing=0))
        writer.compact(settings=Settings(kind="flat"))
        assert writer.snapshot.offsets == FACTS
        assert contents(writer.snapshot) == kept
        writer.compact(drop_offsets=True)
        assert read_snapshot(place).offsets is None
        assert contents(read_snapshot(place)) == kept  # the table keeps them, the vectors do not
        with pytest.raises(ValueError, match="offsets come with facts"):
            writer.compact(offsets=given)
        writer.set_recall(RECALL)  # stays until something else is searched
        writer.put(made_entries(["new"]))
        writer.compact()
        assert read_snapshot(place).recall == RECALL
        writer.compact(settings=Settings(kind="auto"))
        assert read_snapshot(place).recall is None


def test_an_index_has_one_writer_until_that_closes_fails_or_dies(place):
    with IndexWriter.create(place, LAYOUT, ORIGIN):
        with pytest.raises(InputError, match=re.escape(f"is writing the index at '{place}'")):
            IndexWriter.open(place)
        with pytest.raises(InputError, match=re.escape(f"is writing the index at '{place}'")):
            IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True)
    code = "import os, pathlib; from index.storage.writer import IndexWriter; "
    code += f"held = IndexWriter.open(pathlib.Path({str(place)!r})); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 9
    IndexWriter.open(place).close()
    (place / "index.json").write_bytes(b"damaged")
    for _ in range(2):
        with pytest.raises(InputError, match="is damaged"):
            IndexWriter.open(place)


def test_a_put_is_one_segment_segments_stay_few_and_closing_merges_them(place):
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        for number in range(4):
            writer.put(made_entries([f"n{number}-{other}" for other in range(5)]))
            assert len(read_snapshot(place).segments) == number + 1
    assert len(read_snapshot(place).segments) == len(list((place / "segments").iterdir())) == 1
    with IndexWriter.open(place) as writer:
        before = contents(writer.snapshot)
    assert contents(read_snapshot(place)) == before
    with IndexWriter.open(place) as writer:
        for number in range(2 * writer_module.MANY):
            writer.put(made_entries([f"m{number:03d}"]))
            assert len(writer.snapshot.segments) <= writer_module.MANY
        assert len(contents(writer.snapshot)) == 20 + 2 * writer_module.MANY


def test_segments_of_which_nothing_counts_go_and_those_of_which_little_counts_are_merged(place):
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        writer.put(made_entries(IDS))
        writer.put(made_entries(IDS[:-2], seed=1))
        assert [len(segment) for segment in writer.snapshot.segments] == [2, len(IDS) - 2]
        writer.put(made_entries(IDS[-2:], seed=1))
        assert [len(segment.table) for segment in writer.snapshot.segments] == [len(IDS) - 2, 2]
        writer.remove(IDS[5:])
    assert [len(segment.table) for segment in read_snapshot(place).segments] == [5]
    with IndexWriter.open(place) as writer:
        writer.remove(IDS[:5])
        assert writer.snapshot.segments == ()
        assert list((place / "segments").iterdir()) == []


# ---- overwriting: an index that takes another's place is seen complete, or not at all


def test_the_old_index_stays_until_the_new_one_is_published(place):
    def files():
        return {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and path.name != "lock"}

    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        writer.put(made_entries(IDS[:5]))
    old, before = contents(read_snapshot(place)), files()

    def stopped():
        with IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True) as writer:
            writer.put(made_entries(IDS, seed=1))
            writer.compact()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert files() == before
    with IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True) as writer:
        writer.put(made_entries(IDS, seed=1))
        assert contents(read_snapshot(place)) == old
        writer.compact()
        writer.put(made_entries(["more"]))
        assert contents(read_snapshot(place)) == old
    assert contents(read_snapshot(place)) == contents(writer.snapshot)
    assert len(contents(writer.snapshot)) == len(IDS) + 1
    assert len(list((place / "segments").iterdir())) == len(read_snapshot(place).segments)
    (place / "index.json").write_text("{")
    with pytest.raises(InputError, match="--overwrite"):
        IndexWriter.create(place, LAYOUT, ORIGIN)
    IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True).close()
    assert contents(read_snapshot(place)) == {}


def test_with_overwrite_a_first_index_is_published_whole_too(place):
    with IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True) as writer:
        writer.put(made_entries(IDS))
        with pytest.raises(InputError, match="no index"):
            read_snapshot(place)
    assert contents(read_snapshot(place)).keys() == {*IDS}


@pytest.mark.parametrize("name", ["notes.txt", "index.json", "segments/000001x", None])
def test_a_folder_that_is_not_an_index_is_not_overwritten(place, name):
    mine = place if name is None else place / name  # a file is no place
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("[1, 2]")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="is not an index; choose another place"):
            IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=overwrite)
    assert [path for path in place.parent.rglob("*") if path.is_file()] == [mine]
