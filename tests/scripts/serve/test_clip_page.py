"""The page of a clip: what it plays, says and links to, whatever the clip is called and whatever is said in it."""

import re
from html.parser import HTMLParser
from importlib.resources import files
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pyarrow as pa
import pytest

from index import Entries, Origin, Queries, Request, Searcher, VideoIndex
from index.searcher import Text
from index.storage.segment import of_entries
from index.storage.snapshot import Snapshot
from index.storage.table import WORDS, Words
from mee.errors import visible
from mee.layout import Layout
from scripts.serve import clip_page
from scripts.serve.clip_page import AROUND, LINES
from scripts.serve.keys import key_of
from scripts.serve.rendering import rendered
from tests.scripts.serve.serve_client import client_of

LAYOUT = Layout(("appearance", "audio", "speech", "text"), (2, 2, 2, 2), words=("speech", "text"))
FILM, STILL, LONG = "a film.mp4", "still.jpg", "long.mp4"
HOSTILE = ('"><script>run</script>', "<img src=x onerror=run>&amp;#t=1", "two\nlines \u202e'")
VOID = {"br", "img", "input", "link", "meta", "rect", "path", "track"}
HTML = {"Accept": "text/html"}
SAID = [(3, "speech", 11.5, 12.25, "a dog <b>barks</b> & runs\n--> away"), (3, "text", 10.5, 11.0, "EXIT")]
SAID += [(3, "speech", 10.0, 10.0, "of no length")]


def clips():
    """Clip id, video, start, end, available experts; the film's clips stand in no order."""
    yield from ((f"{FILM}#t={n},{n + 5}", FILM, n, n + 5, "1111") for n in (25, 5, 0, 10, 15, 20, 30, 35, 40, 45, 50))
    yield STILL, STILL, 0, 0, "1000"
    yield from ((name, name, 0, 4, "1111") for name in HOSTILE)
    yield LONG, LONG, 0, 900, "0001"


def words_of(rows, expert):
    """Rows of one expert of words, of clips by their number."""
    rows = sorted((row for row in rows if row[1] == expert), key=lambda row: row[0])
    columns = zip(*((clip, start, end, text) for clip, _, start, end, text in rows))
    table = pa.table({name: pa.array(list(of), kind) for (name, kind), of in zip(WORDS.items(), columns)})
    return Words(table, np.tile(np.float32([0.6, 0.8]), (len(rows), 1)))


@pytest.fixture(scope="module")
def searcher():
    """Of vectors that say nothing; a sentence is always the same query."""
    ids, videos, starts, ends, patterns = zip(*clips())
    available = np.array([[flag == "1" for flag in pattern] for pattern in patterns])
    packed = np.tile(np.float32([0.6, 0.8, 1, 0, 0, 0, 0, 0]), (len(ids), 1))
    packed[:, 4:] = 0
    said = [(n, "speech", 1.0, 2.0, text) for n, text in enumerate(HOSTILE, ids.index(HOSTILE[0]))] + SAID
    said += [(ids.index(LONG), "text", float(n), n + 1.0, f"line {n}") for n in reversed(range(LINES + 7))]
    have = {(clip, expert) for clip, expert, *_ in said}
    for m, expert in enumerate(LAYOUT.names[2:], 2):
        available[:, m] = [(n, expert) in have for n in range(len(ids))]
    facts = {
        "clip_id": ids, "video": videos, "start_s": list(map(float, starts)), "end_s": list(map(float, ends)),
        "width": [640] * len(ids), "height": [360] * len(ids), "fps": [25.0] * len(ids),
        "file_bytes": ["<b>"] * len(ids), "video_codec": ["<i>"] * len(ids), "<b>=1": ["<svg onload=run>"] * len(ids),
    }  # fmt: skip
    words = {name: words_of(said, name) for name in LAYOUT.words}
    entries = Entries(pa.table({n: list(v) for n, v in facts.items()}), packed, available, words).checked(LAYOUT)
    query = Queries(np.float32([[[1, 0, 0, 1, 1, 0, 1, 0]]]), np.zeros((1, 1, 4)), np.zeros((1, 1, 4)), np.ones((1, 1)))
    text_side = SimpleNamespace(encode=lambda sentences: query, readers=[])
    origin = Origin("/models/m", "0123456789ab", "/stores/s")
    return Searcher(VideoIndex(Snapshot(LAYOUT, origin, segments=(of_entries(entries, LAYOUT, offsets=False),))), Text(None, text_side))


@pytest.fixture
def play(monkeypatch):
    """How every clip is played; tests change it."""
    found = {"kind": "video", "url": "/media#t=100.0,105.0", "direct": True, "mime": "video/mp4", "why": ""}
    found |= {"start_s": 100.0, "end_s": 105.0}

    async def play_of(app, name):
        return found

    monkeypatch.setattr(clip_page, "play_of", play_of)
    return found


@pytest.fixture
def client(searcher, play, tmp_path):
    with client_of(searcher, videos=tmp_path) as client:
        yield client


class Page(HTMLParser):
    """Elements with their attributes and texts; every tag that is opened is closed."""

    def __init__(self, answer, status=200):
        super().__init__()
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        self.found, self.open = [], []
        self.feed(answer.text)
        assert not self.open
        for it in self.found:
            names = it.attrs.keys()
            assert not [name for name in names if name.startswith("on") or name == "style"], it
            assert it.tag not in ("script", "style", "b", "i") or "src" in names, it
        assert not [it for it in self.all("img") + self.all("svg") if it.attrs.get("src") == "x" or "onload" in it.attrs]

    def handle_starttag(self, tag, attrs):
        self.found.append(SimpleNamespace(tag=tag, attrs=dict(attrs), text=""))
        if tag not in VOID:
            self.open.append((tag, self.found[-1]))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, it in self.open:
            it.text += data

    def all(self, tag="", kind=""):
        return [it for it in self.found if tag in ("", it.tag) and kind in ("", *it.attrs.get("class", "").split())]

    def one(self, tag="", kind=""):
        (it,) = self.all(tag, kind)
        return it

    def facts(self):
        at = next(n for n, it in enumerate(self.found) if it.attrs.get("class") == "facts")
        texts = [it.text for it in self.found[at:] if it.tag in ("dt", "dd")]
        return dict(zip(texts[::2], texts[1::2]))


def address(clip_id, query="", rest=""):
    return f"/clip/{key_of(clip_id)}{rest}" + (f"?{query}" if query else "")


def test_a_page_without_a_query(client):
    page = Page(client(address(f"{FILM}#t=25,30")))
    assert page.one("h1").text.split() == ["a", "film.mp4", "0:25–0:30"]
    media = page.one("video", "media").attrs
    assert (media["src"], media["data-start"], media["data-end"]) == ("/media#t=100.0,105.0", "100.0", "105.0")
    assert {"controls", "playsinline", "aria-label"} <= media.keys()
    assert not page.all(kind="why")
    assert not page.all(kind="problem")
    facts = page.facts()
    assert facts["file"] == FILM
    assert (facts["length"], facts["picture"]) == ("5.0 s", "640 × 360, 25 frames/s")
    assert (facts["streams"], facts["missing"]) == ("appearance, audio", "nothing said, nothing written")
    assert (facts["file_bytes"], facts["video codec"], facts["<b>=1"]) == ("<b>", "<i>", "<svg onload=run>")
    links = [dict(parse_qsl(urlsplit(it.attrs["href"]).query)) for it in page.all("a") if "like=" in it.attrs["href"]]
    like = {"like": f"{FILM}#t=25,30"}
    assert links == [like | {"video": FILM}, like, like | {"only": "appearance"}, like | {"only": "audio"}]


@pytest.mark.parametrize(("at", "first", "last"), [(0, 0, 5 * AROUND), (25, 25 - 5 * AROUND, 25 + 5 * AROUND), (45, 25, 50)])
def test_neighbours_are_in_order_of_time_and_keep_the_query(client, at, first, last):
    page = Page(client(address(f"{FILM}#t={at},{at + 5}", "q=a+dog")))
    steps = page.all("a", "step")
    spans = [f"{FILM}#t={n},{n + 5}" for n in range(first, last + 1, 5)]
    assert [it.attrs["href"] for it in steps] == [address(name, "q=a+dog") for name in spans]
    place = spans.index(f"{FILM}#t={at},{at + 5}")
    told = {n: it.attrs.get("rel", it.attrs.get("aria-current")) for n, it in enumerate(steps)}
    wanted = {place - 1: "prev", place: "true", place + 1: "next"}
    assert told == {n: wanted.get(n) for n in range(len(steps))}


def test_why_it_was_found(client, searcher):
    clip = f"{FILM}#t=25,30"
    page = Page(client(address(clip, "q=a+dog&top=3")))
    hit = searcher.explain(Request(sentence="a dog"), clip)
    assert page.one(kind="score").text.split() == ["Score", f"{hit.score:.3f}"]
    told = {name: share.contribution for name, share in hit.experts.items()}
    assert told == pytest.approx({"appearance": 0.6 / 4, "audio": 0.0})
    assert len(page.all("rect")) == 2
    assert "0.25 × 0.60" in page.one(kind="why").text
    assert "nothing said" in page.one(kind="why").text
    assert "/?q=a+dog&top=3" in [it.attrs["href"] for it in page.all("a")]
    assert not Page(client(address(STILL, "q=a+dog&only=audio"))).all(kind="why")


def test_the_part_is_the_same_within_a_page(client):
    whole, part = (client(address(f"{FILM}#t=0,5", "q=a+dog", rest)).text for rest in ("", "/part"))
    assert part.lstrip().startswith("<article")
    assert "<html" not in part
    other = re.sub(r'<a href="[^"]*">Open as a page</a>', "", part.replace("<h2", "<h1").replace("</h2", "</h1"))
    assert other.split() == re.search("<article.*</article>", whole, re.DOTALL)[0].split()
    assert Page(client(address(STILL, rest="/part"))).one("h2").attrs["id"] == "clip-title"


@pytest.mark.parametrize("kind", ["video", "audio", "image", "none"])
def test_what_plays(client, play, kind):
    play |= {"kind": kind, "direct": False, "why": "its video codec is hevc"}
    page = Page(client(address(f"{FILM}#t=0,5")))
    tags = [it.tag for it in page.all(kind="media")]
    assert tags == {"video": ["video"], "audio": ["audio"], "image": ["img"], "none": []}[kind]
    assert [it.text for it in page.all(kind="problem")] == (["its video codec is hevc"] if kind == "none" else [])
    assert [it.attrs["data-preparing"][:4] for it in page.all(kind="media") if kind in ("video", "audio")] == [
        "This" for it in page.all(kind="replay")
    ]
    told = "is converted to be played here: its video codec is hevc." in client(address(STILL)).text
    assert told == (kind != "none")


def test_what_is_said_and_written_on_the_time_line_of_the_player(client):
    clip = f"{FILM}#t=10,15"
    page = Page(client(address(clip)))
    lines = [it for it in page.all("li") if "data-from" in it.attrs]
    assert [it.attrs["data-from"] for it in lines] == ["100.0", "100.5", "101.5"]
    assert [" ".join(it.text.split()) for it in lines[1:]] == [
        "0:10.5 written EXIT", "0:11.5 said a dog <b>barks</b> & runs\\n--> away"
    ]  # fmt: skip
    assert page.all("a", "line")[2].attrs["href"] == "/media#t=101.5"
    assert page.one("track").attrs["src"] == address(clip, rest="/captions.vtt")
    captions = client(address(clip, rest="/captions.vtt"))
    assert captions.headers["content-type"] == "text/vtt; charset=utf-8"
    text = "a dog &lt;b&gt;barks&lt;/b&gt; &amp; runs --&gt; away"
    assert captions.text == f"WEBVTT\n\n00:01:41.500 --> 00:01:42.250\n{text}\n"
    page = Page(client(address(LONG)))
    lines = page.all("ol", "lines")[0].text.split("\n")
    assert [line for line in lines if line][-1] == "and 7 lines more"
    assert not page.all("track")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_words_are_text(client, name):
    page = Page(client(address(name, "q=%3Cb%3E")))
    assert visible(name) in page.one("h1").text
    assert " ".join(visible(name).split()) in " ".join(page.one("ol", "lines").text.split())
    assert page.facts()["file"] == visible(name)
    assert [it.attrs["value"] for it in page.all("input", "mark")] == [key_of(name)]


def test_what_is_not_there(client):
    for rest in ("", "/part", "/captions.vtt"):
        assert client(address("gone.mp4", rest=rest)).status_code == 404
        assert client(f"/clip/a.b{rest}").status_code == 400
    page = Page(client(address("gone.mp4"), headers=HTML), 404)
    assert "search again" in page.one(kind="problem").text
    assert client(address(STILL, "q=a&top=x", "/part")).json()["error"].startswith("'top'")


def test_the_help_lists_every_key(client):
    script = files("scripts.serve").joinpath("static", "keys.js").read_text()
    tables = re.findall(r"^const [A-Z]+ = \{(.*?)^\};", script, re.DOTALL | re.MULTILINE)
    keys = {a or b for table in tables for a, b in re.findall(r'(?:^|, |\{)\s*(?:"(.)"|(\w+)):', table, re.MULTILINE)}
    drawn = {"ArrowLeft": "←", "ArrowRight": "→", "ArrowUp": "↑", "ArrowDown": "↓", " ": "Space"}
    listed = {it.text for it in Page(client(address(STILL))).all("kbd")}
    assert listed == {drawn.get(key, key) for key in keys} | {"Enter", "Esc"}


def test_pages_of_one_sentence():
    page = Page(rendered_as("login.html.j2", problem="not <b> this", next='/"><b>'))
    assert page.one(kind="problem").text == "not <b> this"
    fields = {it.attrs["name"]: it.attrs for it in page.all("input")}
    assert (fields["next"]["value"], fields["token"]["type"]) == ('/"><b>', "password")
    assert not Page(rendered_as("login.html.j2", problem="", next="/")).all(kind="problem")
    page = Page(rendered_as("error.html.j2", status=503, sentence="busy <b>; ask again"))
    assert page.one(kind="problem").text == "busy <b>; ask again"
    assert "/" in [it.attrs["href"] for it in page.all("a")]


def rendered_as(template, **shown):
    answer = rendered(template, **shown)
    return SimpleNamespace(status_code=200, headers=answer.headers, text=answer.body.decode())
