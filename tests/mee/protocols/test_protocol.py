"""What is always refused, and what is refused or stamped."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.protocols.protocol import Protocol, Reading, caption_table, check, refuse_overlap

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


NO_E3, THREE = "1 test video without a caption: 'e3'", "3 test queries where it has 4"


def read(rows=QUERIES, ids=IDS, **fields):
    return Reading(table=caption_table(rows), ids=ids, files={}, **fields)


def checked(reading, protocol=SMALL, train_list=None, partial=False):
    return check(reading, protocol, Path("here"), train_list=train_list, partial=partial)


def without(split, video):
    """IDS and QUERIES without a video."""
    ids = IDS | {split: tuple(name for name in IDS[split] if name != video)}
    return read([row for row in QUERIES if row[1] != video], ids)


def test_what_matches_passes():
    benchmark = checked(read())
    assert benchmark.shortfalls == ()
    assert benchmark.gallery == IDS["test"]
    assert benchmark.train_list == "a"
    assert benchmark.table.to_records(index=False).tolist() == QUERIES  # an id is unique within its split


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({"test": ()}, "^here names no test video, which small needs; fetch its files again$"),
        ({"val": ()}, "^here names no validation video, which small"),
        ({"test": ("e1", "e2", "e1")}, "^here names 1 test video more than once: 'e1'; keep each once$"),
        ({"train": ("t1", "e2")}, "^here: 1 of the training videos is among the test videos too: 'e2'"),
        ({"train": ("t1", "v1")}, "^here: 1 of the training videos is among the validation videos too: 'v1'"),
        ({"val": ("e3",)}, "^here: 1 of the validation videos is among the test videos too: 'e3'"),
    ],
)
def test_what_is_refused_even_in_part(ids, message, partial):
    with pytest.raises(InputError, match=message):
        checked(read(ids=IDS | ids), partial=partial)


@pytest.mark.parametrize("partial", [False, True])
def test_a_query_id_names_one_caption(partial):
    rows = [*QUERIES[:-1], ("3", "e3", "z", "test")]
    with pytest.raises(InputError, match=r"^here has 1 caption under the id of another one: '3'; give each"):
        checked(read(rows), partial=partial)


@pytest.mark.parametrize(
    ("reading", "shortfalls"),
    [
        (without("test", "e1"), ("2 test videos where it has 3", "2 test queries where it has 4")),
        (without("test", "e3"), ("2 test videos where it has 3", THREE)),
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
def test_what_falls_short_is_refused_and_in_part_stamped(reading, shortfalls):
    with pytest.raises(InputError) as caught:
        checked(reading)
    assert str(caught.value) == (
        f"here falls short of small: {'; '.join(shortfalls)}; complete the files, or go on with --partial, which "
        "every result will show"
    )
    benchmark = checked(reading, partial=True)
    assert benchmark.shortfalls == shortfalls
    assert (benchmark.table["caption"] != "").all()


def test_a_known_id_that_is_absent_is_named():
    ids = IDS | {"test": ("e1", "e3")}
    rows = [row for row in QUERIES if row[1] != "e2"]
    (first, _) = checked(read(rows, ids, expected={"test": IDS["test"]}), partial=True).shortfalls
    assert first == "2 test videos where it has 3 (without 'e2')"


def test_the_list_that_is_asked_for_counts():
    one = without("train", "t1")
    assert checked(one, train_list="b").train_list == "b"
    with pytest.raises(InputError, match="1 training video where it has 2"):
        checked(one, train_list="a")


@pytest.mark.parametrize("ids", [IDS, {"test": IDS["test"]}])
def test_files_of_the_test_alone_suffice(ids):
    benchmark = checked(read([row for row in QUERIES if row[3] == "test"], ids))
    assert benchmark.shortfalls == ()
    assert benchmark.train_list is None


def test_a_test_without_any_caption_is_refused_even_in_part():
    rows = [row for row in QUERIES if row[3] != "test"]
    with pytest.raises(InputError, match=r"^here has no caption of any test video of small; fetch its captions$"):
        checked(read(rows), partial=True)


@given(
    first=st.lists(st.integers(0, 20).map(str), unique=True),
    second=st.lists(st.integers(0, 20).map(str), unique=True),
)
def test_an_overlap_is_refused_exactly_where_there_is_one(first, second):
    both = set(first) & set(second)
    if not both:
        refuse_overlap("some", first, "test", second, Path("here"))
        return
    with pytest.raises(InputError) as caught:
        refuse_overlap("some", first, "test", second, Path("here"))
    assert str(caught.value).startswith(f"here: {len(both)} of some ")
    named = [name for name in both if f"'{name}'" in str(caught.value)]
    assert len(named) == min(3, len(both))
