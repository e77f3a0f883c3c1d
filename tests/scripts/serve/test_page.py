"""The page as HTML: it shows what the index finds, its links lead to what they say, and no name is markup."""

from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from index import Entries, IndexWriter, Origin, Request, Said, Searcher
from index.text_export import write_text_side
from mee.checkpoint import fingerprint
from mee.encode import encode_gallery
from mee.errors import visible
from mee.model import MEE
from mee.text.transformer import TransformerEncoder
from scripts.serve import page as pages
from scripts.serve.asked import TOP, Asked, chips, key_of, name_of
from scripts.serve.rendering import COLOURS, colours, number, short
from scripts.serve.schema import request_of
from scripts.serve.service import Busy, Service
from scripts.serve.view import Cards
from tests.scripts.serve.serve_client import client_of
from tests.scripts.serve.serve_html import Document

HOSTILE = ("<script>x</script>.mp4", '"><img src=x onerror=x>.mp4', "a\u202egnp.mp4", "{{ 7*7 }}&amp;.mp4")
PLACE = ("<b>here</b>", 'a "b" and c', "there")
PARTS = ("asked", "weights", "facets", "advanced", "status", "results")


@pytest.fixture(scope="module")
def searcher(tmp_path_factory, model_config, make_source, tokenizer):
    """40 videos of two clips, some with hostile names, with metadata."""
    place = tmp_path_factory.mktemp("page")
    torch.manual_seed(5)
    model = MEE(model_config, TransformerEncoder(model_config.text, tokenizer)).eval()
    model.save_pretrained(place / "model")
    source = make_source([*HOSTILE, *(f"v{n:02d}.mp4" for n in range(36))], 2)
    rng = np.random.default_rng(0)
    columns = {"<i>place</i>": rng.choice(PLACE, len(source.clips)), "size": rng.integers(0, 3, len(source.clips))}
    clips = source.clips.assign(**columns)
    origin = Origin(str(place / "model"), fingerprint(place / "model"), "store")
    with IndexWriter.create(place / "index", model.layout, origin) as writer:
        writer.put_text(lambda aside: write_text_side(aside, model))
        writer.put(Entries.of(encode_gallery(model, source, list(clips.index)), clips, model.layout))
    return Searcher.load(place / "index")


@pytest.fixture(scope="module")
def client(searcher):
    with client_of(searcher) as client:
        yield client


@pytest.fixture(scope="module")
def page(client):
    """page(path, status, name=value or values): the document."""

    def get(path="/", status=200, **asked):
        pairs = [(n, one) for n, its in asked.items() for one in ([its] if isinstance(its, str) else its)]
        answer = client(f"{path}?{urlencode(pairs)}")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        return Document(answer.text).top

    return get


def found(searcher, sentence="a dog barks", **fields):
    return searcher.search([Request(sentence=sentence, **{"top": TOP} | fields)])[0]


def asks(link):
    """What a link asks for."""
    return request_of(parse_qsl(urlsplit(link.attrs["href"]).query), ("token", "scale"))[0]


def keys(document):
    return [hit.attrs["data-key"] for hit in document.all("article", "hit")]


# ---- hits


@pytest.mark.parametrize("only", [(), ("audio", "motion")])
def test_hits_are_what_the_index_finds_with_what_each_stream_adds(page, searcher, only):
    hits = found(searcher, only=only)[:24]
    document = page(q="a dog barks", only=only)
    cards = document.all("article", "hit")
    assert keys(document) == [key_of(hit.clip_id) for hit in hits]
    assert [name_of(card.attrs["data-video-key"]) for card in cards] == [hit.video for hit in hits]
    parts = [share.contribution for hit in hits for share in hit.experts.values()]
    unit = 100 / (max(0, *parts) - min(0, *parts))
    lacking = 0
    for card, hit in zip(cards, hits):
        assert float(card.attrs["data-start"]) == hit.start_s
        assert card.one("a", "open").attrs["href"].startswith(f"/clip/{key_of(hit.clip_id)}?q=a+dog+barks")
        assert number(hit.score, 3) in card.one("p", "score").text
        rows = card.one("dl", "why").all("div")
        assert [row.one("dt").text for row in rows] == [*searcher.modalities]
        for row, name in zip(rows, searcher.modalities):
            share = hit.experts.get(name)
            if share is None or (only and name not in only):
                absent = "no sound" if name == "audio" else f"no {name}"
                assert row.one("dd").text == (absent if share is None else "not counted")
                lacking += share is None
                continue
            bar = row.one("rect")
            assert row.one("dd").text.strip() == number(share.contribution)
            assert float(bar.attrs["width"]) == pytest.approx(abs(share.contribution) * unit, abs=0.02)
            start = (min(share.contribution, 0) - min(0, *parts)) * unit
            assert float(bar.attrs["x"]) == pytest.approx(start, abs=0.02)
            assert ("less" in bar.classes) == (share.contribution < 0)
        similar = [asks(link) for link in card.one("details", "similar").all("a")]
        assert similar == [
            Request(like=hit.clip_id, only=by, top=TOP) for by in [(), *((n,) for n in hit.experts)]
        ]
    assert lacking
    assert not document.all("img")  # there are no videos


def test_pictures_are_there_with_a_library(searcher, tmp_path):
    with client_of(searcher, videos=tmp_path) as client:
        card = Document(client("/?q=rain").text).top.all("article")[0]
        assert card.one("img", "thumb").attrs["src"] == f"/api/clips/{card.attrs['data-key']}/thumb"


def test_the_parts_that_scripts_replace_are_those_of_the_page(client):
    whole, parts = (client(f"{path}?q=rain&also=drums&where=size+>+0&size=80").text for path in ("/", "/hits"))
    for name in PARTS:
        start = parts.index(f'id="{name}"')
        later = [place for each in PARTS if (place := parts.find(f'id="{each}"', start + 1)) > 0]
        part = parts[start : parts.rindex("<", 0, min(later))] if later else parts[start:].rstrip()
        assert part.strip() in whole


def test_videos_with_their_moments(page, searcher):
    videos = found(searcher, by_video=True)[:24]
    rows = page(q="a dog barks", by_video="1").all("li", "video")
    assert [keys(row) for row in rows] == [[key_of(hit.clip_id) for hit in video.hits] for video in videos]
    assert [asks(row.one("h2").one("a")).video for row in rows] == [video.video for video in videos]


def test_a_sequence_has_its_moments_in_order_and_says_how_far_apart_they_are(page, searcher):
    videos = found(searcher, then=("rain falls",), sort="name")
    document = page(q="a dog barks", then="rain falls", sort="name")
    rows = document.all("li", "video")
    assert [keys(row) for row in rows] == [[key_of(hit.clip_id) for hit in video.hits] for video in videos[:24]]
    assert all(number(video.score, 3) in row.one("span", "mean").text for row, video in zip(rows, videos))
    assert {tuple(each.text for each in row.all("p", "later")) for row in rows} == {("first", "then, at once")}
    assert [len(card.all("button", "good")) for card in rows[0].all("article")] == [1, 0]  # marks are of the first
    told = f"{len(videos)} videos with this sequence within 60 s, by name"
    assert document.one("p", id="status").text == (told if len(videos) <= 24 else f"24 of {told}")
    chips = document.one("ul", "chips").all("li", "chip")
    assert [asks(chip.one("a")).then for chip in chips[:1]] == [()]
    assert (chips[1].one("input").attrs["name"], chips[1].one("input").attrs["value"]) == ("within", "60")
    none = page(q="a dog barks", then=["rain falls", "a cat"], within="0.5")
    assert "allow more seconds" in none.one("p", id="status").text


def test_the_following_hits_have_the_scale_of_the_first(page, searcher):
    first = page(q="a dog barks", size="30")
    link = first.one("p", "more").one("a").attrs["href"]
    counts = [
        page(q="a dog barks", **more).one("p", id="status").text
        for more in ({"top": "40"}, {"top": "24"}, {"size": "80"})
    ]
    assert counts == [
        "24 of the best 40 moments, best first",
        "The best 24 moments, best first",
        "80 moments, best first",
    ]
    assert first.one("p", id="status").text == "30 of 80 moments, best first"
    second = page(**dict(parse_qsl(urlsplit(link).query)))
    assert keys(first) + keys(second) == [key_of(hit.clip_id) for hit in found(searcher)[:60]]
    zeros = [
        {path.attrs["d"] for why in part.all("dl", "why") for path in why.all("path")} for part in (first, second)
    ]
    assert zeros[0] == zeros[1]
    gone = page(status=400, q="a dog barks", token=f"{'x' * 16}.1")
    assert "search again" in gone.one("p", "problem").text
    assert gone.one("input", id="q").attrs["value"] == "a dog barks"


def test_a_list_without_a_sentence_has_no_bars(searcher):
    hits = [replace(hit, words={"speech": Said(62.0, 63.0, "<i>so</i> it is")}) for hit in found(searcher)[:2]]
    cards = Cards(Request(said="it"), searcher.modalities).card(hits[0])
    assert (cards.bars, cards.words) == ([], [("says", "1:02", "<i>so</i> it is")])


# ---- what refines a search


WEIGHTS = {"weights": ["audio=0.5", "motion=2"]}


@pytest.mark.parametrize("asked", [{}, {"only": ["audio"]}, WEIGHTS])
def test_sliders_begin_where_the_mixture_is(page, searcher, asked):
    weights = searcher.weights(
        request_of([("q", "rain"), *((n, one) for n, its in asked.items() for one in its)])[0]
    )
    form = page(q="rain", **asked).one("form", id="weights")
    sliders = {slide.attrs["name"].partition(".")[2]: slide.attrs for slide in form.all("input", type="range")}
    assert {name: float(its["value"]) for name, its in sliders.items()} == pytest.approx(weights, abs=1e-3)
    assert all(float(its["max"]) >= max(weights.values()) for its in sliders.values())
    off = {name for name, its in sliders.items() if "disabled" in its}
    assert off == ({"appearance", "motion"} if "only" in asked else set())
    assert [asks(link).weights for link in form.all("a", "reset")] == [{}] * ("weights" in asked)
    assert [box.attrs["value"] for box in form.all("input", form="search", checked=None)] == asked.get("only", [])


def test_weights_of_the_form_without_scripts(page, searcher):
    sliders = {"weights.audio": "0.5", "weights.motion": "2"}
    expected = [key_of(hit.clip_id) for hit in found(searcher, "rain", weights={"audio": 0.5, "motion": 2.0})[:24]]
    assert keys(page(q="rain", **sliders)) == keys(page(q="rain", **WEIGHTS)) == expected
    lone = found(searcher, "rain", only=("audio",), weights={"audio": 0.5})[:24]
    assert keys(page(q="rain", only="audio", **sliders)) == [key_of(hit.clip_id) for hit in lone]


def test_chips_take_their_part_out(page):
    asked = {"q": "rain", "also": "0.5*at night", "less": "a cat", "like": "v00.mp4#t=0,10"}
    asked["where"] = 'size > 0 and `<i>place</i>` == "a \\"b\\" and c"'
    whole = request_of(asked.items())[0]
    document = page(**asked)
    listed = document.all("li", "chip")
    without = [asks(chip.one("a")) for chip in listed]
    changed = [[name for name in vars(whole) if getattr(one, name) != getattr(whole, name)] for one in without]
    assert changed == [["also"], ["also"], ["like"], ["where"], ["where"]]
    assert [one.where for one in without[3:]] == ['`<i>place</i>` == "a \\"b\\" and c"', "size > 0"]
    assert "at night × 0.5" in listed[0].text
    hidden = [
        (each.attrs["name"], each.attrs["value"]) for each in document.all("input", type="hidden", form="search")
    ]
    assert hidden == [(name, asked[name]) for name in ("also", "less", "like")]  # the form asks for them again


def test_the_least_score_and_what_is_passed_over_are_chips_too(page, searcher):
    every = found(searcher)
    asked = {"q": "a dog barks", "offset": "20", "sort": "name", "min_score": str(every[59].score)}
    document = page(**asked)
    part = sorted(every[20:60], key=lambda hit: (hit.video, hit.start_s))
    assert keys(document) == [key_of(hit.clip_id) for hit in part[:24]]
    assert document.one("p", id="status").text == "24 of 40 moments, by name"
    listed = document.all("li", "chip")
    assert [chip.text.split()[0] for chip in listed] == ["score", "after"]
    alone = [asks(chip.one("a")) for chip in listed]
    assert [(one.min_score, one.offset, one.sort) for one in alone] == [
        (None, 20, "name"), (every[59].score, 0, "name")
    ]  # fmt: skip
    hidden = [each.attrs["name"] for each in document.all("input", type="hidden", form="search")]
    assert hidden == []  # other words are searched from their best hit on
    assert document.one("select", id="sort").one("option", selected=None).text == "By name"
    next_ones = page(q="a dog barks", offset="20", top="30").one("p", id="status").text
    assert next_ones == "24 of the next 30 moments, best first"
    nothing = page(**asked | {"offset": "60"})
    assert nothing.one("p", id="status").text == "No more moments"
    assert "passes over all there is, 60 hits" in nothing.text


@given(
    st.lists(
        st.sampled_from(
            ["a == 1", 'b == "x and y"', "(c or d)", "(c and d)", "`e and f` is None", "g in ('or', 2)", "not h"]
        ),
        max_size=5,
    )
)
def test_conditions_of_a_filter(parts):
    where = " and ".join(parts)
    asked = Asked.of([("q", "x"), ("where", where)])
    assert asked.conditions == parts
    either = Asked.of([("where", f"{where or 'h'} or i")])
    assert len(either.conditions) == 1
    narrowed = dict(parse_qsl(urlsplit(either.filtered(add="j")).query))["where"]
    assert narrowed == f"({where or 'h'} or i) and j"
    assert len(chips(asked)) == len(parts)


def test_values_lead_to_as_many_hits_as_they_say(page, searcher):
    for where in ("", "size < 2"):
        choices = page(q="rain", where=where).one(None, None, id="facets").all("a")
        assert choices
        for link in choices:
            wanted = asks(link)
            assert len(found(searcher, where=wanted.where)) == int(link.text.split()[-1])
    chosen = page(q="rain", where="size == 1").one(None, None, id="facets").all("a", **{"aria-current": "true"})
    assert [asks(link).where for link in chosen] == [None]


# ---- the start page, errors, names


def test_the_start_page_says_what_is_here(page, searcher):
    document = page()
    assert "80 clips of 40 videos" in document.text
    assert "autofocus" in document.one("input", id="q").attrs
    rows = document.one("dl", "coverage").all("div")
    have = {
        name: sum(part.count for part in searcher.video_index.snapshot.partitions if part.pattern[n])
        for n, name in enumerate(searcher.modalities)
    }
    assert {row.one("dt").text: int(row.one("dd").text.split()[0]) for row in rows} == have
    assert [asks(link).sentence for link in document.one("p", "examples").all("a")] == [
        "a person outdoors",
        "something moves fast",
        "music is playing",
    ]
    assert len(document.all("article", "hit")) == 24
    assert page(q=" ").all("dl", "coverage")  # nothing was asked


@pytest.mark.parametrize(
    ("asked", "named"),
    [({"where": "colour == 1"}, "colour"), ({"only": "smell"}, "smell"), ({"like": "nobody"}, "nobody"),
     ({"nonsense": "1"}, "nonsense"), ({"also": "0*x"}, "0*x"), ({"top": "999"}, "999"),
     ({"weights": "audio=-1"}, "audio")],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_sentence_and_the_form_stays(page, asked, named):
    for path in ("/", "/hits"):
        document = page(path, 400, q="rain", **asked)
        problems = document.all("p", "problem")
        assert named in problems[0].text
        wrong = document.one("input", id="where").attrs
        assert ("aria-invalid" in wrong) == ("where" in asked)
        assert wrong["value"] == asked.get("where", "")
        assert not document.all("article")
        again = [each.attrs["name"] for each in document.all("input", type="hidden", form="search")]
        assert again == [name for name in asked if name in ("also", "like")]  # a chip takes it out
        if path == "/":
            assert document.one("input", id="q").attrs["value"] == "rain"


def test_where_too_much_is_asked(page, monkeypatch):
    async def search(self, request, *, size):
        raise Busy(3.4)

    monkeypatch.setattr(Service, "search", search)
    assert "again" in page(status=503, q="rain").one("p", "problem").text


def test_no_hit_says_what_to_do(page):
    assert "take a filter" in page(q="rain", where="size > 7").one("p", id="status").text


@pytest.mark.parametrize("strange", [*HOSTILE, "'\"--></title></textarea>", "z\u2028\x85z"])
def test_what_anyone_wrote_is_text(page, strange):
    plain = page(q="rain", less="cat", where='size == 1 and `<i>place</i>` != "x"')
    other = page(q=strange, less=strange, where=f"size == 1 and `<i>place</i>` != {strange!r}")
    assert [each.tag for each in other.all() if each.tag in ("script", "img", "b", "i", "textarea")] == ["script"]
    assert len(other.all("form")) == len(plain.all("form"))
    assert other.one("input", id="q").attrs["value"] == strange.strip()
    assert visible(strange.strip()) in other.one("title").text


def test_hostile_names_are_shown(page):
    document = page(q="rain", size="80")
    names = {heading.attrs["title"] for heading in document.all("h2", "name")}
    assert {visible(name) for name in HOSTILE} <= names
    assert {name_of(key).partition("#")[0] for key in keys(document)} >= {*HOSTILE}


def test_small_texts():
    assert [number(-0.004), number(-0.006), number(1.0, 3)] == ["0.00", "−0.01", "1.000"]
    assert short("a" * 50 + ".mp4", 20) == "a" * 13 + "…" + "aa.mp4"
    assert len(short("b" * 99, 30)) == 30
    named = colours((*COLOURS, "smell", "taste"))
    assert len({*named.values()}) == len(named) == 8
    cards = Cards(Request(sentence="a"), ("audio",))
    for wrong in ("", "x/1", "nan/nan", "-1/inf", "1/2", "1/2/3"):
        assert cards.scale([], wrong) == "0/0"
        assert cards.zero == 0
    assert (cards.scale([], "-1/3"), cards.zero) == ("-1/3", 25.0)


@pytest.mark.parametrize("sizes", [(30, 5), (5, 30), (0,), (3,)])
def test_the_first_clips_are_spread_over_all_segments_until_there_are_enough(sizes):
    columns = {"clip_id": "string", "video": "string", "start_s": "double", "end_s": "double"}
    tables = [
        pa.table(
            [pa.array(range(100 * number, 100 * number + size), "int64").cast(kind) for kind in columns.values()],
            [*columns],
        )
        for number, size in enumerate(sizes)
    ]

    class Snapshot:
        partitions, source = (), None
        segments = tuple(SimpleNamespace(live_table=lambda table=table: table) for table in tables)

        def __len__(self):
            return sum(sizes)

    video_index = SimpleNamespace(snapshot=Snapshot(), origin=SimpleNamespace(store=""))
    searcher = SimpleNamespace(video_index=video_index, modalities=())
    first = pages._counted(searcher)[1].first
    assert len(first) == min(sum(sizes), pages.SHOWN)
    assert len({hit.clip_id for hit in first}) == len(first)
