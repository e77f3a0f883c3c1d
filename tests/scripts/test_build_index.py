"""`mee index`: made, and brought to what the store holds when it is run again."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from features.store.feature_store import FeatureStore
from index.request import Request
from index.searcher import Searcher
from index.storage.snapshot import read_snapshot
from index.sync import rows_of
from index.video_index import VideoIndex
from scripts.build_index import main as build_index
from scripts.precompute import main as precompute

ALL = {f"clip{n}.mp4" for n in range(9)} | {"clip9.png"}


def files(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def clips(directory):
    return set(rows_of(read_snapshot(directory).segments).index)


# ---- making one


def test_what_it_holds_is_printed(world, tmp_path, prints):
    out, err = prints(build_index, world.store, world.model, tmp_path / "new")
    lines = [line.split() for line in out.splitlines()]
    assert out.splitlines()[0].rstrip() == "10 clips in the index, 10 of them new"
    assert lines[1] == ["streams", "kind", "clips", "vectors", "codes"]
    rows = {" ".join(line[:-5]): line[-5:] for line in lines[2:]}
    assert sum(int(row[1]) for row in rows.values()) == 10
    assert rows["appearance, motion, audio"] == ["flat", "4", "384", "bytes", "-"]
    assert err == ""
    assert clips(tmp_path / "new") == ALL


def test_every_clip_is_found_with_its_facts(world):
    import torch

    snapshot = read_snapshot(world.index)
    table, known = rows_of(snapshot.segments), FeatureStore(world.store).clips
    for name in ("video", "start_s", "end_s", "width", "height", "fps", "video_codec", "audio_rate"):
        there, wanted = (
            values[name].astype("object").where(values[name].notna(), None) for values in (table, known)
        )
        assert there.to_dict() == wanted.to_dict()
    searcher = Searcher.load(world.index, device=torch.device("cpu"))
    (hits,) = searcher.search([Request(sentence="a thing", top=100)])
    assert {hit.clip_id for hit in hits} == ALL


def test_batches_make_the_same_index_below_a_place_that_is_not_there_yet(world, tmp_path, monkeypatch, prints):
    monkeypatch.setattr("index.sync.CLIPS", 3)
    prints(build_index, world.store, world.model, tmp_path / "a" / "b")
    new, old = (rows_of(read_snapshot(place).segments) for place in (tmp_path / "a" / "b", world.index))
    assert new.equals(old)
    assert len(read_snapshot(tmp_path / "a" / "b").segments) == 1


# ---- again


def test_again_does_nothing(grown, prints):
    before = files(grown.index)
    assert prints(build_index, *grown.arguments).out.splitlines()[0].rstrip() == (
        "10 clips in the index, 0 of them new"
    )
    after = files(grown.index)
    assert after.pop("lock") is not None
    before.pop("lock", None)
    assert after == before


@pytest.fixture
def embedded(grown, monkeypatch):
    """The clips that are embedded once `grown` is made."""
    import index.sync

    embedded, encode = [], index.sync.encode_gallery

    def watched(model, store, clip_ids):
        embedded.extend(clip_ids)
        return encode(model, store, clip_ids)

    monkeypatch.setattr(index.sync, "encode_gallery", watched)
    return embedded


def vector_of(directory, clip_id):
    return VideoIndex.open(directory).clip_query(clip_id).packed[0, 0].tolist()


def test_again_after_new_videos_adds_only_them(grown, prints, embedded):
    shutil.copy(grown.videos / "clip9.png", grown.videos / "new.png")
    (grown.videos / "broken.mp4").touch()
    assert precompute([str(grown.videos), str(grown.store), "--workers", "1"]) == 3
    out, err = prints(build_index, *grown.arguments)
    assert "11 clips in the index, 1 of them new" in out
    assert "1 videos are not in it because extraction failed, such as 'broken.mp4'" in err
    assert embedded == ["new.png"]
    assert clips(grown.index) == ALL | {"new.png"}


def test_again_after_a_file_changed_embeds_it_again(grown, prints, embedded, replace_file):
    old, other = (vector_of(grown.index, clip_id) for clip_id in ("clip0.mp4", "clip1.mp4"))
    replace_file("clip0.mp4", "clip1.mp4")
    for again in (", 1 encoded again", ""):
        assert f"10 clips in the index, 0 of them new{again}" in prints(build_index, *grown.arguments).out
        assert embedded == ["clip0.mp4"]
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


def test_clips_that_left_are_named_and_pruned(grown, prints):
    for name in ("clip8.mp4", "clip9.png"):
        (grown.videos / name).unlink()
    shutil.rmtree(grown.store)
    prints(precompute, grown.videos, grown.store, "--workers", "1")
    out, err = prints(build_index, *grown.arguments)
    assert "10 clips in the index, 0 of them new" in out
    assert err == ("2 clips of the index are no longer in the store (--prune removes them), such as 'clip8.mp4'\n")
    out, err = prints(build_index, *grown.arguments, "--prune")
    assert "8 clips in the index, 0 of them new, 2 removed" in out
    assert err == ""
    assert clips(grown.index) == {f"clip{n}.mp4" for n in range(8)}


def test_overwrite_makes_it_anew(grown, prints):
    for _ in range(2):
        assert "10 clips in the index, 10 of them new" in prints(build_index, *grown.arguments, "--overwrite").out
        assert clips(grown.index) == ALL
    assert len(list((grown.index / "segments").iterdir())) == 1


# ---- stopped


@pytest.mark.parametrize("overwrite", [False, True])
def test_stopped_half_way(grown, monkeypatch, capsys, overwrite):
    import index.sync

    if not overwrite:
        shutil.rmtree(grown.index)
    before = files(grown.index) if overwrite else {}
    encode, calls = index.sync.encode_gallery, []

    def stops(model, store, clip_ids):
        calls.append(clip_ids)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(model, store, clip_ids)

    monkeypatch.setattr(index.sync, "CLIPS", 2)
    monkeypatch.setattr(index.sync, "encode_gallery", stops)
    capsys.readouterr()
    assert build_index([*grown.arguments, *(["--overwrite"] if overwrite else [])]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    if overwrite:
        assert err == "stopped; the index is as it was\n"
        assert clips(grown.index) == ALL
        assert {name: content for name, content in files(grown.index).items() if name in before} == before
    else:
        assert err == "stopped; what is done is kept, the same command goes on from there\n"
        assert len(clips(grown.index)) == 4
    assert build_index(grown.arguments) == 0
    assert f"10 clips in the index, {0 if overwrite else 6} of them new" in capsys.readouterr().out
    assert clips(grown.index) == ALL
    (segment,) = read_snapshot(grown.index).segments
    assert segment.name  # on disk, not in the log


def test_stopped_when_the_new_one_is_there_already(grown, monkeypatch, capsys):
    def stops(directory, given):
        raise KeyboardInterrupt

    monkeypatch.setattr("scripts.build_index.measure_recall", stops)
    capsys.readouterr()
    assert build_index([*grown.arguments, "--overwrite"]) == 130
    assert capsys.readouterr().err == "stopped; what is done is kept, the same command goes on from there\n"


# ---- refused


def test_an_index_of_another_store_is_refused(own, fails):
    before = files(own.index)
    error = fails(build_index, own.store, own.model, own.index)  # it was made from the session's store
    assert "was made with another model or store" in error
    assert "--overwrite" in error
    assert files(own.index).keys() - {"lock"} == before.keys() - {"lock"}
    assert files(own.index)["index.json"] == before["index.json"]


@pytest.mark.parametrize("stray", ["notes.txt", "config.json"])
def test_what_is_no_index_is_refused_and_left_alone(own, fails, tmp_path, stray):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / stray).write_text("dear to me")
    for overwrite in ([], ["--overwrite"]):
        error = fails(build_index, own.store, own.model, mine, *overwrite)
        assert "is not an index" in error
        assert files(mine) == {stray: b"dear to me"}


def test_an_index_of_an_earlier_format(own, fails, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    (old / "index.json").write_text('{"format": 1, "layout": {}, "origin": {}}')
    assert "is of format 1" in fails(build_index, own.store, own.model, old)
    assert build_index([str(own.store), str(own.model), str(old), "--overwrite"]) == 0
    assert clips(old) == ALL


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--recall", "0"], "recall must be above 0 and at most 1"),
        (["--recall", "nan"], "recall must be above 0 and at most 1"),
        (["--recall", "0.9", "--kind", "certified"], "'certified' is exact"),
        (["--kind", "magic"], "'magic'"),
    ],
)
def test_wrong_usage(misused, arguments, says):
    assert says in misused(build_index, "store", "model", "index", *arguments)


def test_a_damaged_index_is_one_sentence(grown, fails):
    path = grown.index / "index.json"
    path.write_bytes(path.read_bytes().replace(b'"generation"', b'"generatiom"'))
    assert "is damaged" in fails(build_index, *grown.arguments)
    assert build_index([*grown.arguments, "--overwrite"]) == 0
    assert clips(grown.index) == ALL


def test_an_embedding_that_is_no_number_is_one_sentence(own, fails, monkeypatch, tmp_path):
    import index.sync

    encode = index.sync.encode_gallery

    def spoiled(model, store, clip_ids):
        gallery = encode(model, store, clip_ids)
        gallery.video.packed[0] = float("nan")
        return gallery

    monkeypatch.setattr(index.sync, "encode_gallery", spoiled)
    error = fails(build_index, own.store, own.model, tmp_path / "new")
    assert "the embedding of clip 'clip0.mp4' by expert" in error
    assert not Path(tmp_path / "new").exists()
