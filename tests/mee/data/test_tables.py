"""Captions, lists and sentences in every form; and one clear sentence for whatever is wrong with them."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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


# ---- other forms of the same table

PAIRS = [("v0", "a dog, and a cat"), ("v1", "it's rain"), ("v1", "drums; loud | near")]
FRAME = pd.DataFrame(PAIRS, columns=["video_id", "caption"])
BY_ID = {"v0": ["a dog, and a cat"], "v1": ["it's rain", "drums; loud | near"]}
LISTS = pd.DataFrame({"video_id": list(BY_ID), "caption": list(BY_ID.values())})
SENTENCES = [{"sen_id": n, "video_id": video, "caption": text} for n, (video, text) in enumerate(PAIRS)]
IMAGES = [{"id": n, "file_name": video} for n, video in enumerate(BY_ID)]
OF_IMAGES = [{"id": n, "image_id": int(video[1]), "caption": text} for n, (video, text) in enumerate(PAIRS)]


def delimited(sign=",", names=("video_id", "caption"), before="", **options):
    return before + FRAME.set_axis(names, axis=1).to_csv(sep=sign, index=False, **options)


def in_columns(names, table=FRAME):
    return table.set_axis(names, axis=1).to_csv(index=False)


FORMS = {
    "semicolons.csv": delimited(";"),
    "tabs.csv": delimited("\t"),
    "tabs.tsv": delimited("\t", quoting=csv.QUOTE_ALL),
    "pipes.txt": delimited("|"),
    "another ending.dat": delimited(),
    "excel.csv": delimited(";", before="sep=;\n"),
    "comments.csv": delimited(before="# made by hand\n#\n\n"),
    "comment sign in the header.csv": delimited(names=("#Video ID", " Caption ")),
    "utf-16.csv": delimited().encode("utf-16"),
    "utf-16, big end first.csv": b"\xfe\xff" + delimited().encode("utf-16-be"),
    "utf-32.csv": delimited().encode("utf-32"),
    "old Mac.csv": delimited().replace("\n", "\r"),
    "commas at the ends.csv": "video_id,caption,\n" + "".join(f'{video},"{text}",,\n' for video, text in PAIRS),
    "sentence.csv": in_columns(["video_id", "sentence"]),
    "clip and text.csv": in_columns(["clip", "text"]),
    "image and description.csv": in_columns(["image", "Description"]),
    "first of two.csv": FRAME.assign(id=range(3), query="?").to_csv(index=False),
    "ids as index.csv": FRAME.set_index("video_id").rename_axis(None).to_csv(),
    "ids as index, read again.csv": FRAME.rename(columns={"video_id": "Unnamed: 0"}).to_csv(index=False),
    "Python's lists.csv": LISTS.to_csv(index=False),
    "JSON's lists.csv": LISTS.assign(caption=LISTS["caption"].map(json.dumps)).to_csv(index=False),
    **{
        f"{way} of pandas.json": FRAME.to_json(orient=way)
        for way in ("columns", "records", "index", "split", "table")
    },
    "columns.json": json.dumps(FRAME.to_dict("list")),
    "lists.jsonl": LISTS.to_json(orient="records", lines=True),
    "lines.json": FRAME.to_json(orient="records", lines=True),
    "array.jsonl": FRAME.to_json(orient="records", indent=1),
    "by id.json": json.dumps(BY_ID),
    "by id, with more.json": json.dumps({name: {"captions": texts, "url": "-"} for name, texts in BY_ID.items()}),
    "by id, in objects.json": json.dumps({name: [{"text": t} for t in texts] for name, texts in BY_ID.items()}),
    "data.json": json.dumps({"version": 1, "data": FRAME.to_dict("records")}),
    "msrvtt.json": json.dumps({"info": {}, "videos": [{"video_id": "v0"}], "sentences": SENTENCES}),
    "coco.json": json.dumps({"images": IMAGES, "annotations": OF_IMAGES}),
}


@pytest.mark.parametrize("name", FORMS)
def test_other_forms_of_a_table_are_read_as_what_they_say(file, name):
    assert list(read_captions(file(name, FORMS[name])).itertuples(index=False, name=None)) == PAIRS


def test_the_split_of_a_video_is_that_of_its_sentences_and_lists_are_of_ids(file):
    videos = [{"video_id": "v0", "split": "train"}, {"video_id": "v1", "split": "validate"}]
    table = read_captions(file("m.json", json.dumps({"videos": videos, "sentences": SENTENCES})))
    assert table["split"].tolist() == ["train", "val", "val"]
    for name, content in (
        ("v.json", '["v0", "v1"]'),
        ("v.txt", "video_id;n\nv0;1\nv1;2\n"),
        ("v.tsv", "id\nv0\nv1"),
    ):
        assert read_videos(file(name, content)) == ("v0", "v1")


def test_parquet_with_lists_bytes_numbers_and_ids_as_index(tmp_path):
    path = tmp_path / "c.parquet"
    LISTS.assign(caption=LISTS["caption"].map(np.array)).to_parquet(path)
    assert read_captions(path).to_numpy().tolist() == FRAME.to_numpy().tolist()
    FRAME.set_index("video_id").rename_axis(None).to_parquet(path)
    assert read_captions(path).to_numpy().tolist() == FRAME.to_numpy().tolist()
    pd.DataFrame({"id": [7.0, 8.0], "text": [b"a", b"b"]}).to_parquet(path)
    assert read_captions(path).to_numpy().tolist() == [["7", "a"], ["8", "b"]]
    pd.DataFrame({"id": [7.0, np.nan], "text": ["a", "b"]}).to_parquet(path)
    assert "row 2 has nothing in column 'video_id'" in refusal(read_captions, path)


def test_columns_may_be_named(file):
    path = file("c.csv", "id,name,my words\n1,v0,a\n2,v1,b\n")
    columns = {"video_id": "name", "caption": "my words"}
    assert read_captions(path, columns).to_numpy().tolist() == [["v0", "a"], ["v1", "b"]]


HEADER = "video_id,caption\n"
WRONG = {
    "a quote up to another one.csv": HEADER + 'v0,"a dog\nv1,a cat\nv2,of 12"\nv3,x\n',
    "over a blank line and a row with commas.csv": HEADER + 'v0,"a dog\n\nv1,a cat, small\nv2,of 12"\n',
    "where ids are words.csv": HEADER + 'beach,"a dog\nforest,12"\n',
    "the same where ids come last.csv": 'caption,video_id\n"a dog,v0\na cat,v1\nof 12",v2\n',
    "a quote inside of it.csv": HEADER + 'v0,"a dog\nv1,a 12" cat\n',
    "a quote up to the end.csv": HEADER + 'v0,x\nv1,"a dog\nv2,a cat\n',
    "backslashes.csv": HEADER + 'v0,"a \\"big\\" dog"\n',
    "too many fields.csv": "video_id;caption\nv0;a; b\n",
    "NumPy's list.csv": HEADER + "v0,\"['a dog' 'a cat']\"\n",
    "an empty list.csv": HEADER + "v0,[]\n",
    "a comment later.csv": HEADER + "v0,a\n# the rest\n",
    "no header.csv": "v0,a man cooks\nv1,a dog\n",
    "row numbers as index.csv": FRAME[["caption"]].to_csv(),
    "two captions.csv": "video_id,caption,caption\nv0,a,b\n",
    "two that may be.csv": "video_id,sentence,text\nv0,a,b\n",
    "two ids.csv": "id,name,caption\n1,v0,a\n",
    "Latin-1.csv": HEADER.encode() + b"v0,caf\xe9\n",
    "UTF-16 unmarked.csv": HEADER.encode("utf-16-le"),
    "zip.xlsx": b"PK\x03\x04" + bytes(30),
    "gzip.csv.gz": b"\x1f\x8b\x08",
    "pickle.pkl": b"\x80\x04\x95",
    "page.csv": "\n<!DOCTYPE html>\n<html>",
    "pointer.csv": "version https://git-lfs.github.com/spec/v1\n",
    "parquet.csv": b"PAR1\x15\x04",
    "an id twice.json": '{"v0": "a", "v0": "b"}',
    "words.json": '{"v0": [["a", "dog"], ["rain"]]}',
    "rows.json": '[["v0", "a"]]',
    "uneven.json": '{"video_id": ["v0", "v1"], "caption": ["a"]}',
    "broken.json": '[{"video_id": "v0",\n "caption": }]',
    "broken.jsonl": '{"video_id": "v0", "caption": "a"}\n{"video_id": "v1" "caption": "b"}\n',
    "a list among lines.jsonl": '{"video_id": "v0", "caption": "a"}\n["v1"]\n',
    "half a character.json": '{"v0": "\\ud800"}',
    "a truth.jsonl": '{"video_id": "v0", "caption": true}\n',
}


@pytest.mark.parametrize("name", WRONG)
def test_tables_that_are_refused(file, says, name):
    says(refusal(read_captions, file(name, WRONG[name]), {}))


@pytest.mark.parametrize("columns", [{"captions": "x"}, {"caption": "x"}])
def test_named_columns_that_are_not_there(file, says, columns):
    says(refusal(read_captions, file("c.csv", FORMS["sentence.csv"]), columns))


TEXTS = st.text(st.sampled_from("ab ,;|\t'[]"), min_size=1, max_size=6).map(lambda text: f"x{text}x")


@given(
    texts=st.lists(TEXTS, min_size=1, max_size=5),
    sign=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([0, 1, 2]),
)
def test_whatever_separates_fields_every_caption_comes_back(tmp_path_factory, texts, sign, quoting):
    rows = [(f"v{number}", text) for number, text in enumerate(texts)]
    written = io.StringIO()
    csv.writer(written, delimiter=sign, quoting=quoting).writerows([("video_id", "caption"), *rows])
    path = tmp_path_factory.mktemp("rows") / "c.csv"
    path.write_text(written.getvalue(), encoding="utf-8", newline="")
    assert list(read_captions(path).itertuples(index=False, name=None)) == rows


@example(count=4, quotes={4, 7}, ids=2)
@given(count=st.integers(2, 6), quotes=st.sets(st.integers(0, 11), min_size=1, max_size=3), ids=st.integers(0, 2))
def test_stray_quotes_never_lose_a_row_in_silence(tmp_path_factory, count, quotes, ids):
    """Before or after captions; ids are in the first, second or third column."""
    marks = [('"' if 2 * row in quotes else "", '"' if 2 * row + 1 in quotes else "") for row in range(count)]
    rows = [["test", f"{before}a dog{after}"] for before, after in marks]
    for number, row in enumerate(rows):
        row.insert(ids, f"v{number}")
    header = ["split", "caption"]
    header.insert(ids, "video_id")
    path = tmp_path_factory.mktemp("quotes") / "c.csv"
    path.write_text("".join(f"{','.join(row)}\n" for row in [header, *rows]), encoding="utf-8")
    try:
        assert len(read_captions(path)) == count
    except InputError as error:
        assert "line " in str(error)  # noqa: PT017 - both are right
