"""What is always refused, and what is refused or recorded; where files are searched, and what they hold."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.protocols.files import AnnotationFiles, read_ids, read_json, read_tab_rows
from mee.protocols.protocol import Protocol, Reading, caption_table, check, refuse_overlap
from mee.protocols.table import PROTOCOLS
from tests.mee.conftest import refusal

SMALL = Protocol(
    name="small", title="small", files="small.json", reader="", query_rule="every caption",
    gallery=3, queries=4, val=1, train={"a": 2, "b": 1},
)  # fmt: skip
IDS = {"train": ("t1", "t2"), "val": ("v1",), "test": ("e1", "e2", "e3")}
QUERIES = [
    ("1", "t1", "x", "train"),
    ("2", "t2", "x", "train"),
    ("1", "v1", "x", "val"),
    *(("1", "e1", "x", "test"), ("2", "e1", "y", "test"), ("3", "e2", "x", "test"), ("4", "e3", "x", "test")),
]


TEST = {"test": IDS["test"]}
NO_E3, THREE = "1 test video without a caption: 'e3'", "3 test queries where it has 4"


def read(rows=QUERIES, ids=IDS, **fields):
    return Reading(table=caption_table(rows), ids=ids, files={}, **fields)


def checked(reading, train_list=None, partial=False):
    return check(reading, SMALL, Path("here"), train_list=train_list, partial=partial)


def without(split, video, **fields):
    """IDS and QUERIES without a video."""
    ids = IDS | {split: tuple(name for name in IDS[split] if name != video)}
    return read([row for row in QUERIES if row[1] != video], ids, **fields)


@pytest.mark.parametrize("test_only", [False, True])
def test_complete_files_pass_and_those_of_the_test_alone_suffice(test_only):
    rows = [row for row in QUERIES if row[3] == "test" or not test_only]
    for ids in (IDS, {"test": IDS["test"]})[: 1 + test_only]:
        benchmark = checked(read(rows, ids))
        assert (benchmark.shortfalls, benchmark.gallery) == ((), IDS["test"])
        assert benchmark.train_list == (None if test_only else "a")
        assert benchmark.table.to_records(index=False).tolist() == rows  # an id is unique within its split


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("ids", "rows", "message"),
    [
        ({"test": ()}, QUERIES, "^here names no test video, which small needs; fetch its files again$"),
        ({"val": ()}, QUERIES, "^here names no validation video, which small"),
        ({"test": ("e1", "e2", "e1")}, QUERIES, "^here names 1 test video more than once: 'e1'; keep each once$"),
        ({"train": ("t1", "e2")}, QUERIES, "^here: 1 of the training videos is among the test videos too: 'e2'"),
        ({"train": ("t1", "v1")}, QUERIES, "^here: 1 of the training videos is among the validation .*: 'v1'"),
        ({"val": ("e3",)}, QUERIES, "^here: 1 of the validation videos is among the test videos too: 'e3'"),
        ({}, [*QUERIES[:-1], ("3", "e3", "z", "test")], "^here has 1 caption under the id of another one: '3';"),
    ],
)
def test_what_is_refused_even_in_part(ids, rows, message, partial):
    with pytest.raises(InputError, match=message):
        checked(read(rows, IDS | ids), partial=partial)


@pytest.mark.parametrize(
    ("reading", "shortfalls"),
    [
        (without("test", "e1"), ("2 test videos where it has 3", "2 test queries where it has 4")),
        (without("test", "e3"), ("2 test videos where it has 3", THREE)),
        (without("test", "e2", expected=TEST), ("2 test videos where it has 3 (without 'e2')", THREE)),
        (without("train", "t2"), ("1 training video where it has 2",)),
        (read(QUERIES[1:]), ("1 training video without a caption: 't1'",)),
        (read(QUERIES[:-1]), (NO_E3, THREE)),
        (
            read([*QUERIES, ("5", "e4", "x", "test")], IDS | {"test": (*IDS["test"], "e4")}),
            ("4 test videos where it has 3", "5 test queries where it has 4"),
        ),
        (read([*QUERIES[:-1], ("4", "e3", " ", "test")]), (NO_E3, "1 caption without text: '4'", THREE)),
        (read(counted={"train": 9}), ("9 training videos where it has 2",)),
    ],
)
def test_what_falls_short_is_refused_and_in_part_recorded(reading, shortfalls):
    remedy = "complete the files, or go on with --partial, which every result will show"
    assert refusal(checked, reading) == f"here does not match small: {'; '.join(shortfalls)}; {remedy}"
    benchmark = checked(reading, partial=True)
    assert benchmark.shortfalls == shortfalls
    assert (benchmark.table["caption"] != "").all()


def test_the_requested_list_counts_and_a_test_without_any_caption_is_refused_even_in_part():
    one = without("train", "t1")
    assert checked(one, train_list="b").train_list == "b"
    with pytest.raises(InputError, match="1 training video where it has 2"):
        checked(one, train_list="a")
    with pytest.raises(InputError, match=r"^here has no caption of any test video of small; fetch its captions$"):
        checked(read(QUERIES[:3]), partial=True)


@given(*(st.lists(st.integers(0, 20).map(str), unique=True) for _ in range(2)))
def test_an_overlap_is_refused_exactly_where_there_is_one(first, second):
    both = set(first) & set(second)
    with pytest.raises(InputError) if both else nullcontext() as caught:
        refuse_overlap("some", first, "test", second, Path("here"))
    if both:
        assert str(caught.value).startswith(f"here: {len(both)} of some ")
        assert sum(f"'{name}'" in str(caught.value) for name in both) == min(3, len(both))


# ---- where files are searched, and what they hold

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
        (read_ids, "a.txt", b"\xff", "not UTF-8"),
        (read_ids, "a.csv", "key\na\n", "no column 'video_id'; it has 'key'"),
        (read_json, "a.json", b"\xff", "not UTF-8"),
        (read_json, "a.json", "{", "not readable JSON"),
        (read_json, "a.json", "[" * 100_000, "nested too deeply"),
        (read_json, "a.json", '{"v_1": [], "v_2": [], "v_1": []}', "the key 'v_1' more than once"),
    ],
)
def test_a_file_that_cannot_be_used(file, read, name, content, says):
    path = file(content, name)
    said = refusal(read, path)
    assert says in said
    assert str(path) in said


@given(rows=st.lists(st.lists(WORDS.map(lambda word: word.replace("\t", " ")), min_size=1), min_size=1))
def test_fields_between_tabs_are_taken_as_they_are(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tabs") / "a.csv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8", newline="")
    assert [fields for _, fields in read_tab_rows(path)] == [row for row in rows if "\t".join(row).strip()]
