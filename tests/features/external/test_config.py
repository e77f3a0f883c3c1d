"""Lists of the clips that an import is about."""

import json

import pandas as pd
import pytest

from features.errors import InputError
from features.external.config import ListedClip, read_ids

IDS = ["video7", "übung 漢字.mp4", "c#t=0,10", "0012"]
WRITERS = {
    "x.txt": lambda path: path.write_text("\ufeff" + "\r\n".join(IDS) + "\r\n\n", encoding="utf-8"),
    "x": lambda path: path.write_text("\n".join(f" {clip_id}\t" for clip_id in IDS)),
    "x.csv": lambda path: pd.DataFrame({"video_id": IDS, "n": 1}).to_csv(path, index=False),
    "x.parquet": lambda path: pd.DataFrame({"video": IDS}).to_parquet(path),
    "x.json": lambda path: path.write_text(json.dumps(IDS)),
    "x.jsonl": lambda path: path.write_text("\n".join(json.dumps({"id": clip_id, "n": 1}) for clip_id in IDS)),
    "captions.csv": lambda path: path.write_text("\n".join(["id,caption", *(f'"{i}",x' for i in [*IDS, *IDS])])),
    "lines.jsonl": lambda path: path.write_text("\n".join(json.dumps(clip_id) for clip_id in IDS)),
    "bytes.parquet": lambda path: pd.DataFrame({"id": [clip_id.encode() for clip_id in IDS]}).to_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_ids_in_order(tmp_path, name):
    WRITERS[name](tmp_path / name)
    clips = read_ids(tmp_path / name)
    assert list(clips) == IDS
    assert clips["video7"] == ListedClip("video7", "video7", 0.0, 0.0)


def test_times_and_the_video_of_a_clip_and_whole_numbers_as_ids(tmp_path):
    (tmp_path / "x.json").write_text("[7, 8]")
    assert list(read_ids(tmp_path / "x.json")) == ["7", "8"]
    (tmp_path / "x.csv").write_text("clip_id,video,start_s,end_s\na1,a.mp4,0,2.5\na2,a.mp4,2.5,4\na3,b.mp4,,\n")
    assert list(read_ids(tmp_path / "x.csv").values()) == [
        ListedClip("a1", "a.mp4", 0, 2.5),
        ListedClip("a2", "a.mp4", 2.5, 4),
        ListedClip("a3", "b.mp4", 0, 0),
    ]
    pd.DataFrame({"id": ["a"], "start_s": [None], "end_s": [3.0]}).to_parquet(tmp_path / "x.parquet")
    assert read_ids(tmp_path / "x.parquet") == {"a": ListedClip("a", "a", 0, 3)}


WRONG = {
    "empty.txt": b"",
    "twice.txt": b"a\nb\na\n",
    "metadata.txt": b"a\n__metadata__\n",
    "control.txt": b"a\0\n",
    "utf16.txt": b"\xff\xfe\x00",
    "twice.csv": b"video_id,n\na,1\na,2\n",
    "nameless.csv": b"video_id,n\na,1\n ,2\n",
    "columns.csv": b"name,n\na,1\n",
    "rows.csv": b"id,n\n",
    "empty.csv": b"",
    "start.csv": b"id,start_s,end_s\na,x,1\n",
    "negative.csv": b"id,start_s,end_s\na,-1,1\n",
    "order.csv": b"id,start_s,end_s\na,3,1\n",
    "video.csv": b"clip_id,video\na,\n",
    "junk.parquet": b"junk",
    "object.json": b"{}",
    "cut.json": b"[",
    "number.json": b"[1.5]",
    "true.json": b"[true]",
    "null.json": b"[null]",
    "surrogate.json": b'["\\ud800"]',
    "line.json": b'["a\\nb"]',
    "deep.json": b"[" * 100000,
    "lacks.jsonl": b'{"id": "a"}\n{"name": "b"}\n',
    "mixed.jsonl": b'{"id": "a"}\n"b"\n',
    "x.xls": b"a",
    "nowhere.txt": None,
}


@pytest.mark.parametrize("name", WRONG)
def test_lists_that_cannot_be_used_are_one_sentence(tmp_path, says, name):
    path = tmp_path / name
    if WRONG[name] is not None:
        path.write_bytes(WRONG[name])
    with pytest.raises(InputError, match=name) as error:
        read_ids(path)
    assert "\n" not in str(error.value)
    says(str(error.value).partition("list of ids: ")[0])  # without the words of the parsers
