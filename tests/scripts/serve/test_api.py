"""The API over an index whose names were chosen to break it: what is asked, found, told and written out."""

import asyncio
import csv
import io
import json
import re
from html import unescape

import pytest

from index import ENDINGS, Hit, Request, Said, Searcher
from mee.errors import InputError
from scripts.search import APART
from scripts.serve.api import EXPORTS
from scripts.serve.app import EXAMPLES
from scripts.serve.asked import TOP, key_of, name_of
from scripts.serve.schema import query_of
from scripts.serve.service import Busy, Page
from tests.scripts.serve.conftest import build
from tests.scripts.serve.serve_client import TOKEN, client_of
from tests.scripts.serve.test_security import scope_of, status_of

NAMES = [
    "a.mp4#t=0,2", "a.mp4#t=2,4", "a.mp4#t=4,6", "<img src=x onerror=1>.mp4", "=cmd|'/c'!A0.mp4", "../b/c.mp4",
    "\u202egpj.\u00e9.mp4", "two\nlines.mp4", "%2e%2e%2f.mp4", "d.mp4", "e.mp4", "f.mp4",
]  # fmt: skip


@pytest.fixture(scope="module")
def searcher(tmp_path_factory, model_config, make_source):
    def make(names):
        source = make_source(names)
        for name, moment in zip(names, ([0.0, 2.0], [2.0, 4.0], [4.0, 6.0])):
            source.clips.loc[name, ["video", "start_s", "end_s"]] = ["a.mp4", *moment]
        return source

    return Searcher.load(build(tmp_path_factory.mktemp("api"), 0, NAMES, model_config, make))


@pytest.fixture(scope="module")
def ask(searcher):
    with client_of(searcher) as client:
        yield client


@pytest.fixture
def playing(searcher, tmp_path):
    """A client of an app with videos, of which no file is there."""
    with client_of(searcher, videos=tmp_path, cache=tmp_path / "cache") as client:
        yield client


def test_moments_in_order_are_found_by_video(ask, searcher):
    answer = ask("/api/search?q=a+dog&then=rain+falls&then=the+drums&within=0").json()
    fields = {"sentence": "a dog", "then": ("rain falls", "the drums"), "within": 0.0}
    (one,) = found_by(searcher, **fields)
    assert answer["query"] == {**fields, "then": [*fields["then"]]}
    assert "hits" not in answer
    (video,) = answer["videos"]
    assert (video["video"], video["score"]) == ("a.mp4", one.score)
    assert [moment["clip_id"] for moment in video["moments"]] == NAMES[:3]
    assert ask("/api/search", "POST", json=answer["query"]).json() == answer
    hit = ask(f"/api/explain?q=a+dog&then=rain+falls&then=the+drums&within=0&clip={key_of(NAMES[1])}").json()
    assert hit == video["moments"][1]
    none = ask("/api/search?q=a+dog&then=rain+falls&video=d.mp4").json()
    assert (none["videos"], none["notes"]) == ([], [APART.format(60)])


def found_by(searcher, **fields):
    return searcher.search([Request(**{"top": TOP} | fields)])[0]


def without(hit, *names):
    return {name: value for name, value in hit.items() if name not in names}


ADDED = ("key", "video_key", "missing")


def test_a_search_finds_what_the_searcher_finds(ask, searcher):
    answer = ask("/api/search?q=a+dog&also=0.5*rain+falls&less=the+drums").json()
    fields = {"sentence": "a dog", "also": ((0.5, "rain falls"), (-1.0, "the drums"))}
    hits = found_by(searcher, **fields)
    assert len(hits) == len(NAMES) > 3
    assert [without(hit, *ADDED) for hit in answer["hits"]] == [hit.to_dict() for hit in hits]
    for hit in answer["hits"]:
        assert (name_of(hit["key"]), name_of(hit["video_key"])) == (hit["clip_id"], hit["video"])
        assert {*hit["missing"]} == {*searcher.modalities} - {*hit["experts"]}
    also = [{"weight": 0.5, "sentence": "rain falls"}, {"weight": -1.0, "sentence": "the drums"}]
    assert answer["query"] == {"sentence": "a dog", "also": also}
    assert without(answer, "hits", "query", "weights") == {
        "count": len(hits), "first": 1, "next": None, "before": None, "notes": []
    }  # fmt: skip
    assert answer["weights"] == searcher.weights(Request(**fields))
    same = ask("/api/search", "POST", json=answer["query"]).json()
    assert same == answer


def test_pages_are_ranked_once(ask):
    whole = ask("/api/search?q=rain+falls&top=11").json()["hits"]
    page = ask("/api/search?q=rain+falls&top=11&size=4").json()
    seen, firsts, before = [], [], None
    batches = re.search(r"mee_batches_total (\d+)", ask.app.state.service.metrics.text())[1]
    while True:
        seen, firsts = seen + page["hits"], [*firsts, page["first"]]
        assert (page["count"], page["before"]) == (11, before)
        if not page["next"]:
            break
        before = page["next"].replace(".1", ".0").replace(".2", ".1")
        page = ask(f"/api/search?token={page['next']}").json()
    assert (seen, firsts) == (whole, [1, 5, 9])
    assert re.search(r"mee_batches_total (\d+)", ask.app.state.service.metrics.text())[1] == batches
    assert ask("/api/search?token=gone").status_code == 404
    assert "alone" in ask("/api/search?token=x&q=a").json()["error"]


def test_what_follows_the_best_in_another_order(ask):
    whole = ask("/api/search?q=rain+falls").json()["hits"]
    after = ask("/api/search?q=rain+falls&offset=5&size=2&sort=name").json()
    assert (after["first"], after["count"], after["query"]) == (
        6, len(whole) - 5, {"sentence": "rain falls", "offset": 5, "sort": "name"}
    )  # fmt: skip
    assert after["hits"] == sorted(whole[5:], key=lambda hit: (hit["video"], hit["start_s"]))[:2]
    assert "offset" in ask("/api/search?q=rain&offset=10001").json()["error"]


def test_videos_with_their_moments(ask, searcher):
    answer = ask("/api/search?q=a+dog&by_video=1&moments=2").json()
    videos = found_by(searcher, sentence="a dog", by_video=True, moments=2)
    told = [
        without(video, "key") | {"moments": [without(hit, *ADDED) for hit in video["moments"]]}
        for video in answer["videos"]
    ]
    assert told == [video.to_dict() for video in videos]
    assert all(name_of(video["key"]) == video["video"] for video in answer["videos"])
    assert "hits" not in answer


def test_a_map(ask):
    found = ask("/api/search?q=a+dog&fold=1&size=99").json()["hits"]
    made = ask("/api/map?q=a+dog&fold=1&size=2").json()
    assert {cell["key"] for cell in made["cells"]} == {hit["key"] for hit in found}
    assert [(cell["row"], cell["column"]) for cell in made["cells"]] == [divmod(n, 4) for n in range(len(found))]
    assert made["columns"] == 4
    assert ask("/api/map?q=a+dog&where=start_s+>+99").json() == {"columns": 0, "cells": []}


def test_pictures_are_named_where_there_are_videos(ask, playing):
    assert "thumb" not in ask("/api/search?q=a+dog").json()["hits"][0]
    hit = playing("/api/search?q=a+dog").json()["hits"][0]
    assert (hit["thumb"], hit["strip"]) == tuple(f"/api/clips/{hit['key']}/{name}" for name in ("thumb", "strip"))
    assert (ask("/api/info").json()["playable"], playing("/api/info").json()["playable"]) == (False, True)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_known_of_a_clip(ask, playing, searcher, name):
    facts = searcher.video_index.facts(name)
    found = ask(f"/api/clips/{key_of(name)}").json()
    assert without(found, "key", "video_key") == facts
    play = playing(f"/api/clips/{key_of(name)}").json()["play"]
    assert (play["kind"], "folder of videos" in play["why"]) == ("none", True)
    query = query_of(Request(sentence="a dog", top=1))
    hit = ask(f"/api/explain?{query}&clip={key_of(name)}").json()
    (same,) = (each for each in found_by(searcher, sentence="a dog") if each.clip_id == name)
    assert without(hit, *ADDED) == same.to_dict()
    like = ask("/api/search?" + query_of(Request(like=name, top=TOP))).json()
    assert {each["clip_id"] for each in like["hits"]} <= {*NAMES} - {name}
    assert like["count"] > 3


def test_neighbours_in_time(ask):
    video, middle = key_of("a.mp4"), key_of("a.mp4#t=2,4")
    whole = ask(f"/api/videos/{video}/clips").json()
    assert [each["clip_id"] for each in whole["clips"]] == NAMES[:3]
    assert without(whole, "clips") == {"video": "a.mp4", "count": 3, "first": 1}
    for around, count, first, names in (
        (middle, 1, 2, NAMES[1:2]), (middle, 2, 1, NAMES[:2]), (middle, 3, 1, NAMES[:3]),
        (key_of(NAMES[2]), 2, 2, NAMES[1:3]), (key_of(NAMES[0]), 2, 1, NAMES[:2]),
    ):  # fmt: skip
        part = ask(f"/api/videos/{video}/clips?around={around}&count={count}").json()
        assert (part["first"], [each["clip_id"] for each in part["clips"]]) == (first, names)
    assert ask(f"/api/videos/{video}/clips?around={key_of('d.mp4')}").status_code == 404


def test_facets_of_what_may_be_found(ask):
    found = {each["column"]: each for each in ask("/api/facets").json()["facets"]}
    assert sum(value["count"] for value in found["number"]["values"]) == len(NAMES)
    (one,) = ask("/api/facets?where=number+%3C+3&column=number&q=a+dog").json()["facets"]
    assert sum(value["count"] for value in one["values"]) == 3
    narrowed = ask("/api/search?" + query_of(Request(sentence="a dog", where=one["values"][0]["filter"]))).json()
    assert narrowed["count"] == one["values"][0]["count"]


def test_info(ask, searcher):
    info = ask("/api/info").json()
    assert (info["clips"], info["experts"]) == (len(NAMES), [*searcher.modalities])
    assert info["columns"]["number"] == "int64"
    assert not {"pattern", "offset", "version"} & info["columns"].keys()


@pytest.mark.parametrize("form", EXPORTS)
def test_exports(ask, form):
    some = [key_of(name) for name in ("d.mp4", "a.mp4#t=2,4", "a.mp4#t=0,2")]
    answers = [
        ask("/api/export", params={"form": form, "key": some}),
        ask("/api/export", "POST", data={"form": form, "key": some, "where": ""}),
    ]
    assert answers[0].text == answers[1].text
    assert answers[0].headers["content-type"] == EXPORTS[form]
    assert answers[0].headers["content-disposition"] == f'attachment; filename="moments{ENDINGS[form]}"'
    assert "d.mp4" in answers[0].text
    found = ask("/api/export", params={"form": form, "q": "a dog", "top": 2, "where": "number >= 9"})
    assert sum(name in found.text for name in ("d.mp4", "e.mp4", "f.mp4")) == 2


def test_an_export_keeps_the_order_and_no_folder_is_told_to_other_machines(searcher, playing, tmp_path):
    keys = {"key": [key_of("e.mp4"), key_of("d.mp4")]}
    rows = [*csv.DictReader(io.StringIO(playing("/api/export", params={"form": "csv", **keys}).text))]
    assert [row["clip_id"] for row in rows] == ["e.mp4", "d.mp4"]
    assert str(tmp_path) in playing("/api/export", params={"form": "ffmpeg", **keys}).text
    with client_of(searcher, videos=tmp_path, token=TOKEN) as closed:
        sent = {"headers": {"Authorization": f"Bearer {TOKEN}"}}
        told = closed("/api/export", params={"form": "ffmpeg", **keys}, **sent).text
    assert ("d.mp4" in told, str(tmp_path) in told) == (True, False)


KEY = key_of("d.mp4")
GONE = key_of("gone.mp4")


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("search", 400, "nothing to look for"), ("search?q=a&only=smell", 400, "smell"),
        ("search?q=a&where=nothing+%3C+3", 400, "nothing"), ("search?like=gone.mp4", 400, "gone"),
        ("search?q=a&video=gone", 400, "gone"), ("search?said=a", 400, "speech"), ("search?token=", 400, ""),
        (f"clips/{GONE}", 404, "search again"), ("clips/*", 400, "names no clip"), ("clips/A%00", 400, "no clip"),
        (f"clips/{KEY}=", 400, "names no clip"), ("clips/" + "A" * 9000, 400, "names no clip"),
        ("clips/..%2f..%2fetc", 404, "nothing at this address"), (f"videos/{GONE}/clips", 404, "gone.mp4"),
        (f"videos/{key_of('a.mp4')}/clips?count=0", 400, "count"), (f"videos/{KEY}/clips?count=x", 400, "count"),
        (f"videos/{KEY}/clips?around=*", 400, "no clip"), ("export?form=csv&key=*", 400, "no clip"),
        ("explain?q=a", 400, "clip"), (f"explain?clip={KEY}", 400, "nothing to look for"),
        (f"explain?q=a&clip={GONE}", 404, "search again"), ("facets?column=nothing", 400, "nothing"),
        ("facets?" + "column=a&" * 65, 400, "64"), ("export?q=a", 400, "form"), ("export?form=x&q=a", 400, "csv"),
        ("export?form=csv", 400, "nothing to look for"), (f"export?form=csv&key={GONE}", 404, "search again"),
        ("export?form=csv&" + f"key={KEY}&" * 1001, 400, "1000"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_one_sentence(ask, path, status, says):
    answer = ask(f"/api/{path}")
    assert (answer.status_code, says in answer.json()["error"]) == (status, True), answer.text


def test_a_form_that_makes_no_sense_is_one_sentence(ask):
    for sent in ({"q": "a"}, {"form": "exe", "q": "a"}, {"form": "csv", "key": [KEY] * 1001}):
        answer = ask("/api/export", "POST", data=sent)
        assert (answer.status_code, "1,000 times" in answer.json()["error"]) == (400, True)
    assert ask("/api/export", "POST", data={"form": "csv", "qq": "a"}).status_code == 400


def test_too_much_at_once_is_a_503(ask, monkeypatch):
    async def busy(*_, **__):
        raise Busy(2.6)

    monkeypatch.setattr(ask.app.state.service, "search", busy)
    monkeypatch.setattr(ask.app.state.service, "run", busy)
    for path in ("search?q=a", "info", f"clips/{KEY}", "facets", f"explain?q=a&clip={KEY}", "export?form=csv&q=a"):
        answer = ask(f"/api/{path}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
        assert "ask again in 3 s" in answer.json()["error"]


def test_a_server_is_well_while_it_answers_although_the_index_cannot_be_read_again(ask, monkeypatch):
    service = ask.app.state.service
    monkeypatch.setattr(service, "_stale", "it is damaged")
    assert ask("/healthz").json() == {"ok": True}
    monkeypatch.setattr(service, "_turns", None)
    answer = ask("/healthz")
    assert (answer.status_code, "stops" in answer.json()["error"]) == (503, True)


def test_who_has_gone_is_not_searched_for(ask, monkeypatch):
    ended = []

    async def search(*_, **__):
        try:
            await asyncio.sleep(5)  # it fails, and does not hang, where it is not cancelled
        finally:
            ended.append(asyncio.current_task().cancelling())

    monkeypatch.setattr(ask.app.state.service, "search", search)
    for path in ("/api/search", "/hits"):
        scope = scope_of(("Host", "localhost"), path=path) | {"query_string": b"q=a"}
        ask.runner.run(status_of(ask.app, scope, {"type": "http.request", "body": b"", "more_body": False}))
    assert ended == [1, 1]
    body = {"type": "http.request", "body": b'{"sentence": "a"}', "more_body": False}
    ask.runner.run(status_of(ask.app, scope_of(("Host", "localhost"), path="/api/search", method="POST"), body))
    assert ended == [1, 1, 1]


def test_a_clip_that_is_only_listed_is_not_said_to_lack_anything(ask, monkeypatch):
    async def search(request, *, size):
        found = [Hit(1, "a", "b", 0.0, 1.0, 0.0, {}, words={"text": Said(0.0, 0.5, "a<b>")})]
        return Page(request=request, found=found, first=1, count=1, next=None, before=None)

    monkeypatch.setattr(ask.app.state.service, "search", search)
    (hit,) = ask("/api/search?written=b").json()["hits"]
    assert (hit["missing"], hit["experts"]) == (None, {})
    assert hit["words"] == {"text": {"start_s": 0.0, "end_s": 0.5, "text": "a<b>"}}


def test_what_is_no_number_is_never_written(ask, monkeypatch, caplog):
    async def search(*_, **__):
        weights = {"audio": float("nan")}
        return Page(
            request=Request(sentence="a"), found=[], first=1, count=0, next=None, before=None, weights=weights
        )

    monkeypatch.setattr(ask.app.state.service, "search", search)
    assert ask("/api/search?q=a").status_code == 500
    assert "ValueError" in caplog.text


def test_the_document_is_complete_and_its_page_shows_it(ask):
    document = ask("/api/openapi.json").json()
    routes = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert routes >= {
        ("/api/search", "get"), ("/api/search", "post"), ("/api/info", "get"), ("/api/facets", "get"),
        ("/api/clips/{key}", "get"), ("/api/videos/{key}/clips", "get"), ("/api/explain", "get"),
        ("/api/export", "get"), ("/api/export", "post"), ("/healthz", "get"), ("/metrics", "get"),
    }  # fmt: skip
    for path, method in routes:
        route = document["paths"][path][method]
        assert {"200", "400", "401", "403", "421", "500"} <= route["responses"].keys()
        assert "422" not in route["responses"]
        assert "`" not in route["description"]
    names = {each["name"] for each in document["paths"]["/api/search"]["get"]["parameters"]}
    assert names >= {
        "q",
        "also",
        "less",
        "like",
        "only",
        "weights",
        "where",
        "video",
        "said",
        "written",
        "top",
        "token",
    }
    page = ask("/docs")
    assert "security" not in document
    text = unescape(page.text)
    assert all(f"{method.upper()} {path}<" in text for path, method in routes)
    assert all(example in text for example in EXAMPLES.values())
    for name, example in EXAMPLES.items():
        method, _, path = name.partition(" ")
        assert (path, method.lower()) in routes
        sent = example.replace("VIDEO_KEY", key_of("a.mp4")).replace("KEY", key_of("a.mp4#t=0,2"))
        kind = "application/json" if sent.startswith("{") else "application/x-www-form-urlencoded"
        more = {"content": sent, "headers": {"Content-Type": kind}} if method == "POST" else {}
        answer = ask(path if more else sent, method, **more)
        assert answer.status_code == 200, answer.text


def test_the_token_is_named_in_the_document_where_one_is_needed(searcher):
    with client_of(searcher, token=TOKEN) as closed:
        sent = {"headers": {"Authorization": f"Bearer {TOKEN}"}}
        assert closed("/api/openapi.json", **sent).json()["security"] == [{"token": []}]
        assert "Authorization" in closed("/docs", **sent).text


@pytest.mark.parametrize("name", ["a", "walk.mp4#t=10,20", "\u00e9\n\0", "\udcff", "<>" * 100, "=" * 3])
def test_a_key_names_one_clip_and_is_the_only_one_that_does(name):
    key = key_of(name)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", key)
    assert name_of(key) == name
    for other in (f"{key}=", f"{key} ", key[:-1] + "*", "", key + "\n"):
        with pytest.raises(InputError, match="names no clip"):
            name_of(other)


def test_json_is_ascii(ask):
    answer = ask("/api/search?q=a+dog")
    assert answer.content.isascii()
    assert json.loads(answer.content)["hits"]
