"""Which videos are on which side, by every way of saying so; and where they are."""

import pandas as pd
import pytest

from mee.errors import InputError
from mee.near_duplicates.overlap import (
    SideIds,
    VideoNames,
    find_sides,
    sides_of_annotations,
    sides_of_lists,
)


def said(call, *args, **settings):
    with pytest.raises(InputError) as error:
        call(*args, **settings)
    return str(error.value)


@pytest.fixture
def captions(tmp_path):
    """Two captions of a, one of b, c in validation, d for test."""
    path = tmp_path / "captions.csv"
    path.write_text("video_id,caption,split\na,one,train\na,two,train\nb,x,train\nc,x,val\nd,x,test\n")
    return path


def test_a_caption_table(captions):
    sides = sides_of_annotations(captions, "folder", None, partial=False)
    assert sides == SideIds(("a", "b"), ("d",))


def test_a_caption_table_without_splits(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text("video_id,caption\na,one\n")
    assert said(sides_of_annotations, path, "folder", None, partial=False) == (
        f"{path} has no column 'split', so nobody can say which videos are for training; add it, or name two "
        "lists with --train and --test"
    )


@pytest.mark.parametrize(("split", "side"), [("train", "test"), ("test", "training"), ("val", "training")])
def test_a_side_without_videos(tmp_path, split, side):
    path = tmp_path / "captions.csv"
    path.write_text(f"video_id,caption,split\na,one,{split}\n")
    message = f"{path} names no {side} videos; name two lists with --train and --test instead"
    assert said(sides_of_annotations, path, "folder", None, partial=False) == message


def test_a_named_protocol(tmp_path, monkeypatch):
    from types import SimpleNamespace

    asked = {}

    def load(name, path, **settings):
        asked.update(settings, name=name, path=path)
        table = pd.DataFrame({"video_id": ["a", "a", "b", "c", "d"], "split": ["train"] * 3 + ["val", "test"]})
        return SimpleNamespace(table=table, gallery=("d", "e"), shortfalls=("one short",))

    monkeypatch.setattr("mee.protocols.load.load_benchmark", load)
    sides = sides_of_annotations(tmp_path, "msrvtt-1ka", "9k", partial=True)
    assert sides == SideIds(
        ("a", "b"), ("d", "e"), ("one short",)
    )  # e is in the gallery, though nobody asks for it
    assert asked == {"name": "msrvtt-1ka", "path": tmp_path, "train_list": "9k", "partial": True}


def test_a_named_protocol_of_which_only_the_test_is_there(tmp_path, monkeypatch):
    from types import SimpleNamespace

    table = pd.DataFrame({"video_id": ["d"], "split": ["test"]})
    benchmark = SimpleNamespace(table=table, gallery=("d",), shortfalls=())
    monkeypatch.setattr("mee.protocols.load.load_benchmark", lambda *_, **__: benchmark)
    assert said(sides_of_annotations, tmp_path, "msrvtt-1ka", None, partial=False) == (
        f"{tmp_path} holds no captions of msrvtt-1ka's training videos, which would say what they are; name two "
        "lists with --train and --test instead"
    )


def test_lists(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a\nb\na\n")
    assert sides_of_lists(path, path) == SideIds(("a", "b"), ("a", "b"))


FOLDER = VideoNames("'videos'", ["train/a.mp4", "train/b.mp4", "test/c.mp4", "test/a.mkv"])


def test_videos_are_found_by_path_and_by_name_without_ending():
    train, test = find_sides(
        SideIds(("train/a", "train/b.mp4"), ("test/c", "test/a.mkv")), FOLDER, partial=False, remedy="?"
    )
    assert list(train.clip_ids) == ["train/a.mp4", "train/b.mp4"]
    assert list(test.clip_ids) == ["test/c.mp4", "test/a.mkv"]
    assert train.left_out == test.left_out == ()


def test_a_video_that_is_named_twice_is_there_once():
    train, _ = find_sides(SideIds(("train/b", "train/b.mp4"), ("test/c",)), FOLDER, partial=False, remedy="?")
    assert dict(train.clip_ids) == {"train/b.mp4": ("train/b.mp4",)}


def test_clips_of_a_store_are_those_that_are_meant(make_source):
    source = make_source(["v1", "v2"], clips_of_video=3)
    train, test = find_sides(SideIds(("v1#t=20,30", "v1#t=0,10"), ("v2",)), source, partial=False, remedy="?")
    assert dict(train.clip_ids) == {"v1": ("v1#t=20,30", "v1#t=0,10")}
    assert dict(test.clip_ids) == {"v2": ("v2#t=0,10", "v2#t=10,20", "v2#t=20,30")}


def test_videos_that_are_not_there():
    ids = SideIds(("train/a", "w", "x", "y", "z"), ("test/c",))
    assert said(find_sides, ids, FOLDER, partial=False, remedy="Look elsewhere") == (
        "4 of 5 training videos are not usable in 'videos': 'w', 'x', 'y' and 1 more. Look elsewhere, or go on "
        "without them with --partial"
    )
    train, test = find_sides(ids, FOLDER, partial=True, remedy="?")
    assert (list(train.clip_ids), train.left_out) == (["train/a.mp4"], ("w", "x", "y", "z"))
    assert test.left_out == ()


@pytest.mark.parametrize("partial", [False, True])
def test_a_side_of_which_nothing_is_there(partial):
    ids = SideIds(("train/a",), ("x",))
    assert said(find_sides, ids, FOLDER, partial=partial, remedy="Look elsewhere") == (
        "1 of 1 test videos are not usable in 'videos': 'x'. Look elsewhere"
    )


def test_a_folder_has_no_streams():
    with pytest.raises(KeyError, match="no stream 'motion'"):
        FOLDER.read("motion", ["train/a.mp4"])
