"""Marks of hits: they stand in the address, buttons set them, and the page says what they moved."""

from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from index import Request, Searcher
from mee.errors import InputError
from scripts.serve.asked import ABOVE, MOST, Asked, key_of, name_of
from scripts.serve.rendering import later
from scripts.serve.schema import request_of
from scripts.serve.view import marks
from tests.scripts.serve.serve_client import client_of
from tests.scripts.serve.serve_html import Document

A, B, C = "a b.mp4#t=1,2", "<b>\n&.mp4#t=0,61.5", "c"
KEY = {name: key_of(name) for name in (A, B, C)}


@pytest.fixture(scope="module")
def searcher(two):
    return Searcher.load(two[0])


@pytest.fixture(scope="module")
def ask(searcher):
    """ask(path, name=value or values): the answer."""
    with client_of(searcher) as client:
        yield lambda path="/", **asked: client(f"{path}?{urlencode(asked, doseq=True)}")


def page(answer):
    assert answer.status_code == 200
    return Document(answer.text).top


def marked(*marks, **asked):
    """The marks of an address after buttons were pressed."""
    given = [("q", "red"), *((n, v) for n, its in asked.items() for v in its), *(("mark", mark) for mark in marks)]
    return [pair for pair in Asked.of(given).pairs if pair[0] != "q"]


def test_a_button_sets_a_mark_and_takes_the_same_one_back():
    good, bad = f"good.{KEY[A]}", f"bad.{KEY[A]}"
    assert marked(good) == marked(good, good, good) == marked(bad, good) == [("good", A)]
    assert marked(good, bad) == marked(bad, good=[A]) == [("bad", A)]
    assert marked(good, good) == marked(good, good=[A]) == marked("nonsense." + KEY[A], bad, bad) == []
    near, far = f"{KEY[A]}.{KEY[B]}", f"{KEY[B]}.{KEY[A]}"
    both = [("closer", near), ("closer", f"{KEY[A]}.{KEY[C]}")]
    assert marked(f"closer.{near}.{KEY[C]}") == marked(f"closer.{near}.{KEY[C]}", closer=[far]) == both
    assert marked(f"closer.{KEY[A]}", closer=[near]) == marked(f"closer.{near}", closer=[near]) == []


def test_older_comparisons_make_room_for_marks():
    keys = [key_of(f"v{n}") for n in range(200)]
    pairs = [f"{near}.{far}" for near, far in zip(keys[:120:2], keys[1:120:2])]
    found = marked(".".join(["closer", KEY[A], *keys[150:]]), closer=pairs, good=["x"])
    fresh = [f"{KEY[A]}.{key}" for key in keys[150 : 150 + ABOVE]]
    room = (MOST - 1 - 1 - ABOVE) // 2  # besides the clip that fits, the closest one and those above it
    assert [value for name, value in found if name == "closer"] == [*pairs[-room:], *fresh]
    request_of([("q", "red"), *found])  # not more than a request can have
    with pytest.raises(InputError, match="at most 128"):
        request_of([("q", "red"), *(("bad", key) for key in keys[:128]), ("good", "x")])


def test_marks_are_of_a_sentence_and_stay_when_it_is_refined():
    marks = {"good": [A], "bad": [B, C], "closer": [f"{KEY[A]}.{KEY[C]}"]}
    assert {name for name, _ in marked(**marks, also=["x"], **{"for": ["red"]})} == {*marks, "also"}
    assert marked(f"bad.{KEY[A]}", **marks, also=["x"], **{"for": ["a cat"]}) == [("also", "x")]
    given = [("q", "red"), *((name, value) for name, values in marks.items() for value in values)]
    fields = Asked.of(given).rest()  # of the forms; browsers write line ends in values in another way
    assert not any("\n" in value for _, value in fields)
    assert sorted(Asked.of(fields).pairs) == sorted(given)
    assert Asked.of(parse_qsl(Asked.of(given).query)) == Asked.of(given)


def test_the_page_has_buttons_chips_and_both_weights(ask, searcher):
    hits = page(ask(q="rain falls")).all("article", "hit")
    keys = [hit.attrs["data-key"] for hit in hits]
    names = [*map(name_of, keys)]
    good, near = keys[2], keys[5]
    closer = [f"{near}.{key}" for key in keys[:2]]
    asked = {"q": "rain falls", "good": names[2], "bad": names[1], "closer": closer}
    document = page(ask(**asked))
    cards = {card.attrs["data-key"]: card for card in document.all("article", "hit")}
    request = request_of([(n, v) for n, its in asked.items() for v in ([its] if isinstance(its, str) else its)])[0]
    assert [*cards] == [key_of(hit.clip_id) for hit in searcher.search([request])[0]]

    def pressed(kind):
        buttons = {key: card.all("button", kind) for key, card in cards.items()}
        return {key for key, its in buttons.items() for one in its if one.attrs["aria-pressed"] == "true"}

    assert pressed("good") == {good}
    assert pressed("closest") == {near} & {*cards}
    first, *_ = now = [*cards]
    assert cards[now[4]].one("button", "closest").attrs["value"] == ".".join(["closer", now[4], *now[:4]])
    assert [button.attrs["aria-pressed"] for button in cards[first].all("button", "closest")] == ["true"] * (
        first == near
    )

    form = document.one("form", id="judge")
    fields = [(each.attrs["name"], each.attrs["value"]) for each in form.all("input")]
    again = [*fields, ("mark", cards[good].one("button", "good").attrs["value"])]
    assert request_of(Asked.of(again).pairs)[0].good == ()

    texts = {chip.text.split("×")[0].strip(): chip.one("a").attrs["href"] for chip in document.all("li", "chip")}
    without = {text: request_of(parse_qsl(urlsplit(href).query))[0] for text, href in texts.items()}
    assert [*texts] == [f"fits {names[2]}", f"does not fit {names[1]}", f"closer {names[5]} than 2 above"]
    changed = [[n for n in vars(request) if getattr(it, n) != getattr(request, n)] for it in without.values()]
    assert changed == [["good"], ["bad"], ["closer"]]
    many = page(ask(q="rain falls", bad=names[:4])).all("li", "chip")
    assert [chip.text.split("×")[0].strip() for chip in many] == ["marked 4 do not fit"]

    before, after = searcher.weights(Request(sentence="rain falls")), searcher.weights(request)
    rows = document.one("form", id="weights").all("div", "stream")
    for row, name in zip(rows, searcher.modalities, strict=True):
        assert f"was {before[name]:.2f}" in row.one("span", "was").text
        assert row.one("output").text == f"{after[name]:.2f}"
        assert row.one("path").attrs["d"].startswith(f"M{round(100 * before[name], 2)} ")
    assert not page(ask(q="rain falls")).all("span", "was")
    answer = ask("/api/search", **asked).json()
    assert (answer["weights"], answer["weights_before"]) == (pytest.approx(after), pytest.approx(before))
    assert "weights_before" not in ask("/api/search", q="rain falls").json()
    assert "weights_before" not in ask("/api/search", good=names[2]).json()


def test_what_is_only_listed_cannot_be_marked(ask):
    assert page(ask("/")).all("article", "hit")
    assert not page(ask("/")).all("div", "judge")


def test_a_clip_that_was_found_can_be_marked_on_its_page(ask):
    hit = page(ask(q="rain falls")).all("article", "hit")[3]
    opened = page(ask(hit.one("a", "open").attrs["href"].partition("?")[0], q="rain falls", less="a dog"))
    fields = [(each.attrs["name"], each.attrs["value"]) for each in opened.one("form", id="judge").all("input")]
    assert fields == [("q", "rain falls"), ("less", "a dog")]
    assert [opened.one("button", kind).attrs["value"] for kind in ("good", "bad")] == [
        f"{kind}.{hit.attrs['data-key']}" for kind in ("good", "bad")
    ]
    place = hit.one("a", "open").attrs["href"].partition("?")[0]
    assert not page(ask(place)).all("button", "good")
    assert "As the first moment" in page(ask(place, q="rain falls", then="a dog")).text


def test_chips_tell_marked_clips_by_video_and_time():
    asked = Asked((("good", A), ("bad", B), ("bad", "x" * 99), ("closer", f"{KEY[C]}.{KEY[A]}"), ("closer", "~")))
    told = [(chip.kind, chip.text) for chip in marks(asked)]
    assert told[:2] == [("fits", "a b.mp4 0:01.0–0:02.0"), ("does not fit", "<b>\n&.mp4 0:00–1:02")]
    assert len(told[2][1]) == 40
    assert told[3:] == [("closer", "c than 1 above"), ("closer", "~ than 1 above")]


@pytest.mark.parametrize(("asked", "shown"), [({}, "Best first"), ({"sort": "length"}, "Shortest")])
def test_the_order_is_chosen_and_told(ask, asked, shown):
    document = page(ask(q="rain falls", **asked))
    (chosen,) = document.one("select", id="sort").all("option", selected=None)
    assert chosen.text == shown
    assert document.one("p", id="status").text.endswith("shortest first" if asked else "best first")


def test_how_much_later_is_rounded():
    told = ["then, at once", "then, 0.5 s later", "then, 12 s later", "then, 1:15 later"]
    assert [later(each) for each in (0.0, 0.5, 12.3, 75.0)] == told
