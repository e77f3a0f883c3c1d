"""The page of a map, and of hits that are folded."""

from dataclasses import replace
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np

from index import Request, Searcher, arranged
from scripts.serve.asked import TOP, Asked, key_of
from scripts.serve.schema import request_of
from tests.scripts.serve.serve_client import client_of
from tests.scripts.serve.serve_html import Document


def found(searcher, **fields):
    return searcher.search([Request(sentence="a dog", top=TOP, **fields)])[0]


def shown(searcher, query):
    """A page, and the keys of its hits."""
    with client_of(searcher) as client:
        document = Document(client(f"/?{query}").text).top
    return document, [hit.attrs["data-key"] for hit in document.all("article", "hit")]


def asked(link):
    return dict(parse_qsl(urlsplit(link.attrs["href"]).query))


def test_a_map_has_all_hits_row_by_row_and_stays_a_map(searcher):
    hits, weights = found(searcher), searcher.weights(Request(sentence="a dog"))
    rows, columns = arranged([hit.clip_id for hit in hits], weights, searcher.video_index.snapshot)
    document, keys = shown(searcher, "q=a+dog&view=map&size=5")
    assert keys == [key_of(hits[n].clip_id) for n in np.lexsort((columns, rows))]
    assert document.one("ol", id="hits").classes == ["map", f"c{columns.max() + 1}"]
    assert document.one("p", id="status").text == f"{len(hits)} moments, alike ones side by side"
    assert not document.all("p", "more")
    opens = [asked(hit.one("a", "open")) for hit in document.all("article", "hit")]
    assert opens == [{"q": "a dog", "view": "map"}] * len(hits)
    assert "checked" in document.one("input", id="as-map").attrs
    assert all(asked(link)["view"] == "map" for link in document.one("div", id="facets").all("a"))
    _, keys = shown(searcher, "q=a+dog&view=map&by_video=1")
    assert {*keys} == {key_of(video.hits[0].clip_id) for video in found(searcher, by_video=True)}
    assert shown(searcher, "q=a+dog&view=map&where=number+>+99")[1] == []


def test_folded_hits_say_how_many_are_alike_and_lead_to_them(searcher, monkeypatch):
    first, *others = found(searcher)[:3]
    folded = replace(first, copies=tuple(hit.clip_id for hit in others))
    with monkeypatch.context() as patch:
        patch.setattr(Searcher, "search", lambda self, requests: [[folded]])
        document, _ = shown(searcher, "q=a+dog&fold=1&where=number+>+0")
    link = document.one("article", "hit").one("p", "alike").one("a")
    assert (link.text, "checked" in document.one("input", id="fold").attrs) == ("2 more alike", True)
    wanted = request_of(asked(link).items())[0]
    assert not wanted.fold
    fit = {hit.clip_id for hit in found(searcher, where="number > 0")}
    assert {hit.clip_id for hit in searcher.search([wanted])[0]} == {first.clip_id, *folded.copies} & fit
    many = replace(first, copies=tuple(f"{n:099}" for n in range(99)))
    assert Asked.of([("q", "a"), ("fold", "1")]).alike(many) == f"/?{urlencode({'like': many.clip_id})}"
