"""`mee index`: built, and updated when it is run again."""

import re
import shutil
from unittest.mock import Mock

import numpy as np
import pytest
import torch

import index.sync
from features.store.feature_store import FeatureStore
from index.request import Request
from index.searcher import Searcher
from index.storage.snapshot import read_snapshot
from index.sync import rows_of
from index.video_index import VideoIndex
from scripts.build_index import main as build_index
from scripts.gallery import main as gallery
from scripts.precompute import main as precompute
from scripts.search import main as search

RESUMED = "stopped; what is done is kept, the same command goes on from there\n"
ALL = {f"clip{n}.mp4" for n in range(9)} | {"clip9.png"}


def files(directory):
    found = (path for path in directory.rglob("*") if path.is_file() and path.name != "lock")
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


def clips(directory):
    return set(rows_of(read_snapshot(directory).segments).index)


def test_what_it_holds_is_printed(world, tmp_path, prints):
    out, err = prints(build_index, world.store, world.model, tmp_path / "new")
    title, *lines = [line.split() for line in out.splitlines()]
    assert " ".join(title) == "10 clips in the index, 10 of them new"
    assert lines[0] == ["streams", "kind", "clips", "vectors", "codes"]
    rows = {" ".join(line[:-5]): line[-5:] for line in lines[1:]}
    assert sum(int(row[1]) for row in rows.values()) == 10
    assert rows["appearance, motion, audio"] == ["flat", "4", "384", "bytes", "-"]
    assert err == ""
    assert clips(tmp_path / "new") == ALL


def test_every_clip_is_found_with_its_facts(world):
    table, known = rows_of(read_snapshot(world.index).segments), FeatureStore(world.store).clips
    for name in ("video", "start_s", "end_s", "width", "height", "fps", "video_codec", "audio_rate"):
        found, wanted = (rows[name].astype("object").where(rows[name].notna(), None) for rows in (table, known))
        assert found.to_dict() == wanted.to_dict()
    (hits,) = Searcher.load(world.index, device=torch.device("cpu")).search([Request(sentence="a thing", top=100)])
    assert {hit.clip_id for hit in hits} == ALL


def test_batches_make_the_same_index_in_a_directory_whose_parent_is_missing(world, tmp_path, monkeypatch, prints):
    monkeypatch.setattr("index.sync.CLIPS", 3)
    prints(build_index, world.store, world.model, tmp_path / "a" / "b")
    new, old = (read_snapshot(place).segments for place in (tmp_path / "a" / "b", world.index))
    assert rows_of(new).equals(rows_of(old))
    assert len(new) == 1


def test_again_does_nothing_and_overwrite_builds_a_new_index(grown, prints):
    before = files(grown.index)
    title = prints(build_index, *grown.arguments).out.splitlines()[0]
    assert title.rstrip() == "10 clips in the index, 0 of them new"
    assert files(grown.index) == before
    for _ in range(2):
        assert "10 clips in the index, 10 of them new" in prints(build_index, *grown.arguments, "--overwrite").out
        assert clips(grown.index) == ALL
    assert len(list((grown.index / "segments").iterdir())) == 1


@pytest.fixture
def embedded(grown, monkeypatch):
    """The clips that are embedded after `grown` is built."""
    encode = Mock(side_effect=index.sync.encode_gallery)
    monkeypatch.setattr(index.sync, "encode_gallery", encode)
    return lambda: [clip_id for call in encode.call_args_list for clip_id in call.args[2]]


def vector_of(directory, clip_id):
    return VideoIndex.open(directory).clip_query(clip_id).packed[0, 0].tolist()


def test_again_after_new_videos_adds_only_them(grown, prints, embedded):
    shutil.copy(grown.videos / "clip9.png", grown.videos / "new.png")
    (grown.videos / "broken.mp4").touch()
    prints(precompute, grown.videos, grown.store, "--workers", "1", code=3)
    out, err = prints(build_index, *grown.arguments)
    assert "11 clips in the index, 1 of them new" in out
    assert "1 videos are not in it because extraction failed, such as 'broken.mp4'" in err
    assert embedded() == ["new.png"]
    assert clips(grown.index) == ALL | {"new.png"}


def test_again_after_a_file_changed_embeds_it_again(grown, prints, embedded, replace_file):
    old, other = (vector_of(grown.index, clip_id) for clip_id in ("clip0.mp4", "clip1.mp4"))
    replace_file("clip0.mp4", "clip1.mp4")
    for again in (", 1 encoded again", ""):
        assert f"10 clips in the index, 0 of them new{again}" in prints(build_index, *grown.arguments).out
        assert embedded() == ["clip0.mp4"]
    assert vector_of(grown.index, "clip0.mp4") != old
    assert vector_of(grown.index, "clip1.mp4") == other
    np.testing.assert_allclose(vector_of(grown.index, "clip0.mp4"), other, atol=1e-5)
    assert clips(grown.index) == ALL


def test_again_after_all_was_extracted_again_embeds_all_again(grown, prints):
    shutil.copy(grown.videos / "clip1.mp4", grown.videos / "clip0.mp4")
    prints(precompute, grown.videos, grown.store, "--workers", "1", "--overwrite")
    assert "10 clips in the index, 0 of them new, 10 encoded again" in prints(build_index, *grown.arguments).out
    np.testing.assert_allclose(*(vector_of(grown.index, f"clip{n}.mp4") for n in (0, 1)), atol=1e-5)
    assert sum(len(segment.table) for segment in read_snapshot(grown.index).segments) == 10  # compacted


def test_clips_that_a_changed_file_no_longer_has_are_removed(grown, media, prints):
    """A file becomes longer than a clip, then shorter."""
    frames = [media.plain(n % 5) for n in range(40)]
    for seconds, wanted in ((40, 4), (20, 1)):
        media.write(grown.videos / "clip3.mp4", frames[:seconds], times=[float(n) for n in range(seconds)])
        prints(precompute, grown.videos, grown.store, "--workers", "1")
        prints(build_index, *grown.arguments)
        assert clips(grown.index) == set(FeatureStore(grown.store).clips.index)
        assert sum(name.startswith("clip3.mp4") for name in clips(grown.index)) == wanted


def test_clips_that_left_are_named_and_pruned(grown, prints):
    for name in ("clip8.mp4", "clip9.png"):
        (grown.videos / name).unlink()
    shutil.rmtree(grown.store)
    prints(precompute, grown.videos, grown.store, "--workers", "1")
    out, err = prints(build_index, *grown.arguments)
    assert "10 clips in the index, 0 of them new" in out
    assert err == "2 clips of the index are no longer in the store (--prune removes them), such as 'clip8.mp4'\n"
    out, err = prints(build_index, *grown.arguments, "--prune")
    assert ("8 clips in the index, 0 of them new, 2 removed" in out, err) == (True, "")
    assert clips(grown.index) == {f"clip{n}.mp4" for n in range(8)}


@pytest.mark.parametrize("overwrite", [False, True])
def test_stopped_half_way(grown, monkeypatch, prints, overwrite):
    if not overwrite:
        shutil.rmtree(grown.index)
    before, encode, calls = files(grown.index), index.sync.encode_gallery, []

    def stops(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(*arguments)

    monkeypatch.setattr(index.sync, "CLIPS", 2)
    monkeypatch.setattr(index.sync, "encode_gallery", stops)
    out, err = prints(build_index, *grown.arguments, *(["--overwrite"] if overwrite else []), code=130)
    assert (out, err) == ("", "stopped; the index is as it was\n" if overwrite else RESUMED)
    assert len(clips(grown.index)) == (10 if overwrite else 4)
    assert before.items() <= files(grown.index).items()
    new = 0 if overwrite else 6
    assert f"10 clips in the index, {new} of them new" in prints(build_index, *grown.arguments).out
    assert clips(grown.index) == ALL
    (segment,) = read_snapshot(grown.index).segments
    assert segment.name  # on disk, not in the log


def test_stopped_after_the_new_index_is_complete(grown, monkeypatch, prints):
    monkeypatch.setattr("scripts.build_index.measure_recall", Mock(side_effect=KeyboardInterrupt))
    assert prints(build_index, *grown.arguments, "--overwrite", code=130).err == RESUMED


def test_a_moved_project_is_updated_and_another_store_refused(own, fails, prints, monkeypatch):
    out = prints(build_index, own.store, own.model, own.index).out  # it was built from the session's
    assert "10 clips in the index, 0 of them new" in out
    assert "again" not in out
    origin = read_snapshot(own.index).origin
    places = (origin.store, origin.model, origin.index)
    assert places == tuple(str(place.resolve()) for place in (own.store, own.model, own.index))
    assert origin.model_inode == own.model.stat().st_ino
    before, other = files(own.index), shutil.copytree(own.store, own.place / "other")
    monkeypatch.setattr(FeatureStore, "versions", property(lambda store: dict.fromkeys(store.dims, "other")))
    error = fails(build_index, other, own.model, own.index)
    assert re.search("was made with another model or store.*--overwrite", error)
    assert files(own.index) == before


@pytest.mark.parametrize("stray", ["notes.txt", "config.json"])
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_another_directory_is_refused_and_not_changed(own, fails, tmp_path, stray, overwrite):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / stray).write_text("dear to me")
    assert "is not an index" in fails(build_index, own.store, own.model, tmp_path / "mine", *overwrite)
    assert files(tmp_path / "mine") == {stray: b"dear to me"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: b'{"format": 1, "layout": {}, "origin": {}}', "is of format 1"),
        (lambda content: content.replace(b'"generation"', b'"generatiom"'), "is damaged"),
    ],
)
def test_an_index_that_cannot_be_read_is_refused_and_can_be_overwritten(grown, fails, prints, change, says):
    path = grown.index / "index.json"
    path.write_bytes(change(path.read_bytes()))
    assert says in fails(build_index, *grown.arguments)
    prints(build_index, *grown.arguments, "--overwrite")
    assert clips(grown.index) == ALL


def test_an_embedding_that_is_not_a_number(own, fails, monkeypatch, tmp_path):
    encode = index.sync.encode_gallery

    def spoiled(*arguments):
        gallery = encode(*arguments)
        gallery.video.packed[0] = float("nan")
        return gallery

    monkeypatch.setattr(index.sync, "encode_gallery", spoiled)
    error = fails(build_index, own.store, own.model, tmp_path / "new")
    assert "the embedding of clip 'clip0.mp4' by expert" in error
    assert not (tmp_path / "new").exists()


def test_clips_are_searched_by_the_streams_they_have_so_far(world, tmp_path, prints):
    store, index = tmp_path / "store", tmp_path / "index"
    prints(precompute, world.videos, store, "--streams", "appearance", "motion", "face", "--workers", "1")
    prints(precompute, world.videos / "clip1.mp4", store, "--streams", "audio", "--workers", "1")
    out, err = prints(build_index, store, world.model, index)
    assert out.startswith("10 clips in the index, 10 of them new\n")
    assert err == "9 clips are searched by the streams that are extracted so far, such as 'clip0.mp4'\n"
    with_audio = {
        n for n, pattern in rows_of(read_snapshot(index).segments)["pattern"].items() if pattern[2] == "1"
    }
    assert with_audio == {"clip1.mp4"}
    prints(precompute, world.videos, store, "--streams", "audio", "--workers", "1")
    out, err = prints(build_index, store, world.model, index)
    assert out.startswith("10 clips in the index, 0 of them new, 3 encoded again\n")
    assert err == ""


def test_shards_are_made_updated_and_searched_as_one_index(
    own, tmp_path, monkeypatch, prints, json_lines, fails, misused
):
    """But for the rounding of batches; a stopped run is gone on with; --overwrite changes their number."""
    monkeypatch.setattr("index.sync.CLIPS", 3)
    new, arguments = tmp_path / "new", (own.store, own.model, tmp_path / "new")
    monkeypatch.setattr("index.storage.sharded.ShardsWriter._publish", Mock(side_effect=KeyboardInterrupt))
    assert RESUMED in prints(build_index, *arguments, "--shards", 3, code=130).err
    monkeypatch.undo()
    assert "no index at" in fails(search, new, "a thing")
    assert "go on with --shards 3" in fails(build_index, *arguments)
    assert prints(build_index, *arguments, "--shards", 3).out.startswith("10 clips in the index, 0 of them new")
    assert clips(new) == ALL
    assert prints(build_index, *arguments).out.startswith("10 clips in the index, 0 of them new")
    assert "is in 3 shards; make it again in 2: --overwrite" in fails(build_index, *arguments, "--shards", 2)
    assert "without shards" in fails(build_index, own.store, own.model, own.index, "--shards", 2)
    found, wanted = (json_lines(search, place, "a thing") for place in (new, own.index))
    assert [hit["clip_id"] for hit in found] == [hit["clip_id"] for hit in wanted]
    assert [hit["score"] for hit in found] == pytest.approx([hit["score"] for hit in wanted], abs=1e-6)
    prints(gallery, "compact", new, "--kind", "certified")
    prints(gallery, "remove", new, "--clips", "clip3.mp4")
    prints(gallery, "verify", new)
    assert clips(new) == ALL - {"clip3.mp4"}
    assert prints(build_index, *arguments).out.startswith("10 clips in the index, 1 of them new")
    assert "must be from 1 to 1,000" in misused(build_index, *arguments, "--shards", 0)
    prints(build_index, *arguments, "--shards", 2, "--overwrite")
    assert sorted(path.name for path in new.glob("shard*")) == ["shard-0-3", "shard-1-3", "shards.json"]
    prints(build_index, *arguments, "--overwrite")
    assert sorted(path.name for path in new.glob("shard*")) == []
    assert clips(new) == ALL
