"""Filters: what they find is what plain Python finds with SQL's three values, and nothing else gets through."""

import operator
from types import SimpleNamespace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.request.filters import Filter
from mee.errors import InputError

ROWS = {
    "clip_id": ["a", "b", "c", "d"],
    "video": ["news/1.mp4", "news/2.mp4", "cats/1.mp4", "cats/2.mp4"],
    "start_s": [0.0, 10.0, 20.0, 0.0],
    "end_s": [10.0, 45.0, 20.0, 31.5],
    "split": ["test", None, "train", "test"],
    "width": [640, 1920, None, 2**60],
    "rating": [0.5, float("nan"), None, -1.0],
    "sharp": [True, False, None, True],
    "frame rate": [25.0, 30.0, 24.0, None],
    "pattern": ["11", "10", "01", "00"],
    "nothing": [None] * 4,
}


def index_of(*tables):
    return SimpleNamespace(segments=[SimpleNamespace(table=SimpleNamespace(arrow=table)) for table in tables])


def found(text, *tables):
    tables = tables or (pa.table(ROWS),)
    masks = Filter.parse(text).masks(index_of(*tables))
    assert [(mask.shape, mask.dtype) for mask in masks] == [((len(table),), bool) for table in tables]
    ids = [table.column("clip_id").to_pylist() for table in tables]
    return "".join(one for names, mask in zip(ids, masks) for one, kept in zip(names, mask) if kept)


@pytest.mark.parametrize(
    ("text", "clips"),
    [
        ("duration < 30", "ac"),
        ('duration < 32 and split == "test"', "ad"),
        ("10 <= end_s < 31.5", "ac"),
        ("start_s < end_s", "abd"),
        ("30 > duration", "ac"),
        ('split != "test"', "c"),
        ('not split == "test"', "c"),
        ("split is None", "b"),
        ("split is not None and not sharp", ""),
        ("not sharp", "b"),
        ("sharp or split is None", "abd"),
        ("sharp == False", "b"),
        ('split in ("train", "val")', "c"),
        ('split not in ["train"]', "ad"),
        ("split in ()", ""),
        ("split not in ()", "acd"),
        ("width in (640, 1920.0, 2.5)", "ab"),
        ("rating in (1, -1)", "d"),
        ("rating != 7", "ad"),  # NaN is no number
        ("rating is None", "bc"),
        ('video.startswith("news/")', "ab"),
        ('video.startswith(("cats/1", "news/1"))', "ac"),
        ("split.endswith(())", ""),
        ('not split.startswith("x")', "acd"),
        ('video.endswith("1.mp4") and not "cats" in video', "a"),
        ('"s/2" in video', "bd"),
        ('"x" not in split', "acd"),
        ('column("frame rate") >= 25', "ab"),
        ("width == 1152921504606846976", "d"),
        ("width > 1152921504606846975", "d"),
        ("rating > -1.5", "ad"),
        ("rating == -1", "d"),
        ("True", "abcd"),
        ("not True or False", ""),
        ("nothing == 3 or nothing.startswith('x') or nothing in (1, 2) or nothing", ""),
        ("nothing is None", "abcd"),
        ("not nothing", ""),
        ("clip_id < 'c'", "ab"),
        ("(" * 100 + "sharp" + ")" * 100, "ad"),
        ("  (video == 'news/1.mp4')  ", "a"),
        ("clip_id == video", ""),
        ("duration < 30 # short ones", "ac"),
        ("'' in split", "acd"),
        ("not (split == 'x' and start_s < 0)", "abcd"),  # unknown and false is false
        ("not (split == 'x' and start_s >= 0)", "acd"),
        ("split == 'x' or start_s >= 0", "abcd"),  # unknown or true is true
        ("not (split == 'x' or start_s < 0)", "acd"),
    ],
)
def test_what_is_found(text, clips):
    assert found(text) == clips


def test_kinds_of_arrow_columns():
    table = pa.table(
        {
            "clip_id": pa.array(["a", "b", None], pa.large_string()),
            "tag": pa.array(["x", None, "y"]).dictionary_encode(),
            "small": pa.array([1, 2, 3], pa.uint8()),
            "huge": pa.array([2**64 - 1, 0, None], pa.uint64()),
            "single": pa.array([0.5, 1.5, None], pa.float32()),
        }
    )
    assert found("tag == 'x' or tag.startswith('z') or tag in ('w',)", table) == "a"
    assert found("clip_id in ('b', 'c')", table) == "b"
    assert found("clip_id == tag", table) == ""
    assert found("small < 2.5 and huge >= 0", table) == "ab"
    assert found("huge > 9223372036854775807", table) == "a"
    assert found("single <= 0.5 and single in (0.5, 3)", table) == "a"


def test_a_column_that_some_segments_lack_is_null_there():
    plain = pa.table({name: ROWS[name] for name in ("clip_id", "video", "start_s", "end_s")})
    assert found("split == 'test'", pa.table(ROWS), plain) == "ad"
    assert found("split is None", pa.table(ROWS), plain) == "babcd"
    assert found("sharp", plain.slice(0, 0), pa.table(ROWS)) == "ad"
    assert Filter.parse("anything < 3").masks(index_of()) == []


def test_columns_that_differ_between_segments():
    numbers, text = (pa.table({"clip_id": ["a"], "x": [value]}) for value in (1, "1"))
    with pytest.raises(InputError, match="'x', which holds values of several kinds"):
        found("x == 1", numbers, text)
    halves = pa.table({"clip_id": ["b"], "x": [1.0]})
    assert found("x == 1", numbers, halves) == "ab"


def test_chunked_tables_of_the_log():
    table = pa.concat_tables([pa.table(ROWS), pa.table(ROWS)])
    assert found("duration < 30 and not split.startswith('tr')", table) == "aa"


def test_what_holds_neither_numbers_nor_text():
    table = pa.table({"clip_id": ["a"], "tags": pa.array([["x"]]), "day": pa.array([0], pa.date32())})
    for text in ("tags == 'x'", "day < 3", "tags is None"):
        with pytest.raises(InputError, match="holds neither numbers nor text nor true or false"):
            found(text, table)


SYMBOLS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge
}  # fmt: skip
NUMBERS, TEXTS, FLAGS = ("n", "x", "start_s", "duration"), ("s", "t"), ("b",)
numbers = st.integers(-3, 3) | st.sampled_from([-0.5, 0.0, 1.5, 2.0, 2**62, -(2**62)])
texts = st.sampled_from(["", "a", "ab", "b", "é", "'\"\\", "x\n"])


def unless_null(function):
    """SQL: with a null nothing is known."""
    return lambda *values: None if None in values else function(*values)


def conditions():
    """Pairs: the text of a filter, and what plain Python makes of a row: True, False or None."""

    def compared(columns, values):
        side = st.sampled_from(columns).map(lambda name: (name, lambda row: row[name]))
        value = values.map(lambda value: (repr(value), lambda row: value))
        sides = st.tuples(side, value) | st.tuples(value, side) | st.tuples(side, side)
        ends = st.tuples(sides, st.sampled_from(sorted(SYMBOLS)))
        return ends.map(
            lambda case: (
                f"{case[0][0][0]} {case[1]} {case[0][1][0]}",
                lambda row: unless_null(SYMBOLS[case[1]])(case[0][0][1](row), case[0][1][1](row)),
            )
        )

    def within(columns, values):
        return st.tuples(st.sampled_from(columns), st.lists(values, max_size=3), st.booleans()).map(
            lambda case: (
                f"{case[0]} {'not in' if case[2] else 'in'} {tuple(case[1])!r}",
                lambda row: None if row[case[0]] is None else (row[case[0]] in case[1]) != case[2],
            )
        )

    chains = st.tuples(numbers, st.sampled_from(NUMBERS), numbers).map(
        lambda case: (
            f"{case[0]!r} < {case[1]} <= {case[2]!r}",
            lambda row: unless_null(lambda value: case[0] < value <= case[2])(row[case[1]]),
        )
    )
    methods = st.tuples(st.sampled_from(TEXTS), texts, st.sampled_from(["startswith", "endswith"])).map(
        lambda case: (
            f"{case[0]}.{case[2]}({case[1]!r})",
            lambda row: unless_null(lambda value: getattr(value, case[2])(case[1]))(row[case[0]]),
        )
    )
    parts = st.tuples(texts, st.sampled_from(TEXTS)).map(
        lambda case: (
            f"{case[0]!r} in {case[1]}",
            lambda row: unless_null(operator.contains)(row[case[1]], case[0]),
        )
    )
    nulls = st.tuples(st.sampled_from(NUMBERS + TEXTS + FLAGS), st.booleans()).map(
        lambda case: (
            f"{case[0]} is {'not ' if case[1] else ''}None",
            lambda row: (row[case[0]] is None) != case[1],
        )
    )
    flags = st.just(("b", lambda row: row["b"])) | st.just(("True", lambda row: True))
    leaves = st.one_of(
        compared(NUMBERS, numbers), compared(TEXTS, texts), within(NUMBERS, numbers), within(TEXTS, texts),
        chains, methods, parts, nulls, flags,
    )  # fmt: skip

    def joined(inner):
        both = st.lists(inner, min_size=2, max_size=3)
        return (
            inner.map(lambda one: (f"not ({one[0]})", lambda row: unless_null(operator.not_)(one[1](row))))
            | both.map(lambda many: (" and ".join(f"({one[0]})" for one in many), conjunction(many, False)))
            | both.map(lambda many: (" or ".join(f"({one[0]})" for one in many), conjunction(many, True)))
        )

    return st.recursive(leaves, joined, max_leaves=8)


def conjunction(many, decisive):
    """and: False decides; or: True decides; else unknown where one is."""

    def evaluate(row):
        values = [one[1](row) for one in many]
        return decisive if decisive in values else None if None in values else not decisive

    return evaluate


rows = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-3, 3) | st.sampled_from([2**62, -(2**62)]),
        "x": st.none() | st.sampled_from([-0.5, 0.0, 1.0, 1.5, 3.0, 2.0**62, float("inf")]),
        "start_s": st.sampled_from([0.0, 1.0, 2.5]),
        "s": st.none() | texts,
        "t": st.none() | texts,
        "b": st.none() | st.booleans(),
    }
)


@settings(max_examples=200)
@given(condition=conditions(), rows=st.lists(rows, max_size=6))
def test_a_filter_finds_what_plain_python_finds(condition, rows):
    text, evaluate = condition
    full = [{**row, "end_s": 3.0, "duration": 3.0 - row["start_s"]} for row in rows]
    kinds = {"n": pa.int64(), "x": pa.float64(), "start_s": pa.float64(), "end_s": pa.float64()}
    kinds |= {"s": pa.string(), "t": pa.string(), "b": pa.bool_()}
    table = pa.table({name: pa.array([row[name] for row in full], kind) for name, kind in kinds.items()})
    (mask,) = Filter.parse(text).masks(index_of(table))
    assert mask.tolist() == [evaluate(row) is True for row in full]
