"""One word of a command line: which extractor makes a stream, and how pretrained ones run."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.extractors.spec import ExtractorSpec, RunConfig, parse_spec

HUB = st.from_regex(r"[a-z0-9]{1,8}/[a-z0-9._-]{1,12}", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)
REVISIONS = st.from_regex(r"[a-z0-9/]{1,12}", fullmatch=True)
OPTIONS = st.dictionaries(
    st.from_regex(r"[a-z]{1,6}", fullmatch=True), st.from_regex(r"[a-z0-9.:]{1,8}", fullmatch=True), max_size=3
)


@pytest.mark.parametrize(
    ("word", "spec"),
    [
        ("appearance", ExtractorSpec("appearance")),
        ("motion=MCG-NJU/videomae-base", ExtractorSpec("motion", "MCG-NJU/videomae-base")),
        ("dino=facebook/dinov2-base@v1.0", ExtractorSpec("dino", "facebook/dinov2-base", "v1.0")),
        ("clip=a/b@refs/pr/3:fps=1", ExtractorSpec("clip", "a/b", "refs/pr/3", {"fps": "1"})),
        (
            "audio=laion/clap-htsat-unfused:output=projected,merge=13:falling",
            ExtractorSpec(
                "audio", "laion/clap-htsat-unfused", None, {"output": "projected", "merge": "13:falling"}
            ),
        ),
        ("face=opencv/a@1+opencv/b@2", ExtractorSpec("face", "opencv/a@1+opencv/b@2")),
        ("face=./yunet.onnx+./sface.onnx", ExtractorSpec("face", "./yunet.onnx+./sface.onnx")),
    ],
)
def test_words(word, spec):
    assert parse_spec(word) == spec
    assert str(spec) == word
    assert copy.deepcopy(spec) == spec  # by the way that pickle takes to workers
    assert hash(spec) == hash(parse_spec(word))


@given(NAMES, HUB, st.none() | REVISIONS, OPTIONS)
def test_what_is_written_is_what_is_read(stream, source, revision, options):
    spec = ExtractorSpec(stream, source, revision, options)
    assert parse_spec(str(spec)) == spec


def test_a_directory_with_an_at_or_a_plus_in_its_name_is_taken_whole(tmp_path):
    for name in ("model@home", "a+b"):
        place = tmp_path / name
        place.mkdir()
        assert parse_spec(f"x={place}:fps=3") == ExtractorSpec("x", str(place), None, {"fps": "3"})


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("", "names no stream"),
        ("=a/b", "names no stream"),
        ("my stream=a/b", "'my stream=a/b' names no stream: a name is of letters, digits, - and _"),
        ("appearance:fps=3", "names no stream"),
        ("../evil=a/b", "names no stream"),
        ("x=", "names no model after the ="),
        ("x=:fps=3", "names no model after the ="),
        ("x=a/b@", "names no model after the ="),
        ("x=a/b:fps=3,,", "options are key=value, each key once, separated by commas; '' is not one"),
        ("x=a/b:fps=", "'fps=' is not one"),
        ("x=a/b:fps=3,fps=4", "'fps=4' is not one"),
        ("x=a/b:fps=3,wide", "'wide' is not one"),
    ],
)
def test_words_that_are_none_are_refused_in_a_sentence(word, message):
    with pytest.raises(InputError, match=message):
        parse_spec(word)


def test_merging_may_be_a_count_a_share_or_falling():
    for merge in (None, "0", "8", "0.1", "13:falling"):
        assert RunConfig(merge=merge).merge == merge


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"batch_size": 0}, "batch-size must be at least 1, got 0"), ({"merge": "lots"}, "merge 'lots' is neither")],
)
def test_nonsense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RunConfig(**settings)
