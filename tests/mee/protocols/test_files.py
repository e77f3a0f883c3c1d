"""Lists, tables and JSON, whatever the data set; one sentence for each thing that can be wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.protocols.files import entry, identifier, read_csv, read_ids, read_json, read_tab_rows

WORDS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)


@pytest.fixture
def file(tmp_path):
    def write(content, name="a.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("content", ["a\nb\n", "a\nb", "a\r\nb\r\n", " a \n\nb\n\n", "\ufeffa\nb\n"])
def test_a_list_of_ids_however_its_lines_end(file, content):
    assert read_ids(file(content)) == ("a", "b")


def test_a_list_of_ids_as_csv(file):
    assert read_ids(file("n,video_id\n1,b\n\n2,a\n", "a.csv")) == ("b", "a")


def test_the_real_lists(real):
    lists = {split: read_ids(real / f"msvd_{split}_list.txt") for split in ("train", "val", "test")}
    assert {split: len(ids) for split, ids in lists.items()} == {"train": 1_200, "val": 100, "test": 670}
    assert lists["train"][0] == "-4wsuPCjDBc_5_15"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.txt names no video; it should list one id a line$"),
        (" \n\n", "a.txt names no video; it should list one id a line$"),
        ("a\nb\na\nc\nc\n", "a.txt names 2 ids more than once, 'a' among them; keep each once$"),
        (b"\xff\xfe", r"a.txt is not UTF-8 text \(.*\); save it as UTF-8$"),
    ],
)
def test_a_list_that_cannot_be_used(file, content, message):
    with pytest.raises(InputError, match=message):
        read_ids(file(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("video\na\n", "has no column 'video_id'; it has 'video'$"),
        ("", "has no column 'video_id'; it has nothing$"),
        ("video_id\n", "has a header and no rows; fetch the file again$"),
    ],
)
def test_a_csv_that_cannot_be_used(file, content, message):
    with pytest.raises(InputError, match=message):
        read_csv(file(content, "a.csv"), ("video_id",))


def test_what_cannot_be_read_at_all(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read: Is a directory$"):
        read_ids(tmp_path)


def test_a_key_twice_is_an_id_twice(file):
    with pytest.raises(InputError, match=r"has the key 'v_1' more than once in one object; keep each once$"):
        read_json(file('{"v_1": [], "v_2": [], "v_1": []}'))


@given(rows=st.lists(st.lists(WORDS.map(lambda word: word.replace("\t", " ")), min_size=1), min_size=1))
def test_fields_between_tabs_are_taken_as_they_are(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tabs") / "a.csv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8", newline="")
    found = [fields for _, fields in read_tab_rows(path)]
    assert found == [row for row in rows if "\t".join(row).strip()]


@pytest.mark.parametrize("record", [{}, {"a": 1}, {"a": None}, [], "a", None, 3])
def test_a_value_that_is_not_there(record):
    with pytest.raises(InputError, match=r"^here has no text 'a'; fetch the file again$"):
        entry(record, "a", str, "here")


@pytest.mark.parametrize("value", [None, True, 1.5, "", " ", [], {}])
def test_what_is_no_id(value):
    with pytest.raises(InputError, match=r"^here has no id 'a'; fetch the file again$"):
        identifier({"a": value}, "a", "here")


def test_ids_may_be_text_or_numbers():
    assert [identifier({"a": value}, "a", "") for value in (7, " x ")] == ["7", "x"]
