"""Filters: what they find is what plain Python finds with SQL's three values, and nothing else gets through."""

import operator
import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.filter import Filter
from mee.errors import InputError

ROWS = {
    "clip_id": list("abcdefgh"),
    "video": ["news/1.mp4", "news/2.mp4", "cats/1.mp4", "cats/2.mp4", "ü/漢.mp4", "news/1.mp4", "", 'it\'s "x"'],
    "start_s": [0.0, 10.0, 20.0, 0.0, 5.0, 0.0, 1e9, -2.5],
    "end_s": [10.0, 45.0, 20.0, 31.5, 5.25, 30.0, 1e9, 0.0],
    "split": ["test", None, "train", "test", "", None, "val", "Test"],
    "width": [640, 1920, None, 2**60, 0, -3, None, 2**53 + 1],
    "rating": [0.5, None, None, -1.0, 0.0, 1e300, float("inf"), -1.5],
    "sharp": [True, False, None, True, None, False, False, True],
    "loud": [None, None, True, True, False, False, True, None],
    "frame rate": [25.0, 30.0, 24.0, None, 25.0, None, 60.0, 0.0],
    "camera": [None, "left", "right", None, "left", "", "rigHt", "test"],
    "pattern": ["11"] * 8,
    "nothing": [None] * 8,
}


def found(text, *tables):
    tables = tables or (pa.table(ROWS),)
    masks = Filter.parse(text).masks(tables)
    assert [(mask.shape, mask.dtype) for mask in masks] == [((len(table),), bool) for table in tables]
    ids = [table.column("clip_id").to_pylist() for table in tables]
    return "".join(one for names, mask in zip(ids, masks) for one, kept in zip(names, mask) if kept)


FOUND = {  # ids of clips: filters that find them, as an earlier, wholly separate implementation did
    "acegh": ["duration < 30", "30 > duration", "duration < 30 # short ones"],
    "cg": ["duration == 0", 'split in ("train", "val")'],
    "ad": [
        'duration < 32 and split == "test"', 'split in {"test"}', "rating in (1, -1, 0.5)",
        'column("split") == "test"', '(sharp) == True and (split) == ("test")', 'split == "te" "st"',
    ],
    "acf": ["10 <= end_s < 31.5", 'video.startswith(("cats/1", "news/1"))'],
    "df": ["0 <= start_s < 10 < end_s", "sharp == loud", 'column("frame rate") is None'],
    "abdefh": ["start_s < end_s"],
    "adf": ["start_s == 0 != end_s", "nothing or start_s == 0"],
    "cegh": ['split != "test"', 'not split == "test"'],
    "bf": ["split is None"],
    "g": ["split is not None and not sharp", "sharp != loud", "not sharp == loud"],
    "acdegh": [
        "not (split is None)", "split not in ()", "not split.endswith(())", 'not split.startswith("x")',
        '"x" not in split', '"" in split', "not (split == 'x' and start_s >= 0)",
    ],
    "bfg": ["not sharp", "sharp == False", "not (not (not sharp))"],
    "adh": [
        "sharp", "sharp in (True,)", "rating < width", 'split.endswith("st")', "True and sharp",
        "sharp and not False",
    ],
    "abdfh": ["sharp or split is None"],
    "d": [
        "sharp and loud", "rating == -1", "width == 1152921504606846976", "width > 1152921504606846975",
        "width > 9007199254740992.5",
    ],
    "acdgh": ["sharp or loud", 'split >= "Test"'],
    "befg": ["not (sharp and loud)", "not sharp or not loud"],
    "f": ["not (sharp or loud)"],
    "adegh": ['split not in ["train"]'],
    "": [
        "split in ()", "sharp not in (True, False)", "split.endswith(())", "split == camera", "clip_id == video",
        "False", "not True or False", "nothing == 3 or nothing.startswith('x') or nothing in (1, 2) or nothing",
        "nothing is not None", "not nothing", "nothing == split", '"x" in nothing',
    ],
    "ab": ["width in (640, 1920.0, 2.5)", 'clip_id < "c"'],
    "bdfh": ["width not in (640, 0)"],
    "dfgh": ["rating not in (0.5, 0)"],
    "adefgh": ["rating != 7", "rating is not None"],
    "bc": ["rating is None", 'camera in ("left", "right") and (split == "train" or split is None)'],
    "fg": ["rating > 1"],
    "adefg": ["rating > -1.25"],
    "e": ["width == rating", '"漢" in video'],
    "ef": ["width <= 0", "-3 <= width < +1"],
    "h": [
        "width == 9007199254740993", '\'"\' in video', '"e" in split and "e" in camera',
        'video == "it\'s \\"x\\""',
    ],
    "abdh": ["width > 2.5"],
    "abf": ['video.startswith("news/")'],
    "acd": ['split.startswith("t")'],
    "egh": ['not split.startswith("t")'],
    "af": ['video.endswith("1.mp4") and not "cats" in video', "  (video == 'news/1.mp4')  "],
    "bd": ['"s/2" in video'],
    "eh": ["split < camera", 'split < "test"'],
    "cde": ['"c" <= clip_id < "f"'],
    "abeg": ['column("frame rate") >= 25', "`frame rate` >= 25", "`frame rate`>=25 and (`clip_id` != '`x`')"],
    "abcdefgh": ["True", "nothing is None", "not (split == 'x' and start_s < 0)"],
    "abcdefg": ["split == 'x' or start_s >= 0"],
    "acdeg": ["not (split == 'x' or start_s < 0)"],
    "ae": ["rating < 1e300 and width < 0x281"],
}  # fmt: skip


@pytest.mark.parametrize(("text", "clips"), [(text, clips) for clips, texts in FOUND.items() for text in texts])
def test_what_is_found(text, clips):
    assert found(text) == clips


def test_a_column_that_some_segments_lack_is_null_there():
    plain = pa.table({name: ROWS[name] for name in ("clip_id", "video", "start_s", "end_s")})
    assert found("split == 'test'", pa.table(ROWS), plain) == "ad"
    assert found("split is None", pa.table(ROWS), plain) == "bfabcdefgh"
    assert found("sharp", plain.slice(0, 0), pa.table(ROWS)) == "adh"
    halves = pa.table({"clip_id": ["x"], "start_s": [0.0], "end_s": [1.0], "width": [0.5]})
    assert found("width < 640 or width == 1152921504606846976", pa.table(ROWS), halves) == "defx"
    assert Filter.parse("anything < 3").masks([]) == []
    chunked = pa.concat_tables([pa.table(ROWS), pa.table(ROWS)])
    assert found("duration < 30 and not split.startswith('tr')", chunked) == "aeghaegh"


SYMBOLS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge
}  # fmt: skip
NUMBERS, TEXTS, FLAGS = ("n", "x", "start_s", "duration"), ("s", "t"), ("b",)
numbers = st.integers(-3, 3) | st.sampled_from([-0.5, 0.0, 1.5, 2.0, 2**62, -(2**62)])
texts = st.sampled_from(["", "a", "ab", "b", "é", "'\"\\", "x\n"])


def unless_null(function):
    """SQL: with a null nothing is known."""
    return lambda *values: None if None in values else function(*values)


@st.composite
def leaves(draw):
    """The text of a filter, and what plain Python makes of a row: True, False or None."""
    columns, values = draw(st.sampled_from([(NUMBERS, numbers), (TEXTS, texts)]))
    name, value, flag = draw(st.sampled_from(columns)), draw(values), draw(st.booleans())
    text, part = draw(st.sampled_from(TEXTS)), draw(texts)
    match draw(st.sampled_from(["compare", "compare", "in", "chain", "method", "part", "null", "flag"])):
        case "compare":
            symbol, other = draw(st.sampled_from(sorted(SYMBOLS))), draw(st.none() | st.sampled_from(columns))
            sides = [(name, lambda row: row[name]), (repr(value), lambda row: value)]
            if other is not None:
                sides[1] = (other, lambda row: row[other])
            (one, x), (two, y) = reversed(sides) if flag else sides
            return f"{one} {symbol} {two}", lambda row: unless_null(SYMBOLS[symbol])(x(row), y(row))
        case "in":
            some = draw(st.lists(values, max_size=3))
            membership = unless_null(lambda it: (it in some) != flag)
            return f"{name} {'not ' * flag}in {tuple(some)!r}", lambda row: membership(row[name])
        case "chain":
            last = draw(values)
            return f"{value!r} < {name} <= {last!r}", lambda row: unless_null(lambda it: value < it <= last)(
                row[name]
            )
        case "method":
            method = "endswith" if flag else "startswith"
            return f"{text}.{method}({part!r})", lambda row: unless_null(lambda it: getattr(it, method)(part))(
                row[text]
            )
        case "part":
            return f"{part!r} in {text}", lambda row: unless_null(operator.contains)(row[text], part)
        case "null":
            column = draw(st.sampled_from([name, "b"]))
            return f"{column} is {'not ' * flag}None", lambda row: (row[column] is None) != flag
        case _:
            return ("b", lambda row: row["b"]) if flag else ("True", lambda row: True)


def joined(inner):
    both = st.lists(inner, min_size=2, max_size=3)
    return (
        inner.map(lambda one: (f"not ({one[0]})", lambda row: unless_null(operator.not_)(one[1](row))))
        | both.map(lambda many: (" and ".join(f"({one[0]})" for one in many), conjunction(many, False)))
        | both.map(lambda many: (" or ".join(f"({one[0]})" for one in many), conjunction(many, True)))
    )


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
@given(condition=st.recursive(leaves(), joined, max_leaves=8), rows=st.lists(rows, max_size=6))
def test_a_filter_finds_what_plain_python_finds(condition, rows):
    text, evaluate = condition
    full = [{**row, "end_s": 3.0, "duration": 3.0 - row["start_s"]} for row in rows]
    kinds = {"n": pa.int64(), "x": pa.float64(), "start_s": pa.float64(), "end_s": pa.float64()}
    kinds |= {"s": pa.string(), "t": pa.string(), "b": pa.bool_()}
    table = pa.table({name: pa.array([row[name] for row in full], kind) for name, kind in kinds.items()})
    (mask,) = Filter.parse(text).masks([table])
    assert mask.tolist() == [evaluate(row) is True for row in full]


GRAMMAR = "a filter is made of comparisons"


BAD = [
    "durtion < 30", "sharp and Split == 'x'", "zzz < 30", "pattern == '11'", "sharp == true", "split is null",
    "duration < 'long'", "sharp == 1", "sharp < True", "duration in (1, 'b')", "split == None", "3 in split",
    "3 in (3, 4)", "duration", "1 < 2", "duration < 1e999", "duration < 99999999999999999999", "split == b'x'",
    "duration + 1 < 3", "duration < --3", "sharp | sharp", "video.__class__", "video.startswith(3)",
    "__import__('os').system('true')", "video[0] == 'n'", "column('frame rat') == 3", "column(video) == 3",
    "`frame rat` == 3", "`Sharp` and zz", "frame rate > 3", "2024 == 3", "a-b > 3", "`a-b` - 1", "`sharp",
    "split == '\\ud800'", "split == '\ud800'", "", "sharp and " * 3000 + "sharp",
]  # fmt: skip


def message_of(text):
    with pytest.raises(InputError) as caught:
        found(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


def test_what_is_not_in_the_grammar_or_the_table_is_one_sentence(says):
    says("\n".join(map(message_of, BAD)))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("duration <", GRAMMAR), ("(duration < 3", "character 1 .*never closed"),
        ("sharp && duration < 3", "character 8"), ("split == 'x", "unterminated string"),
        ("duration < " + "9" * 5000, "Exceeds the limit"), ("split == 'a\0b'", "null bytes"),
        ("split == \x1b[31m", r"^the filter 'split == \\x1b\[31m'"),
        ("(" * 250 + "sharp" + ")" * 250, "nested|too many"), ("not " * 4900 + "sharp", "nested too deeply"),
        ("not " * 1000 + "sharp", "nested too deeply"), ("~" * 10000 + "sharp", f"nested too deeply|{GRAMMAR}"),
        ("a" + "[0]" * 6000, f"{GRAMMAR}|nested"), ("lambda:" * 2800 + "1", f"nested|{GRAMMAR}"),
        ("1 if " * 3900, "malformed|nested"),
    ],
)  # fmt: skip
def test_what_python_cannot_parse_is_one_sentence(text, names):
    assert re.search(names, message_of(text))


@given(st.text(max_size=60) | st.text(alphabet="()[]{}'\"<>=!&|.,:;@#\\ \n\tabn0123456789_-+*/%~^", max_size=60))
def test_any_text_is_a_filter_or_one_sentence(text):
    try:
        found(text)
    except InputError as error:
        lines = str(error).splitlines()
    else:
        lines = [""]
    assert len(lines) == 1
