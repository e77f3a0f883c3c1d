"""Requests in addresses and in JSON."""

from contextlib import suppress
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as openapi

from index import Request, Searcher
from mee.errors import InputError
from scripts import search as flags
from scripts.serve.asked import TERMS, TOP, key_of
from scripts.serve.schema import query_of, request_of, request_of_json
from tests.scripts.serve.conftest import build
from tests.scripts.serve.serve_client import client_of

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
SENTENCES = WORDS.map(str.strip).filter(bool)
WEIGHTS = st.floats(1e-9, 1e6) | st.sampled_from([1.0, 0.5])
TERM = st.tuples(WEIGHTS | WEIGHTS.map(lambda weight: -weight), SENTENCES)
REQUESTS = st.builds(
    Request,
    sentence=SENTENCES,
    also=st.lists(TERM, max_size=3).map(tuple),
    like=st.none() | WORDS,
    weights=st.dictionaries(WORDS.filter(lambda name: "=" not in name), st.floats(1e-9, 1e9), max_size=3),
    video=st.none() | WORDS,
    top=st.integers(1, TOP),
    min_score=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    moments=st.integers(1, 20),
    **dict.fromkeys(("by_video", "plain", "exact"), st.booleans()),
)
FULL = Request(
    sentence="2 * a dog & cat", also=((0.5, "at night"), (-1.0, "a cat"), (1.0, "2*x")), like="w.mp4#t=1,2",
    only=("audio", "a b"), weights={"audio": 0.1}, where='x == "ä+%"', video="v/ü", said="hi", written="yo",
    top=20, min_score=-1e-7, by_video=True, moments=4, plain=True, exact=True,
    then=("a cake", "2*x"), within=0.5, example="x1", good=("v#t=1,2", "ä\n"), bad=("a&b",),
    closer=(("a.b", "ü"), ("c", "d")),
    offset=3, sort="length", fold=True,
)  # fmt: skip


@given(REQUESTS, st.integers(1, TOP))
def test_an_address_reads_as_the_request_that_made_it(request, size):
    assert request_of(parse_qsl(query_of(request, size)), ()) == (request, size)


def asked_by_flags(address):
    """As mee search reads an address: by its own flags."""
    query = flags.query_of(address)
    return query.request(query.sentence)


def in_flags_order(request):
    """On the command line --less comes after --also, and a search has 10 hits by default."""
    also = tuple(sorted(request.also, key=lambda term: term[0] < 0))
    return replace(request, also=also, top=10 if request.top == TOP else request.top)


@settings(max_examples=20)
@given(REQUESTS)
def test_the_command_line_reads_an_address_as_the_page_does(request):
    weights = {f"{n}-{ascii(name).encode().hex()}": w for n, (name, w) in enumerate(request.weights.items())}
    request = replace(request, weights=weights)  # of experts' names
    assert asked_by_flags(f"?{query_of(request, 7)}") == in_flags_order(request)


def test_addresses_on_the_command_line():
    marked = Request(
        sentence="-5 degrees", then=("a cat", "x=1&y"), within=9.5, good=("a#t=0,1", "é"), bad=("c",),
        closer=(("a.b", "c/d"), ("ü", "x")), example="E", offset=3, sort="date", fold=True, top=7,
    )  # fmt: skip
    for request in (FULL, marked, Request(good=("a",)), Request(said="hi", sort="name")):
        for start, end in (
            ("?", ""),
            ("http://127.0.0.1:8765/?", "&token=x.1&scale=-1/2"),
            ("https://h/hits?", "#k"),
        ):
            assert asked_by_flags(start + query_of(request) + end) == in_flags_order(request)
    form = "?q=a&less=&weights.audio=0.5&weights.motion=1&only=audio&by_video=on&plain=0&size=3"
    only = Request(sentence="a", weights={"audio": 0.5}, only=("audio",), by_video=True)
    assert asked_by_flags(form) == only
    for sentence in (
        "?!",
        "?",
        "? q=a",
        "?q=",
        "what is https://a.b/?q=x",
        "https://a.b/watch?v=x",
        "https://a.b/q=x",
    ):
        assert flags.query_of(sentence) is None


def test_every_field_of_a_request_can_be_asked_in_both_ways():
    assert request_of(parse_qsl(query_of(FULL, 7))) == (FULL, 7)
    body = b"""{"sentence": "2 * a dog & cat", "also": [{"weight": 0.5, "sentence": "at night"},
        {"weight": -1, "sentence": "a cat"}, {"sentence": "2*x"}], "like": "w.mp4#t=1,2", "only": ["audio", "a b"],
        "weights": {"audio": 0.1}, "where": "x == \\"\\u00e4+%\\"", "video": "v/\\u00fc", "said": "hi",
        "written": "yo", "top": 20, "size": 7, "min_score": -1e-7, "by_video": true, "moments": 4, "plain": true,
        "exact": true, "then": ["a cake", "2*x"], "within": 0.5, "example": "x1", "bad": ["a&b"],
        "good": ["v#t=1,2", "\\u00e4\\n"],
        "closer": [["a.b", "\\u00fc"], ["c", "d"]], "offset": 3, "sort": "length", "fold": true}"""
    assert request_of_json(body) == (FULL, 7)


def test_words_are_those_of_the_command_line_and_empty_fields_of_a_form_ask_nothing():
    form = [("q", "a"), ("also", "0.5*at night"), ("less", "2*a cat"), ("less", ""), ("where", ""), ("top", "")]
    found = request_of([*form, ("weights.audio", "0.7"), ("weights", "a=b=1"), ("by_video", "on")])
    also = ((0.5, "at night"), (-2.0, "a cat"))
    weights = {"audio": 0.7, "a=b": 1.0}
    assert found == (Request(sentence="a", also=also, weights=weights, top=TOP, by_video=True), 24)
    assert request_of([("q", "a"), ("token", "x")], others=("token",))[0].sentence == "a"


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ("", "nothing to look for"), ("q=%20", "sentence"), ("q=a&q=b", "'sentence' is given twice"),
        ("q=a&qq=b", "no parameter 'qq'"), ("q=a&wheer=x", "did you mean 'where'"), ("q=a&sentence=b", "twice"),
        ("q=a&top=0", "'top'"), ("q=a&top=257", "'top'.*256"), ("q=a&top=1.5", "'top'"), ("q=a&size=0", "size"),
        ("q=a&top=" + "9" * 5000, "'top'"), ("q=a&moments=99", "'moments'"), ("q=a&by_video=maybe", "'by_video'"),
        ("q=a&min_score=nan", "finite"), ("q=a&min_score=1e400", "finite"), ("said=-&min_score=1", "said '-'"),
        ("said=x&min_score=1", "^min_score is"), ("q=%00", "NUL"), ("like=a%00b", "NUL"),
        ("q=" + "a" * 2001, "2000"),
        ("q=a" + "&only=b" * 100_000, "'only'.*64"), ("q=a" + "&also=b" * TERMS, "'also'.*15"),
        ("q=a&also=0*b", "above 0; less is"), ("q=a&also=1e999*b", "finite"), ("q=a&less=2*", "no sentence"),
        ("q=a&weights=audio", "EXPERT=NUMBER"), ("q=a&weights==1", "EXPERT=NUMBER"), ("q=a&weights=a=x", "a"),
        ("q=a&weights=b=1&weights.b=2", "weight of 'b' is given twice"), ("q=a&weights=b=-1", "weights.b"),
        ("q=a&where=1%20%2B", "malformed"), ("q=a&where=" + "x" * 20_001, "20000"), ("q=a&where=f()", "f"),
        ("q=a&where=__import__('os')", "filter"), ("q=a&video=" + "x" * 6001, "'video'"),
    ],
)  # fmt: skip
def test_an_address_that_makes_no_sense_is_one_sentence(params, says):
    with pytest.raises(InputError, match=says) as error:
        request_of(parse_qsl(params))
    assert "--" not in str(error.value).replace("'--'", "")
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"), (b"\xff", "not JSON"), (b"null", "JSON object"), (b"[]", "JSON object"),
        (b"[" * 100_000, "nested"), (b'{"sentence": "a", "sentence": "b"}', "'sentence' is given twice"),
        (b'{"sentence": "a", "weights": {"b": 1, "b": 2}}', "'b' is given twice"), (b"{}", "nothing to look for"),
        (b'{"sentence": "a", "min_score": NaN}', "finite"), (b'{"said": "a", "top": -Infinity}', "'top'"),
        (b'{"sentence": "a", "top": 1e400}', "'top'"), (b'{"sentence": "a", "top": 1%s}' % (b"0" * 400), "'top'"),
        (b'{"sentence": "a", "min_score": 1%s}' % (b"0" * 400), "'min_score'"),
        (b'{"sentence": "a", "top": 1%s}' % (b"0" * 9000), "digits"), (b'{"sentence": "\\ud800"}', "unicode"),
        (b'{"sentence": "a\\u0000"}', "NUL"), (b'{"sentence": ""}', "'sentence'"), (b'{"sentence": 3}', "string"),
        (b'{"sentence": ["a"]}', "string"), (b'{"sentence": "a", "top": "5"}', "integer"),
        (b'{"sentence": "a", "top": true}', "integer"), (b'{"sentence": "a", "by_video": 1}', "boolean"),
        (b'{"sentence": "a", "only": "audio"}', "'only'"), (b'{"sentence": "a", "q": "b"}', "no parameter 'q'"),
        (b'{"sentence": "a", "also": [{"sentence": "b", "weight": 0}]}', "weight"),
        (b'{"sentence": "a", "also": [{"sentence": "b", "wight": 1}]}', "wight"),
        (b'{"sentence": "a", "also": [["b", 1]]}', "also.0"), (b'{"sentence": "a", "weights": {"b": -1}}', "b"),
        (b'{"sentence": "a", "only": [%s"b"]}' % (b'"b",' * 100_000), "'only'.*64"),
    ],
)  # fmt: skip
def test_a_body_that_makes_no_sense_is_one_sentence(body, says):
    with pytest.raises(InputError, match=says) as error:
        request_of_json(body)
    assert len(str(error.value)) < 500


# ---- only documented answers


@pytest.fixture(scope="module")
def ask(tmp_path_factory, model_config, make_source):
    place = tmp_path_factory.mktemp("schema")
    (place / "videos").mkdir()
    searcher = Searcher.load(build(place, 0, ["a.mp4", "b.mp4"], model_config, make_source))
    with client_of(searcher, videos=place / "videos", cache=place) as client:
        yield client


@pytest.fixture(scope="module")
def document(ask):
    return schemathesis.openapi.from_dict(ask("/api/openapi.json").json())


CHECKS = [
    not_a_server_error, openapi.status_code_conformance, openapi.content_type_conformance,
    openapi.response_headers_conformance, openapi.response_schema_conformance,
]  # fmt: skip


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, pytest.param(GenerationMode.NEGATIVE, marks=pytest.mark.slow)]
)
def test_only_documented_answers_come(ask, document, mode):
    asked = []

    def check(case):
        if case.path_parameters and len(str(case.path_parameters.get("key", ""))) % 2:
            case.path_parameters["key"] = key_of("a.mp4")
        sent = requests.Request(**case.as_transport_kwargs(base_url="http://localhost")).prepare()
        if len(sent.url) > 60_000:  # which no client sends, and no server reads
            return
        answer = ask(sent.url, sent.method, headers=sent.headers, content=sent.body)
        case.validate_response(answer, checks=CHECKS)
        asked.append((case.path, answer.status_code))

    for operation in document.get_all_operations():
        some = settings(max_examples=12, suppress_health_check=[*HealthCheck])
        with suppress(Unsatisfiable):  # nothing can be wrong with what has no parameter
            some(given(operation.ok().as_strategy(generation_mode=mode))(check))()
    if mode is GenerationMode.POSITIVE:
        assert {path for path, status in asked if status == 200} >= {"/api/info", "/api/clips/{key}"}
    assert {200 if mode is GenerationMode.POSITIVE else 400} <= {status for _, status in asked}
