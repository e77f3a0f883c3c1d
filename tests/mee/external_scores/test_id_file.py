"""Files of ids."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.external_scores.id_file import checked_ids, read_ids

IDS = ("video7010", "a,b", "ünïcode", "007")


def test_every_format_gives_the_same(tmp_path):
    (tmp_path / "ids.txt").write_text("\n".join(IDS) + "\n", encoding="utf-8")
    (tmp_path / "windows").write_bytes("\r\n".join(IDS).encode("utf-8-sig"))
    (tmp_path / "ids.json").write_text(json.dumps(IDS), encoding="utf-8")
    table = pd.DataFrame({"caption": list("wxyz"), "clip_id": IDS})
    table.to_csv(tmp_path / "ids.csv", index=False)
    table.to_csv(tmp_path / "ids.tsv", index=False, sep="\t")
    table.to_parquet(tmp_path / "ids.parquet")
    for path in tmp_path.iterdir():
        assert read_ids(path, "clip") == IDS, path.name


def test_whole_numbers_and_bytes_are_ids_too(tmp_path):
    pd.DataFrame({"query_id": [3, 1]}).to_parquet(tmp_path / "ids.parquet")
    assert read_ids(tmp_path / "ids.parquet", "query") == ("3", "1")
    assert checked_ids([np.int64(5), b"v", np.str_("w")], "query", "x") == ("5", "v", "w")


def test_video_id_stands_in_but_does_not_win(tmp_path):
    path = tmp_path / "test.csv"
    path.write_text("key,video_id,sentence\nret0,video9770,words\n")
    assert read_ids(path, "query") == read_ids(path, "clip") == ("video9770",)
    path.write_text("video_id,query_id\nvideo9770,ret0\n")
    assert read_ids(path, "query") == ("ret0",)


@given(ids=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), unique=True))
def test_lines_are_read_back(ids, tmp_path_factory):
    path = tmp_path_factory.mktemp("ids") / "ids.txt"
    path.write_text("".join(f"{each}\n" for each in ids), encoding="utf-8")
    if ids:
        assert read_ids(path, "query") == tuple(ids)
    else:
        with pytest.raises(InputError, match="holds no query ids"):
            read_ids(path, "query")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("ids.txt", "a\nb\na\n", "has 1 query ids more than once, 'a' 2 times; every row needs an id of its own"),
        ("ids.txt", "a\n\nb\n", "query id 2 is empty"),
        ("ids.txt", "", "holds no query ids"),
        ("ids.csv", "video,caption\na,b\n", "no column 'query_id' or 'video_id'; it has 'video', 'caption'"),
        ("ids.csv", "", "no column 'query_id' or 'video_id'; it has none"),
        ("ids.csv", "query_id,caption\na,b,c\n", "line 2 has 3 fields and the header 2"),
        ("ids.csv", 'query_id\n"a\n', "no readable file of query ids: unexpected end"),
        ("ids.json", '{"a": 1}', "is no JSON list of query ids"),
        ("ids.json", "[1.5]", "query id 1 is 1.5, which is no text"),
        ("ids.json", "[null]", "query id 1 is None, which is no text"),
        ("ids.json", "[true]", "query id 1 is True, which is no text"),
        ("ids.json", "[" * 100_000, "no readable file of query ids"),
        ("ids.parquet", "no parquet", "no readable file of query ids"),
        ("ids.npy", "x", "query ids are read from .txt, .csv, .tsv, .parquet or .json"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said) as caught:
        read_ids(tmp_path / name, "query")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(InputError, match=r"no file of clip ids at '.*nowhere\.txt'"):
        read_ids(tmp_path / "nowhere.txt", "clip")
    (tmp_path / "ids.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"no readable file of clip ids: .*codec"):
        read_ids(tmp_path / "ids.txt", "clip")
