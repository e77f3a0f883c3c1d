"""What is always refused, and what is refused or recorded."""

import re
from contextlib import nullcontext
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
        (
            {"train": ("t1", "v1")},
            QUERIES,
            "^here: 1 of the training videos is among the validation videos .*'v1'",
        ),
        ({"val": ("e3",)}, QUERIES, "^here: 1 of the validation videos is among the test videos too: 'e3'"),
        (
            {},
            [*QUERIES[:-1], ("3", "e3", "z", "test")],
            "^here has 1 caption under the id of another one: '3'; give",
        ),
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
        (
            without("test", "e2", expected={"test": IDS["test"]}),
            ("2 test videos where it has 3 (without 'e2')", THREE),
        ),
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
    short = (
        f"here falls short of small: {'; '.join(shortfalls)}; complete the files, or go on with --partial, which"
    )
    with pytest.raises(InputError, match=f"^{re.escape(short)} every result will show$"):
        checked(reading)
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
