"""What is no filter is refused with one sentence that says where, and never run."""

from types import SimpleNamespace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.request.filters import Filter
from mee.errors import InputError

COLUMNS = {
    "clip_id": pa.string(),
    "video": pa.string(),
    "start_s": pa.float64(),
    "end_s": pa.float64(),
    "split": pa.string(),
    "width": pa.int64(),
    "rating": pa.float64(),
    "sharp": pa.bool_(),
    "frame rate": pa.float64(),
    "pattern": pa.string(),
    "nothing": pa.null(),
}


def found(text):
    table = pa.schema(list(COLUMNS.items())).empty_table()
    segment = SimpleNamespace(table=SimpleNamespace(arrow=table))
    return Filter.parse(text).masks(SimpleNamespace(segments=[segment]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the filter '' is empty; a filter is made of"),
        ("   ", "is empty"),
        ("duration <", "ends too early, at character 10; a filter is made of"),
        ("(duration < 3", r"malformed at character 1: '\(' was never closed"),
        ('split = "test"', r"malformed at character 7: write == for ="),
        ("sharp && duration < 3", r"malformed at character 7: write and for &&"),
        ("sharp || duration < 3", r"malformed at character 7: write or for \|\|"),
        ("!sharp", "malformed at character 1: write not for !"),
        ("(sharp) & (split == 'x')", "write and for &"),
        ("sharp | sharp", "write or for |"),
        ("split == 'x", "malformed at character 10: unterminated string"),
        ("duration < 1\nsharp", "malformed at character 14"),
        ("duration < 3; sharp", "malformed at character 13"),
        (
            "durtion < 30",
            r"not there at character 1: 'durtion' \(did you mean 'duration'\?\); there are clip_id, video",
        ),
        ("sharp and Split == 'x'", r"at character 11: 'Split' \(did you mean 'split'\?\)"),
        ("zzz < 30", r"'zzz'; there are .* column\(\"frame rate\"\), nothing, duration$"),
        ("pattern == '11'", "'pattern'"),
        ("sharp == true", r"'true' \(write True\?\)"),
        ("split is null", "'is' only asks"),
        ("duration < 'long'", "compares 'duration', which holds numbers, with text at character 1"),
        ("'a' < duration", "compares 'duration', which holds numbers, with text"),
        ("split < 3", "compares 'split', which holds text, with a number"),
        ("split == sharp", "compares 'split', which holds text, with true or false"),
        ("sharp == 1", "compares 'sharp', which holds true or false, with a number"),
        ("sharp < True", "orders 'sharp' at character 1, which is true or false; use == or !="),
        ("duration in ('a', 'b')", "compares 'duration', which holds numbers, with text"),
        ("duration in (1, 'b')", "values after 'in' are not all of one kind"),
        ("split in ('a', None)", "None is not compared; write is None"),
        ("split == None", "None is not compared; write is None"),
        ("'x' in duration", "looks for text in 'duration' at character 8, which holds numbers"),
        ("duration.startswith('x')", "looks for text in 'duration'"),
        ("split in 'test'", "'in' is written column in"),
        ("split in video", "'in' is written column in"),
        ("3 in (3, 4)", "'in' is written column in"),
        ("duration", "names 'duration' at character 1, which holds numbers: compare it"),
        ("not split", "names 'split' at character 5, which holds text: compare it"),
        ("1 < 2", "no column is compared here"),
        ("1 < 2 < duration", "no column is compared here"),
        ("duration < 1e999", "the number is too large"),
        ("duration < -1e999", "the number is too large"),
        ("duration < 99999999999999999999", "the number is too large"),
        ("duration < " + "9" * 5000, "holds a number that is too large"),
        ("duration in (1, 3j)", "at character 17: a filter is made of"),
        ("split == b'x'", "at character 10: a filter is made of"),
        ("split == f'{video}'", "at character 10: a filter is made of"),
        ("duration < ...", "a filter is made of"),
        ("duration + 1 < 3", "at character 1: a filter is made of"),
        ("duration < --3", "a filter is made of"),
        ("duration < -True", "a filter is made of"),
        ("split == -'x'", "a filter is made of"),
        ("split.upper() == 'X'", "a filter is made of"),
        ("video.__class__", "at character 1: a filter is made of"),
        ("video.startswith.__self__('x')", "a filter is made of"),
        ("video.startswith()", "a filter is made of"),
        ("video.startswith(prefix='x')", "a filter is made of"),
        ("video.startswith(3)", "startswith wants text in quotes"),
        ("video.endswith(video)", "a filter is made of"),
        ("__import__('os').system('true')", "at character 1: a filter is made of"),
        ("lambda: True", "at character 1: a filter is made of"),
        ("(x := 3) < 4", "a filter is made of"),
        ("[x for x in (1,)]", "a filter is made of"),
        ("video[0] == 'n'", "a filter is made of"),
        ("sharp if sharp else sharp", "a filter is made of"),
        ("(yield)", "malformed|a filter is made of"),
        ("*sharp", "malformed|a filter is made of"),
        ("(sharp,)", "a filter is made of"),
        ("'text'", "a filter is made of"),
        ("3", "a filter is made of"),
        ("None", "a filter is made of"),
        ("column('a', 'b') == 3", r"column\(…\) wants one name in quotes"),
        ("column(video) == 3", r"column\(…\) wants one name in quotes"),
        ("column('frame rat') == 3", "did you mean 'frame rate'"),
        ("split == '\\ud800'", "half a character is no text"),
        ("split == '\ud800'", "holds a character that is no text"),
        ("split == 'a\0b'", "holds a character that is no text"),
        ("(" * 250 + "sharp" + ")" * 250, "nested|too many"),
        ("not " * 1000 + "sharp", "nested too deeply"),
        ("not " * 4900 + "sharp", "nested too deeply"),
        ("-" * 19000 + "1 < duration", "nested too deeply"),
        ("~" * 10000 + "sharp", "nested too deeply|a filter is made of"),
        ("1" + "+1" * 9000, "a filter is made of|nested"),
        ("a" + ".a" * 9000, "a filter is made of|nested"),
        ("a" + "[0]" * 6000, "a filter is made of|nested"),
        ("[" * 10000, "nested|too many"),
        ("sharp and " * 3000 + "sharp", "30,005 characters long; 20,000 is the most"),
        ("lambda:" * 2800 + "1", "nested|a filter is made of"),
        ("1 if " * 3900, "malformed|nested"),
    ],
)
def test_what_is_wrong_is_one_sentence(text, message):
    with pytest.raises(InputError, match=message) as caught:
        found(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_positions_count_characters_and_not_bytes():
    with pytest.raises(InputError, match=r"at character 19: 'fps'"):
        found("video == 'ü漢😀' or fps < 3")
    with pytest.raises(InputError, match=r"^the filter 'split == \\x1b\[31m'"):
        found("split == \x1b[31m")


@given(st.text(max_size=60) | st.text(alphabet="()[]{}'\"<>=!&|.,:;@#\\ \n\tabn0123456789_-+*/%~^", max_size=60))
def test_any_text_is_a_filter_or_one_sentence(text):
    try:
        found(text)
    except InputError as error:
        lines = str(error).splitlines()
    else:
        lines = [""]
    assert len(lines) == 1
