"""The page of a clip: what it plays, says and links to, whatever the clip is called and whatever is said in it."""

import re
from importlib.resources import files
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pyarrow as pa
import pytest

from index import Entries, Origin, Queries, Request, Searcher, VideoIndex
from index.storage.segment import of_entries
from index.storage.snapshot import Snapshot
from index.storage.table import WORDS, Words
from index.text_side import Text
from mee.errors import visible
from mee.layout import Layout
from scripts.serve import clip_page
from scripts.serve.asked import key_of
from scripts.serve.clip_page import LINES
from scripts.serve.rendering import rendered
from tests.scripts.report.conftest import Tree
from tests.scripts.serve.serve_client import client_of

LAYOUT = Layout(("appearance", "audio", "speech", "text"), (2, 2, 2, 2), words=("speech", "text"))
FILM, STILL, LONG = "a film.mp4", "still.jpg", "long.mp4"
HOSTILE = ('"><script>run</script>', "<img src=x onerror=run>&amp;#t=1", "two\nlines \u202e'")
FACTS = {"width": 640, "height": 360, "fps": 25.0, "file_bytes": "<b>", "video_codec": "<i>", "<b>=1": "<svg>"}
CLIPS = [(f"{FILM}#t={n},{n + 5}", FILM, n, n + 5) for n in (25, 5, 0, 10, 15, 20, 30, 35, 40, 45, 50)]
CLIPS += [(STILL, STILL, 0, 0), (LONG, LONG, 0, 900), *((name, name, 0, 4) for name in HOSTILE)]
SAID = [
    (CLIPS[3][0], "speech", 11.5, 12.25, "a dog <b>barks</b> & runs\n--> away"),
    (CLIPS[3][0], "speech", 10.0, 10.0, "of no length"),
    (CLIPS[3][0], "text", 10.5, 11.0, "EXIT"),
    *((name, "speech", 1.0, 2.0, name) for name in HOSTILE),
    *((LONG, "text", float(n), n + 1.0, f"line {n}") for n in reversed(range(LINES + 7))),
]


def words_of(expert):
    """Rows of one expert of words."""
    ids = [clip[0] for clip in CLIPS]
    rows = sorted(((ids.index(name), *rest) for name, its, *rest in SAID if its == expert), key=lambda row: row[0])
    table = pa.table({name: pa.array(list(of), kind) for (name, kind), of in zip(WORDS.items(), zip(*rows))})
    return Words(table, np.tile(np.float32([0.6, 0.8]), (len(rows), 1)))


@pytest.fixture(scope="module")
def searcher():
    """Vectors say nothing, and a sentence is always the same query; a still has no sound."""
    have = {(name, expert) for name, expert, *_ in SAID}
    available = [[True, name != STILL, *((name, its) in have for its in LAYOUT.words)] for name, *_ in CLIPS]
    columns = dict(zip(("clip_id", "video", "start_s", "end_s"), map(list, zip(*CLIPS))))
    columns |= {name: list(map(float, columns[name])) for name in ("start_s", "end_s")}
    columns |= {name: [value] * len(CLIPS) for name, value in FACTS.items()}
    packed = np.tile(np.float32([0.6, 0.8, 1, 0, 0, 0, 0, 0]), (len(CLIPS), 1))
    words = {name: words_of(name) for name in LAYOUT.words}
    entries = Entries(pa.table(columns), packed, np.array(available), words).checked(LAYOUT)
    segment = of_entries(entries, LAYOUT, offsets=False)
    nothing = np.zeros((1, 1, 4))
    query = Queries(np.float32([[[1, 0, 0, 1, 1, 0, 1, 0]]]), nothing, nothing, np.ones((1, 1)))
    text_side = SimpleNamespace(encode=lambda sentences: query, readers=[])
    snapshot = Snapshot(LAYOUT, Origin("/models/m", "0123456789ab", "/stores/s"), segments=(segment,))
    return Searcher(VideoIndex(snapshot), Text(None, text_side))


@pytest.fixture
def play(monkeypatch):
    """How every clip is played; tests change it."""
    found = {"kind": "video", "url": "/media#t=100.0,105.0", "direct": True, "mime": "video/mp4", "why": ""}
    found |= {"start_s": 100.0, "end_s": 105.0}

    async def play_of(app, key):
        return found

    monkeypatch.setattr(clip_page, "play_of", play_of)
    return found


@pytest.fixture
def client(searcher, play, tmp_path):
    with client_of(searcher, videos=tmp_path) as client:
        yield client


class Page(Tree):
    """Read strictly, and nothing of it runs."""

    VOID = (*Tree.VOID, "track")

    def __init__(self, text):
        super().__init__(text)
        for it in self.root:
            assert not [name for name in it.attributes if name.startswith("on") or name == "style"], it.tag
            assert it.tag not in ("script", "style", "b", "i") or "src" in it.attributes, it.tag
            assert it.attributes.get("src") != "x"

    def all(self, tag="", kind=""):
        """Elements of a name and a class; empty: any."""
        those = [it for it in self.root if tag in ("", it.tag)]
        return [it for it in those if kind in ("", *it.attributes.get("class", "").split())]

    def one(self, tag="", kind=""):
        (it,) = self.all(tag, kind)
        return it

    def facts(self):
        texts = [it.text for it in self.one("dl", "facts").all("dt", "dd")]
        return dict(zip(texts[::2], texts[1::2]))


def address(clip_id, query="", rest=""):
    return f"/clip/{key_of(clip_id)}{rest}" + (f"?{query}" if query else "")


def page_of(client, *where, status=200):
    answer = client(address(*where), headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    return Page(answer.text)


def test_a_page_without_a_query(client):
    page = page_of(client, f"{FILM}#t=25,30")
    assert page.one("h1").text == f"{FILM} 0:25–0:30"
    media = page.one("video", "media").attributes
    assert (media["src"], media["data-start"], media["data-end"]) == ("/media#t=100.0,105.0", "100.0", "105.0")
    assert {"controls", "playsinline", "aria-label"} <= media.keys()
    assert not page.all(kind="why")
    assert not page.all(kind="problem")
    facts = page.facts()
    assert facts["file"] == FILM
    assert (facts["length"], facts["picture"]) == ("5.0 s", "640 × 360, 25 frames/s")
    assert (facts["streams"], facts["missing"]) == ("appearance, audio", "nothing said, nothing written")
    assert (facts["file_bytes"], facts["video codec"], facts["<b>=1"]) == ("<b>", "<i>", "<svg>")
    links = [dict(parse_qsl(urlsplit(it.attributes["href"]).query)) for it in page.all("a")]
    like = {"like": f"{FILM}#t=25,30"}
    wanted = [
        like | {"video": FILM},
        {"like": FILM, "by_video": "1"},
        like,
        like | {"only": "appearance"},
        like | {"only": "audio"},
    ]
    assert [link for link in links if "like" in link] == wanted


@pytest.mark.parametrize(("at", "first", "last"), [(0, 0, 20), (25, 5, 45), (45, 25, 50)])
def test_neighbours_are_in_order_of_time_and_keep_the_query(client, at, first, last):
    page = page_of(client, f"{FILM}#t={at},{at + 5}", "q=a+dog")
    steps, spans = page.all("a", "step"), [f"{FILM}#t={n},{n + 5}" for n in range(first, last + 1, 5)]
    assert [it.attributes["href"] for it in steps] == [address(name, "q=a+dog") for name in spans]
    place = spans.index(f"{FILM}#t={at},{at + 5}")
    told = {n: it.attributes.get("rel", it.attributes.get("aria-current")) for n, it in enumerate(steps)}
    wanted = {place - 1: "prev", place: "true", place + 1: "next"}
    assert told == {n: wanted.get(n) for n in range(len(steps))}


def test_why_it_was_found(client, searcher):
    clip = f"{FILM}#t=25,30"
    query = "q=a+dog&top=3&video=a+film.mp4"
    page = page_of(client, clip, query)
    hit = searcher.explain(Request(sentence="a dog"), clip)
    assert page.one(kind="score").text == f"Score {hit.score:.3f}"
    told = {name: share.contribution for name, share in hit.experts.items()}
    assert told == pytest.approx({"appearance": 0.6 / 4, "audio": 0.0})
    assert len(page.all("rect")) == 2
    assert "0.25 × 0.60" in page.one(kind="why").text
    assert "nothing said" in page.one(kind="why").text
    assert [it.text for it in page.all("a") if it.attributes["href"] == f"/?{query}"] == [
        "Back to the hits", "The search in this video alone"
    ]  # fmt: skip
    assert not page_of(client, STILL, "q=a+dog&only=audio").all(kind="why")


def test_the_part_is_the_same_within_a_page(client):
    whole, part = (client(address(f"{FILM}#t=0,5", "q=a+dog", rest)).text for rest in ("", "/part"))
    assert part.lstrip().startswith("<article")
    assert "<html" not in part
    other = re.sub(r'<a href="[^"]*">Open as a page</a>', "", part.replace("<h2", "<h1").replace("</h2", "</h1"))
    assert other.split() == re.search("<article.*</article>", whole, re.DOTALL)[0].split()
    assert page_of(client, STILL, "", "/part").one("h2").attributes["id"] == "clip-title"


@pytest.mark.parametrize(("kind", "tag"), [("video", "video"), ("audio", "audio"), ("image", "img"), ("none", "")])
def test_what_plays(client, play, kind, tag):
    why = "its video codec is hevc"
    if kind == "none":
        play.clear()
    play |= {"kind": kind, "direct": False, "why": why} if tag else {"kind": kind, "why": why}
    page = page_of(client, CLIPS[3][0])
    media = page.all(kind="media")
    assert [it.tag for it in media] == [tag] * bool(tag)
    assert ["data-preparing" in it.attributes for it in media] == [kind != "image"] * bool(tag)
    assert len(page.all(kind="replay")) == (kind in ("video", "audio"))
    assert [it.text for it in page.all(kind="problem")] == [why] * (not tag)
    assert any(f"to be played here: {why}." in it.text for it in page.all("p")) == bool(tag)
    assert len(page.all(kind="lines")) == 1


def test_what_is_said_and_written_on_the_time_line_of_the_player(client):
    clip = f"{FILM}#t=10,15"
    page = page_of(client, clip)
    lines = [it for it in page.all("li") if "data-from" in it.attributes]
    assert [it.attributes["data-from"] for it in lines] == ["100.0", "100.5", "101.5"]
    said = "0:11.5 said a dog <b>barks</b> & runs\\n--> away"
    assert [it.text for it in lines[1:]] == ["0:10.5 written EXIT", said]
    assert page.all("a", "line")[2].attributes["href"] == "/media#t=101.5"
    assert page.one("track").attributes["src"] == address(clip, rest="/captions.vtt")
    captions = client(address(clip, rest="/captions.vtt"))
    assert captions.headers["content-type"] == "text/vtt; charset=utf-8"
    text = "a dog &lt;b&gt;barks&lt;/b&gt; &amp; runs --&gt; away"
    assert captions.text == f"WEBVTT\n\n00:01:41.500 --> 00:01:42.250\n{text}\n"
    page = page_of(client, LONG)
    assert page.one("ol", "lines").text.endswith(f"line {LINES - 1} and 7 lines more")
    assert not page.all("track")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_words_are_text(client, name):
    page = page_of(client, name, "q=%3Cb%3E")
    assert visible(name) in page.one("h1").text
    assert visible(name) in page.one("ol", "lines").text
    assert page.facts()["file"] == visible(name)
    assert [it.attributes["value"] for it in page.all("input", "mark")] == [key_of(name)]


def test_what_is_not_there(client):
    for rest in ("", "/part", "/captions.vtt"):
        assert client(address("gone.mp4", rest=rest)).status_code == 404
        assert client(f"/clip/a.b{rest}").status_code == 400
    page = page_of(client, "gone.mp4", status=404)
    assert "search again" in page.one(kind="problem").text
    assert client(address(STILL, "q=a&top=x", "/part")).json()["error"].startswith("'top'")


def test_the_help_lists_every_key(client):
    script = files("scripts.serve").joinpath("static", "keys.js").read_text()
    tables = re.findall(r"^const [A-Z]+ = \{(.*?)^\};", script, re.DOTALL | re.MULTILINE)
    entry = re.compile(r'(?:^|, )\s*(?:"(.)"|(\w+)):', re.MULTILINE)
    keys = {sign or word for table in tables for sign, word in entry.findall(table)}
    drawn = {"ArrowLeft": "←", "ArrowRight": "→", "ArrowUp": "↑", "ArrowDown": "↓", " ": "Space"}
    listed = {it.text for it in page_of(client, STILL).all("kbd")}
    assert listed == {drawn.get(key, key) for key in keys} | {"Enter", "Esc"}


def test_pages_of_one_sentence():
    page = Page(rendered("login.html.j2", problem="no <b> token", next='/"><b>').body.decode())
    assert page.one(kind="problem").text == "no <b> token"
    fields = {it.attributes["name"]: it.attributes for it in page.all("input")}
    assert (fields["next"]["value"], fields["token"]["type"]) == ('/"><b>', "password")
    assert not Page(rendered("login.html.j2", problem="", next="/").body.decode()).all(kind="problem")
    page = Page(rendered("error.html.j2", status=503, sentence="busy <b>; ask again").body.decode())
    assert page.one(kind="problem").text == "busy <b>; ask again"
    assert "/" in [it.attributes["href"] for it in page.all("a")]
