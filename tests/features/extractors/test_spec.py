"""One word of a command line: which extractor makes a stream, how pretrained ones run, how many tokens merge."""

import copy
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from features.errors import InputError
from features.extractors.spec import ExtractorSpec, MergeSchedule, RunConfig, limited, parse_spec

HUB = st.from_regex(r"[a-z0-9]{1,8}/[a-z0-9._-]{1,12}", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)
REVISIONS = st.from_regex(r"[a-z0-9/]{1,12}", fullmatch=True)
OPTIONS = st.dictionaries(
    st.from_regex(r"[a-z]{1,6}", fullmatch=True), st.from_regex(r"[a-z0-9.:]{1,8}", fullmatch=True), max_size=3
)


WORDS = {
    "appearance": ("appearance",),
    "dino=facebook/dinov2-base@v1.0": ("dino", "facebook/dinov2-base", "v1.0"),
    "clip=a/b@refs/pr/3:fps=1": ("clip", "a/b", "refs/pr/3", {"fps": "1"}),
    "x=a/b:output=class,merge=13:falling": ("x", "a/b", None, {"output": "class", "merge": "13:falling"}),
    "face=opencv/a@1+opencv/b@2": ("face", "opencv/a@1+opencv/b@2"),
    "face=./yunet.onnx+./sface.onnx": ("face", "./yunet.onnx+./sface.onnx"),
}


@pytest.mark.parametrize("word", WORDS)
def test_words(word):
    spec = ExtractorSpec(*WORDS[word])
    assert parse_spec(word) == spec
    assert copy.deepcopy(spec) == spec  # as it is pickled for workers
    assert hash(spec) == hash(parse_spec(word))


@given(NAMES, HUB, st.none() | REVISIONS, OPTIONS)
def test_the_text_of_a_spec_is_parsed_to_the_same_spec(stream, source, revision, options):
    spec = ExtractorSpec(stream, source, revision, options)
    assert parse_spec(str(spec)) == spec


def test_a_directory_with_an_at_or_a_plus_in_its_name_is_not_split(tmp_path):
    for name in ("model@home", "a+b"):
        place = tmp_path / name
        place.mkdir()
        assert parse_spec(f"x={place}:fps=3") == ExtractorSpec("x", str(place), None, {"fps": "3"})


def test_malformed_words(says):
    words, messages = (
        ["", "=a/b", "my stream=a/b", "appearance:fps=3", "../evil=a/b", "x=", "x=:fps=3", "x=a/b@"],
        [],
    )
    for word in [*words, "x=a/b:fps=3,,", "x=a/b:fps=", "x=a/b:fps=3,fps=4", "x=a/b:fps=3,wide"]:
        with pytest.raises(InputError) as raised:
            parse_spec(word)
        messages.append(str(raised.value))
    says("\n".join(messages))


def test_run_configs_that_make_no_sense():
    assert [RunConfig(merge=merge).merge for merge in (None, "0", "0.1", "13:falling")][-1] == "13:falling"
    for settings, message in (({"batch_size": 0}, "batch-size"), ({"merge": "lots"}, "merge 'lots'")):
        with pytest.raises(ValueError, match=message):
            RunConfig(**settings)


def test_tokens_to_merge_in_each_layer():
    """At most half of the tokens that are not protected."""
    for text, layers, tokens, wanted in (
        ("8", 3, 197, [8, 8, 8]),
        ("0", 3, 197, [0, 0, 0]),
        ("0.066", 2, 1214, [80, 80]),
        ("0.067", 2, 1568, [105, 105]),
        ("0.29", 1, 100, [29]),  # in floats, 28.999999999999996
        ("13:falling", 5, 197, [26, 19, 13, 6, 0]),
        ("0.1:falling", 3, 197, [38, 19, 0]),
        ("13:falling", 1, 197, [13]),
    ):
        assert MergeSchedule.parse(text).wanted(layers, tokens) == wanted
    assert MergeSchedule.parse("16").per_layer(12, 197, 1) == [16] * 11 + [10]
    assert MergeSchedule.parse("30").per_layer(4, 7, 5) == [1, 0, 0, 0]
    assert limited([3, 3], 1, 2) == [0, 0]


def test_a_schedule_has_one_canonical_text():
    texts = {"08": "8", " 8 ": "8", ".10": "0.1", "0.100:falling": "0.1:falling", "0:falling": "0", "0.0": "0"}
    assert {text: str(MergeSchedule.parse(text)) for text in texts} == texts


@given(
    number=st.integers(0, 10**6 - 1) | st.decimals(0, 1, places=4).filter(lambda share: 0 < share < 1),
    falling=st.booleans(),
    tokens=st.integers(1, 2000),
    layers=st.integers(1, 30),
)
def test_the_text_of_a_schedule_is_parsed_to_the_same_schedule(number, falling, tokens, layers):
    schedule = MergeSchedule.parse(f"{number}:falling" if falling else str(number))
    again = MergeSchedule.parse(str(schedule))
    assert again.wanted(layers, tokens) == schedule.wanted(layers, tokens)
    assert str(again) == str(schedule)
    assert schedule.merges is (number > 0)


@given(r=st.integers(0, 300), layers=st.integers(2, 30), tokens=st.integers(1, 2000))
def test_falling_ends_at_none_and_merges_as_many_in_all(r, layers, tokens):
    counts = MergeSchedule.parse(f"{r}:falling").wanted(layers, tokens)
    assert (counts[0], counts[-1]) == (2 * r, 0)
    assert counts == sorted(counts, reverse=True)
    assert r * layers - layers < sum(counts) <= r * layers


@given(
    amount=st.integers(0, 100), layers=st.integers(1, 20), tokens=st.integers(1, 300), protected=st.integers(0, 6)
)
def test_a_token_always_remains(amount, layers, tokens, protected):
    assume(tokens > protected)
    merged = MergeSchedule.parse(str(amount)).per_layer(layers, tokens, protected)
    assert tokens - sum(merged) > protected
    assert all(0 <= count <= amount for count in merged)


def test_malformed_schedules():
    for text in ("", "eight", "-3", "1.5", "1.0", "8:rising", "8:", "8:falling:falling", "1e2", "٣"):
        with pytest.raises(ValueError, match=f"merge '{text}' is neither a number"):
            MergeSchedule.parse(text)
    for amount, share in ((-1, False), (Fraction(1, 2), False), (1, True), (Fraction(3, 2), True)):
        with pytest.raises(ValueError, match="a whole number, or a share of the tokens below 1"):
            MergeSchedule(Fraction(amount), share=share)
