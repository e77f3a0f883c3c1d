"""The manifest names the parts of an index; what it does not name is deleted. Segments stay few and sorted."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.scanners import Settings
from index.storage import manifest
from index.storage.merge import FANOUT, FLOOR, level_of, to_merge
from index.storage.segment import Segment
from index.storage.table import FEW, ClipTable
from index.storage.writer import IndexWriter
from mee.errors import InputError
from tests.index.made_clips import LAYOUT, ORIGIN, contents, made_entries


def made(generation=7, layout=LAYOUT, **changes):
    settings = Settings(kind="fastscan", recall=0.9)
    return manifest.Manifest(generation=generation, layout=layout, origin=ORIGIN, settings=settings, **changes)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "layout": replace(LAYOUT, missing="renormalise"),
            "offsets": {"method": "é", "bank": [1, 2.5, None]},
            "recall": manifest.Recall(0.99, 0.995, 100, 10, 500, "500 sentences of q.txt", 1000),
            "segments": (
                manifest.SegmentRef("000001", "ab", manifest.FileRef("removed-000001-000007.npy", "ef")),
                manifest.SegmentRef("1000003", "cd"),
            ),
        },
    ],
    ids=["plain", "with everything"],
)
def test_it_is_read_as_it_was_written(tmp_path, more):
    text = made(**more).write(tmp_path)
    assert manifest.read_manifest(tmp_path) == (made(**more), text)
    assert json.loads(text)["format"] == 8
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


def test_an_error_leaves_the_one_before(tmp_path, monkeypatch):
    made().write(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        made(offsets={"mean": float("nan")}).write(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space"):
        made(generation=8).write(tmp_path)
    assert manifest.read_manifest(tmp_path)[0] == made()
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


def test_a_manifest_that_is_missing_or_is_nested_json_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for place in ("", "nowhere", "file/x"):
        with pytest.raises(InputError, match=r"no index at '.*'; make one with: mee index STORE MODEL"):
            manifest.read_manifest(tmp_path / place)
    (tmp_path / "index.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match=r"'.*index\.json' is damaged"):
        manifest.read_manifest(tmp_path)


LEFT = ("removed-000001-000918.npy", ".removed-000001-000918.npy.7", ".index.json.77")
LEFT += ("segments/000920/vectors-1.npy", "segments/.000921/clips.arrow")
KEPT = ("notes.txt", "log-1", ".index.json.bak", "segments/readme", "removed.npy", "clips-000001.parquet")


def test_the_next_writer_deletes_what_a_killed_one_left(tmp_path):
    place = tmp_path / "ix"
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        writer.put(made_entries(["a", "b", "c"]))
        writer.remove(["a"])
        before = contents(writer.snapshot)
    own = {path for path in place.rglob("*") if path.is_file()}
    assert any(path.name.startswith("removed-") for path in own)
    for name in (*LEFT, *KEPT):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("left")
    with IndexWriter.open(place) as writer:
        assert contents(writer.snapshot) == before
    assert {path for path in place.rglob("*") if path.is_file()} == own | {place / name for name in KEPT}


def test_numbers_are_not_used_twice_and_clearing_follows_no_links(tmp_path):
    assert manifest.last_number(tmp_path) == 0
    (tmp_path / "removed-000001-000917.npy").touch()
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "1000003").symlink_to(tmp_path / "mine")
    assert manifest.parts_in(tmp_path) == {"removed-000001-000917.npy", "segments/1000003"}
    assert manifest.last_number(tmp_path) == 1000003
    manifest.clear(tmp_path, ())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "mine", "segments"]


@pytest.mark.parametrize(
    ("names", "foreign"),
    [
        ((), False),
        (("lock", "segments/000001/x", ".index.json.5"), False),  # the start of one
        (("lock", "mine"), True),
        (("index.json",), True),  # of something else
        (("index.json", "segments/000001/x"), False),  # damaged
        (("index.json", "mine"), True),
    ],
)
def test_what_is_an_index(tmp_path, names, foreign):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{")
    assert manifest.is_foreign(tmp_path) is foreign


# ---- clips are found by name; segments stay few, and clips are seldom copied

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)


@given(st.sets(NAMES, max_size=40), st.lists(NAMES, max_size=2 * FEW))
def test_a_sorted_table_finds_clips_by_name(ids, wanted):
    ids = sorted(ids)  # Python and Arrow agree on what that is
    table = ClipTable(pa.table({"clip_id": pa.array(ids, pa.string())}))
    expected = [[ids.index(name)] if name in ids else [] for name in wanted]
    assert table.rows_of(wanted).tolist() == [row for rows in expected for row in rows]
    assert [table.rows_of([name]).tolist() for name in wanted] == expected
    assert table.rows_of(ids * 3).tolist() == [*range(len(ids))] * 3
    rows = np.arange(len(ids))[::-1]
    assert table.ids(rows) == ids[::-1]
    assert pa.array(ids, pa.string()).sort() == pa.array(ids, pa.string())


def segment_of(rows, live=None):
    """As much of a segment as `to_merge` reads."""
    return Segment(range(rows), (), live=live)


@given(st.lists(st.integers(1, 30_000), max_size=150), st.integers(1, 32))
def test_few_segments_and_few_copies(batches, every):
    segments, copied = [], 0
    for number, batch in enumerate(batches, start=1):
        segments.append(segment_of(batch))
        if number % every == 0 or number == len(batches):
            merged = to_merge(segments)
            segments = [segment for segment in segments if segment not in merged]
            if merged:
                segments.append(segment_of(sum(map(len, merged))))
                copied += len(segments[-1])
            assert to_merge(segments) == []
            assert len(segments) <= (FANOUT - 1) * (1 + level_of(sum(map(len, segments))))
    assert sum(map(len, segments)) == sum(batches)
    small = FANOUT * FLOOR * len(batches)  # what merges of level 0 copy, which leave it there
    assert copied <= sum(batches) * (1 + level_of(sum(batches))) + small
    full, hollow = segment_of(10_000), segment_of(10_000, live=np.arange(10_000) < 10)
    assert to_merge([full, hollow]) == [hollow]
    assert to_merge([full]) == to_merge([]) == []
