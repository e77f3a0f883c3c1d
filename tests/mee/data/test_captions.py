"""Caption files: three formats, and one clear sentence for whatever is wrong with them."""

import json

import pandas as pd
import pytest

from mee.data.captions import read_captions
from mee.errors import InputError

ROWS = [
    {"video_id": "v1.mp4", "caption": "a dog, running", "split": "train"},
    {"video_id": "v1.mp4", "caption": 'it says "NA"', "split": "train"},
    {"video_id": "007", "caption": "naïve – 犬", "split": "test"},
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


@pytest.mark.parametrize("name", ["c.csv", "c.parquet", "c.jsonl", "c.ndjson"])
def test_every_format_gives_the_same_table(tmp_path, name):
    assert read_captions(write(tmp_path / name)).to_dict("records") == ROWS


@pytest.mark.parametrize("name", ["c.csv", "c.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path, name):
    path = write(tmp_path / name, encoding="utf-8-sig")
    assert read_captions(path).to_dict("records") == ROWS


def test_video_is_another_name_for_video_id_and_other_columns_are_ignored(tmp_path):
    rows = [{"video": "a", "caption": "x", "note": ""}]
    assert read_captions(write(tmp_path / "c.csv", rows)).to_dict("records") == [{"video_id": "a", "caption": "x"}]


def test_words_that_pandas_takes_for_missing_are_captions(tmp_path):
    rows = [{"video_id": "nan", "caption": word} for word in ("NA", "null", "None", "nan")]
    assert read_captions(write(tmp_path / "c.csv", rows))["caption"].tolist() == ["NA", "null", "None", "nan"]


def test_outer_space_goes_and_split_names_are_made_alike(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("video_id,caption,split\n a , x ,validate\nb,y,Train\nc,z, dev\n")
    table = read_captions(path)
    assert table["video_id"].tolist() == ["a", "b", "c"]
    assert table["caption"].tolist() == ["x", "y", "z"]
    assert table["split"].tolist() == ["val", "train", "val"]


def test_numbers_as_video_ids_stay_as_written(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"video_id": 7, "caption": "x"}\n{"video_id": "08", "caption": "2020-01-01"}\n')
    table = read_captions(path)
    assert table["video_id"].tolist() == ["7", "08"]
    assert table["caption"].tolist() == ["x", "2020-01-01"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", "video_id,text\na,b\n", "no column 'caption'; it has 'video_id', 'text'"),
        ("c.csv", "clip,caption\na,b\n", "no column 'video_id'"),
        ("c.csv", "video_id,caption\na,b\nc,\n", "caption 2 of 2 has nothing in column 'caption'"),
        ("c.csv", "video_id,caption\na,b\nc\n", "caption 2 of 2 has nothing in column 'caption'"),
        ("c.csv", "video_id,caption\n  ,b\n", "caption 1 of 1 has nothing in column 'video_id'"),
        ("c.csv", "video_id,caption,split\na,b,train\nc,d,\n", "caption 2 of 2 has nothing in column 'split'"),
        ("c.csv", "video_id,caption,split\na,b,testing\n", "split must be one of train, val, test, got 'testing'"),
        ("c.csv", "video_id,caption\n", "holds no captions"),
        ("c.csv", "", "not a readable .csv table"),
        ("c.csv", "video_id,caption\na,b\nc,d, e\n", "not a readable .csv table"),
        ("c.csv", "video_id,caption\na,b, c\nd,e, f\n", "more fields than the header"),
        ("c.csv", b"video_id,caption\na,caf\xe9\n", "not a readable .csv table"),
        ("c.jsonl", '{"video_id": "a"', "not a readable .jsonl table"),
        ("c.jsonl", '{"video_id": "a", "caption": null}\n', "nothing in column 'caption'"),
        ("c.parquet", "no parquet", "not a readable .parquet table"),
        ("c.txt", "video_id,caption\na,b\n", "not '.txt'"),
        ("c", "video_id,caption\na,b\n", "not ''"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read_captions(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["c.csv", "folder.csv"])
def test_a_missing_file_is_told(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="no caption file"):
        read_captions(tmp_path / name)
