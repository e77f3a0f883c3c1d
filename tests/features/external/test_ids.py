"""Lists of the clips that an import is about."""

import json

import pandas as pd
import pytest

from features.errors import InputError
from features.external.ids import ListedClip, checked_ids, read_ids

IDS = ["video7", "übung 漢字.mp4", "c#t=0,10", "0012"]


def write(path, ids):
    match path.suffix:
        case ".txt" | "":
            path.write_text("\ufeff" + "\r\n".join(ids) + "\r\n\n", encoding="utf-8")
        case ".csv":
            pd.DataFrame({"video_id": ids, "n": 1}).to_csv(path, index=False)
        case ".parquet":
            pd.DataFrame({"video": ids}).to_parquet(path)
        case ".json":
            path.write_text(json.dumps(ids))
        case ".jsonl":
            path.write_text("".join(json.dumps({"id": clip_id, "fold": 1}) + "\n" for clip_id in ids))
    return path


@pytest.mark.parametrize("name", ["x.txt", "x", "x.csv", "x.parquet", "x.json", "x.jsonl"])
def test_every_format_gives_the_ids_in_order(tmp_path, name):
    clips = read_ids(write(tmp_path / name, IDS))
    assert list(clips) == IDS
    assert clips["video7"] == ListedClip("video7", "video7", 0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("x.jsonl", '"a"\n7\n', ["a", "7"]),  # lines may be the ids themselves
        ("x.csv", "video_id,caption\nb,one\na,two\nb,three\n", ["b", "a"]),  # captions name a clip again
    ],
)
def test_other_lists(tmp_path, name, content, ids):
    (tmp_path / name).write_text(content)
    assert list(read_ids(tmp_path / name)) == ids


def test_times_and_the_video_of_a_clip(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("clip_id,video,start_s,end_s\na1,a.mp4,0,2.5\na2,a.mp4,2.5,\n".replace("2.5,\n", "2.5,4\n"))
    assert list(read_ids(path).values()) == [ListedClip("a1", "a.mp4", 0, 2.5), ListedClip("a2", "a.mp4", 2.5, 4)]
    pd.DataFrame({"id": ["a"], "start_s": [None], "end_s": [3.0]}).to_parquet(tmp_path / "x.parquet")
    assert read_ids(tmp_path / "x.parquet") == {"a": ListedClip("a", "a", 0, 3)}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.txt", "", "lists no ids"),
        ("x.txt", "a\nb\na\n", "has 1 ids more than once, 'a' among them"),
        ("x.txt", "a\n__metadata__\n", "cannot be the name of a clip"),
        ("x.csv", "video_id,n\na,1\na,2\n", "more than once"),
        ("x.csv", "video_id,n\na,1\n ,2\n", "id 2 is empty"),
        ("x.csv", "name,n\na,1\n", "has no column clip_id or id or video_id or video; it has name, n"),
        ("x.csv", "id,n\n", "lists no ids"),
        ("x.csv", "", "is not a readable list of ids"),
        ("x.csv", "id,start_s,end_s\na,x,1\n", "'start_s' should be seconds, and is 'x'"),
        ("x.csv", "id,start_s,end_s\na,-1,1\n", "should be seconds"),
        ("x.csv", "id,start_s,end_s\na,3,1\n", "'a' ends at 1 s, before it begins"),
        ("x.csv", "clip_id,video\na,\n", "'video': id 1 is empty"),
        ("x.parquet", "junk", "is not a readable list of ids"),
        ("x.json", "{}", "should hold a list of ids"),
        ("x.json", "[", "is not a readable list of ids"),
        ("x.json", "[1.5]", "id 1 is 1.5, and should be text"),
        ("x.json", "[null]", "id 1 is None"),
        ("x.json", '["\\ud800"]', "cannot be the name of a clip"),
        ("x.json", "[" * 100000, "is not a readable list of ids"),
        ("x.jsonl", '{"id": "a"}\n{"name": "b"}\n', "id 2 is nan"),
        ("x.jsonl", '{"id": "a"}\n"b"\n', "id 1 is nan"),
        ("x.xls", "a", r"ids are read from .*not '\.xls'"),
    ],
)
def test_lists_that_cannot_be_used_are_one_sentence(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says) as refusal:
        read_ids(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_no_list_and_no_text(tmp_path):
    with pytest.raises(InputError, match="no list of ids at"):
        read_ids(tmp_path / "x.txt")
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not a readable list of ids"):
        read_ids(tmp_path / "x.txt")


def test_ids_of_several_types():
    assert checked_ids([b"a", " b ", 7], "x") == ["a", "b", "7"]
    assert checked_ids(["a", "a"], "x", repeated=True) == ["a", "a"]
    for wrong in (True, 1.5, None, b"\xff", "a\nb", "a\0"):
        with pytest.raises(InputError, match="x: id 1"):
            checked_ids([wrong], "x")
