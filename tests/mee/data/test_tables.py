"""Captions, lists and sentences in every form; and one clear sentence for whatever is wrong with them."""

import json

import pandas as pd
import pytest

from mee.data.tables import read_captions, read_sentences, read_videos
from mee.errors import InputError
from tests.mee.conftest import refusal

ROWS = [
    {"video_id": "v1.mp4", "caption": "a dog, running", "split": "train"},
    {"video_id": "v1.mp4", "caption": 'it says "NA"', "split": "train"},
    {"video_id": "007", "caption": "naïve – 犬\u2028\x85", "split": "test"},
]


def write(path, rows=ROWS, encoding="utf-8"):
    table = pd.DataFrame(rows)
    match path.suffix:
        case ".csv":
            table.to_csv(path, index=False, encoding=encoding)
        case ".parquet":
            table.to_parquet(path)
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding=encoding)
    return path


@pytest.fixture
def file(tmp_path):
    """file("a.csv", text or bytes): a file of this content; "folder": a folder; None: nothing."""

    def make(name, content):
        path = tmp_path / name
        if content == "folder":
            path.mkdir()
        elif content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("name", ["c.csv", "c.parquet", "c.jsonl", "c.ndjson"])
def test_every_format_gives_the_same_table(tmp_path, name, encoding):
    rows = [{**row, "caption": row["caption"].strip("\u2028\x85")} for row in ROWS]
    assert read_captions(write(tmp_path / name, rows, encoding)).to_dict("records") == rows


def test_values_stay_as_written_but_for_outer_space_and_names_of_splits(file):
    rows = 'video_id,caption,split\r\n 007 ,"a\nb",validate\r\nnan,NA,Train\r\nc, null , dev\r\n,,\r\n'
    table = read_captions(file("c.csv", rows))
    assert table["video_id"].tolist() == ["007", "nan", "c"]
    assert table["caption"].tolist() == ["a\nb", "NA", "null"]
    assert table["split"].tolist() == ["val", "train", "val"]
    rows = '{"video_id": 7, "caption": "x"}\n{"video_id": "08", "caption": "2020-01-01"}\n'
    other = file("other.csv", "video,note,caption,note\n\na,,x,\n")  # other names, and columns to ignore
    assert read_captions(other).to_dict("records") == [{"video_id": "a", "caption": "x"}]
    expected = [{"video_id": "7", "caption": "x"}, {"video_id": "08", "caption": "2020-01-01"}]
    assert read_captions(file("c.jsonl", rows)).to_dict("records") == expected


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("c.csv", "video_id,note\na,b\n", "no column 'caption'; it has 'video_id', 'note'"),
        ("c.csv", "video_id,caption\na,b\nc,\n", "line 3 has nothing in column 'caption'"),
        ("c.csv", "video_id,caption\na,b\nc\n", "line 3 has nothing in column 'caption'"),
        ("c.csv", "video_id,caption\n  ,b\n", "line 2 has nothing in column 'video_id'"),
        ("c.csv", "video_id,caption,split\na,b,train\nc,d,\n", "line 3 has nothing in column 'split'"),
        ("c.csv", "video_id,caption,split\na,b,fold1\n", "split must be one of train, val, test, got 'fold1'"),
        ("c.csv", "video_id,caption\n", "no rows"),
        ("c.csv", "", "no column 'video_id'; it has nothing"),
        ("c.csv", "video_id,caption\na,b\nc,d, e\n", "line 3 has more fields than the header, 3 for 2"),
        ("c.csv", 'video_id,caption\na,b\nc,"d\n', "not a readable .csv table; save it again: line 3"),
        ("c.csv", 'video_id,caption\na,"b" c\n', "not a readable .csv table; save it again: line 2"),
        ("c.csv", b"video_id,caption\na,caf\xe9\n", "line 2 is not UTF-8"),
        ("c.jsonl", '{"video_id": "a"', "not a readable .jsonl table"),
        ("c.jsonl", '{"video_id": "a", "caption": null}\n', "nothing in column 'caption'"),
        ("c.parquet", "no parquet", "not a readable .parquet table"),
        ("c.csv", None, "no caption file at"),
        ("c.csv", "folder", "no caption file at"),
        ("list.csv", b"key\nv1\n", "has no column 'video_id'; it has 'key'. Name it"),
        ("list.csv", b"", "has no column 'video_id'; it has nothing"),
        ("list.txt", b"v1,v2\n", "has no column 'video_id'; it has 'v1', 'v2'"),
        ("list.csv", b"key,video_id\n0,v1\n1\n", "line 3 has nothing in column 'video_id'"),
        ("list.csv", b"key,video_id\n0, \n", "line 2 has nothing in column 'video_id'"),
        ("list.csv", b"video_id\n", "no rows"),
        ("list.txt", b" \n\n", "write one a line"),
        ("list.txt", b"\xff\xfe\x00", "line 1 is not UTF-8"),
        ("list.csv", b'video_id\n"' + b"x" * 200_000, "field larger"),
        ("list.parquet", b"PAR1", "is not a readable .parquet table"),
        ("list.txt", None, "no list of videos at"),
        ("folder", "folder", "no list of videos at"),
        *(("t.txt", content, "t.txt") for content in ("\n", b"a\n\xff", None)),
    ],
)
def test_files_that_cannot_be_used(file, name, content, says):
    path = file(name, content)
    said = refusal({"c": read_captions, "t": read_sentences}.get(name[0], read_videos), path)
    assert says in said
    assert str(path) in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", "video_id\nv1\nv2\n"),
        ("list.csv", '\ufeffkey,video_id\r\n0,v1\r\n1, v2 \r\n\r\n2,"v1"\r\n'),
        ("list.csv", "video\nv1\nv2\n"),
        ("list.txt", "v1\n\nv2"),
        ("list", " v1 \nv2\nv1\n"),
        ("list.txt", "\ufeffvideo_id\nv1\nv2\n"),
        ("list.txt", "video_id,caption\nv1,a dog\nv2,rain\n"),
    ],
)
def test_a_list_of_videos(file, tmp_path, name, content):
    assert read_videos(file(name, content)) == ("v1", "v2")
    names = [" b", "a", "b", "naïve, clip.mp4"]
    for column in ("video_id", "video"):
        assert read_videos(write(tmp_path / f"{column}.parquet", {column: names})) == ("b", "a", "naïve, clip.mp4")


def test_sentences_of_a_text_or_of_some_splits_of_a_table(file, tmp_path):
    assert read_sentences(file("s.txt", "\ufeffa, b\n\n c \r\na, b\n")) == ["a, b", "c"]
    assert read_sentences(write(tmp_path / "c.csv")) == [ROWS[2]["caption"].strip()]
    assert read_sentences(tmp_path / "c.csv", ("train",)) == [row["caption"] for row in ROWS[:2]]
    assert read_sentences(file("d.csv", "video_id,caption\na,x\nb,x\n")) == ["x"]
    with pytest.raises(InputError, match="'val'"):
        read_sentences(tmp_path / "c.csv", ("val",))
