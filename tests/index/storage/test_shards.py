"""An index in shards is one index: what is written into it, and what a stopped run leaves."""

import json
import os
import shutil

import pytest

from index.storage import open_writer, read_snapshot, verify_index
from index.storage.sharded import ShardsWriter
from index.storage.shards import shard_folders, share_of
from index.storage.snapshot import refreshed
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex
from mee.errors import InputError
from tests.index.galleries import LAYOUT, ORIGIN, SPOKEN, entries_of, random_gallery

COUNT = 60


def put(writer, count=COUNT, layout=LAYOUT, error=None):
    with writer:
        writer.put(entries_of(random_gallery(count, layout=layout), layout))
        if error is not None:
            raise error


def ids(place):
    return sorted(
        name for segment in read_snapshot(place).segments for name in segment.live_table()["clip_id"].to_pylist()
    )


def test_clips_lie_in_the_shards_of_their_videos_and_change_there(place):
    put(ShardsWriter.create(place, 4, SPOKEN[0], ORIGIN), layout=SPOKEN[0])
    assert [folder.name for folder in shard_folders(place)] == [f"shard-{n}" for n in range(4)]
    for number, shard in enumerate(read_snapshot(place).shards):
        videos = {video for segment in shard.segments for video in segment.table.arrow["video"].to_pylist()}
        assert {share_of(video, 4) for video in videos} == {number}
    before = VideoIndex.open(place)
    with open_writer(place) as writer:
        assert writer.remove(["c00003", "c00004"]) == 2
        with pytest.raises(ValueError, match="1 clips are not in the index, 'x'"):
            writer.remove(["c00005", "x"])
        assert len(writer.snapshot) == COUNT - 2
    assert before.refresh()
    assert not before.refresh()
    assert len(ids(place)) == len(before) == COUNT - 2
    assert verify_index(place) == []


def test_compacting_replaces_all_shards_at_once(place):
    put(ShardsWriter.create(place, 3, LAYOUT, ORIGIN))
    before, offsets = read_snapshot(place), dict.fromkeys(ids(place), 0.5)
    with open_writer(place) as writer:
        writer.compact(offsets=offsets, facts={"method": "made"})
    now = refreshed(before)
    assert (now.offsets, before.offsets) == ({"method": "made"}, None)
    assert [folder.name for folder in shard_folders(place)] == [f"shard-{n}-2" for n in range(3)]
    assert sorted(path.name for path in place.glob("shard-*")) == [f"shard-{n}-2" for n in range(3)]
    assert ids(place) == sorted(offsets)


def test_an_error_while_all_shards_are_compacted_leaves_those_before(place):
    put(ShardsWriter.create(place, 3, LAYOUT, ORIGIN))
    before = read_snapshot(place)
    with pytest.raises(ValueError, match="have no finite offset"), open_writer(place) as writer:
        writer.compact(offsets={}, facts={"method": "made"})
    assert refreshed(before) is before
    assert len([*place.glob("shard-*")]) == 3


def test_without_its_list_of_shards_there_is_no_index_and_the_next_writer_goes_on(place):
    with pytest.raises(RuntimeError):
        put(ShardsWriter.create(place, 3, LAYOUT, ORIGIN), 10, error=RuntimeError)
    with pytest.raises(InputError, match="no index at"):
        read_snapshot(place)
    with pytest.raises(InputError, match="in 3 shards, was not completed: go on with --shards 3"):
        open_writer(place)
    put(open_writer(place, 3))
    assert len(ids(place)) == COUNT


@pytest.mark.parametrize("old", [0, 3])
@pytest.mark.parametrize("new", [0, 2])
def test_an_overwritten_index_is_searched_until_the_new_one_is_complete(place, old, new):
    def create(count, **how):
        if count:
            return ShardsWriter.create(place, count, LAYOUT, ORIGIN, **how)
        return IndexWriter.create(place, LAYOUT, ORIGIN, **how)

    put(create(old), 10)
    with pytest.raises(InputError, match="--overwrite replaces it"):
        create(new)
    before = read_snapshot(place)
    with pytest.raises(RuntimeError):
        put(create(new, overwrite=True), 20, error=RuntimeError)
    assert refreshed(before) is before
    with create(new, overwrite=True) as writer:
        writer.put(entries_of(random_gallery(20)))
        assert len(ids(place)) == 10
    assert (len(ids(place)), len(shard_folders(place)), len(refreshed(before))) == (20, new, 20)
    assert len([*place.glob("shard-*")]) == new
    assert (place / "index.json").exists() == (not new)


def test_what_is_no_shard_is_no_part_of_an_index(place):
    (place / "shard-0").mkdir(parents=True)
    (place / "shard-0" / "data.tar").write_text("of somebody")
    with pytest.raises(InputError, match="exists and is not an index"):
        ShardsWriter.create(place, 2, LAYOUT, ORIGIN, overwrite=True)
    assert (place / "shard-0" / "data.tar").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": 2, "shards": ["shard-0"]}, "is of format 2"),
        ({"format": 1, "shards": []}, "it names no shards"),
        ({"format": 1, "shards": ["shard-0"] * 1001}, "it names no shards, or more than 1,000"),
        ({"format": 1, "shards": ["../shard-0"]}, "other folders"),
        ({"format": 1, "shards": ["shard-0", "shard-1-2"]}, "other folders"),
        ({"format": 1, "shards": [["shard-0"]]}, "it names no shards"),
        ({"format": 1, "shards": {"0": "shard-0"}}, "it names no shards"),
        ({"format": 1, "shards": ["shard-0", "shard-1", "shard-2"]}, "no index at"),
        ([], "an entry is missing"),
        ({"format": 1, "shards": ["shard-0"], "n": float("nan")}, "damaged"),
    ],
)
def test_a_list_of_shards_may_be_made_by_anyone(place, content, message):
    put(ShardsWriter.create(place, 2, LAYOUT, ORIGIN), 10)
    (place / "shards.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_snapshot(place)


@pytest.mark.parametrize("what", ["a pipe", "a folder", "a link"])
def test_neither_the_list_nor_a_shard_is_followed_elsewhere(place, what):
    put(ShardsWriter.create(place, 2, LAYOUT, ORIGIN), 10)
    path = place / "shards.json"
    path.rename(place.parent / "elsewhere.json")
    if what == "a link":
        path.symlink_to(place.parent / "elsewhere.json")
    elif what == "a pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(InputError):
        read_snapshot(place)
    shutil.rmtree(path) if what == "a folder" else path.unlink()
    (place.parent / "elsewhere.json").rename(path)
    (place / "shard-1").rename(place.parent / "elsewhere")
    (place / "shard-1").symlink_to(place.parent / "elsewhere")
    with pytest.raises(InputError, match="'shard-1' is a link"):
        read_snapshot(place)
    before = sorted((place.parent / "elsewhere").rglob("*"))
    with pytest.raises(InputError):
        ShardsWriter.create(place, 2, LAYOUT, ORIGIN, overwrite=True)
    assert sorted((place.parent / "elsewhere").rglob("*")) == before
