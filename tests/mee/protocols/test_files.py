"""Where files are searched, and what they hold; one sentence for each thing that can be wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.protocols.files import AnnotationFiles, read_ids, read_json, read_tab_rows
from mee.protocols.table import PROTOCOLS

WORDS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)


@pytest.fixture
def file(tmp_path):
    def write(content="", name="a.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_file_is_found_in_the_directory_or_a_usual_one_by_its_likeliest_name(file, tmp_path):
    files = AnnotationFiles(tmp_path, PROTOCOLS["vatex"], ("own",))
    far, near, second = (file(name=name) for name in ("own/a.json", "annotations/b.json", "b.json"))
    for found in (second, near, far):
        assert files.find("a.json", "b.json") == found
        found.unlink()
    (tmp_path / "a.json").mkdir()  # no file
    assert files.find("a.json", "b.json") is None
    file(name="c.1.json"), file(name="c.2.json")
    with pytest.raises(InputError, match=r"has both c.1.json and c.2.json, and vatex wants one of them"):
        files.find("c.*.json")
    test, train = file("a\nb\n", "test_list.txt"), file("c", "own_train_list.txt")
    assert files.read_lists("{}_list.txt", "own_{}_list.txt") == {"train": ("c",), "test": ("a", "b")}
    assert files.read == {"train list": train, "test list": test}


def test_one_file_is_read_where_it_suffices_alone(file):
    path = file(name="mine.json")
    files = AnnotationFiles(path, PROTOCOLS["vatex"])
    assert files.find("a.json", alone=True) == path
    assert files.find("a.json") is files.find("a.csv", alone=True) is None
    with pytest.raises(InputError, match=r"mine.json' alone is not enough: vatex is read from .* test_list"):
        files.need("a.csv", alone=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("a.txt", text) for text in ("a\nb\n", "a\nb", "a\r\nb\r\n", " a \n\nb\n\n", "\ufeffa\nb\n")),
        ("a.csv", "n,video_id\n1,a\n\n2,b\n"),
    ],
)
def test_a_list_of_ids(file, name, content):
    assert read_ids(file(content, name)) == ("a", "b")


@pytest.mark.parametrize(
    ("read", "name", "content", "says"),
    [
        (read_ids, "a.txt", "", "write one a line"),
        (read_ids, "a.txt", "a\nb\na\nc\nc\n", "names 2 ids more than once, 'a' among them; keep each once"),
        (read_ids, "a.txt", b"\xff\xfe", "not UTF-8"),
        (read_ids, "a.csv", "clip\na\n", "no column 'video_id'; it has 'clip'"),
        (read_json, "a.json", b"\xff", "not UTF-8"),
        (read_json, "a.json", "{", "not readable JSON"),
        (read_json, "a.json", "[" * 100_000, "not readable JSON"),
        (read_json, "a.json", '{"v_1": [], "v_2": [], "v_1": []}', "the key 'v_1' more than once"),
    ],
)
def test_a_file_that_cannot_be_used(file, read, name, content, says):
    path = file(content, name)
    with pytest.raises(InputError) as caught:
        read(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


@given(rows=st.lists(st.lists(WORDS.map(lambda word: word.replace("\t", " ")), min_size=1), min_size=1))
def test_fields_between_tabs_are_taken_as_they_are(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tabs") / "a.csv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8", newline="")
    found = [fields for _, fields in read_tab_rows(path)]
    assert found == [row for row in rows if "\t".join(row).strip()]
