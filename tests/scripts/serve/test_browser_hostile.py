"""Names, words and columns that anyone may have written: they are shown, and nothing of them runs."""

import csv
import io
import json
import urllib.request
from urllib.parse import urlencode

import pytest

from mee.errors import visible
from scripts.serve.asked import key_of
from tests.scripts.serve.serve_world import COLUMN, HOSTILE, RUNS, UTTERANCE, VALUE

pytestmark = pytest.mark.slow
CLIPS = [f"{name}#t=4,6" for name in HOSTILE]
ALL = {"like": "h264.mp4#t=0,4", "top": 200, "size": 60}  # every clip that has a stream of this one
STRANGE = (
    f"<img src=x onerror={RUNS}>",
    f"'\"><script>{RUNS}</script>",
    f"javascript:{RUNS}",
    "{{7*7}}\u202e\x00",
)
MAY_RUN = """
const places = ['href', 'src', 'action', 'formaction'];
const runs = at => at.name.startsWith('on') || places.includes(at.name) && /^\\s*javascript:/i.test(at.value);
return [...document.querySelectorAll('*')].filter(it => it.localName === 'script' && !it.src
  || [...it.attributes].some(runs)).map(it => it.outerHTML.slice(0, 200));
"""


def inert(tab, *texts):
    """The page shows these texts, and holds nothing that may run, whatever the policy allows."""
    assert tab.js(MAY_RUN) == []
    page = " ".join(tab.js("return document.body.textContent").split())
    assert [text for text in texts if " ".join(visible(text).split()) not in page] == []


def test_hits_and_columns(tab):
    tab.open(**ALL)
    inert(tab, COLUMN, VALUE, *(name[:12] for name in HOSTILE))
    assert set(map(key_of, CLIPS)) <= {hit["key"] for hit in tab.hits()}


@pytest.mark.parametrize("clip", CLIPS)
def test_a_clip_opens_and_plays(tab, clip):
    tab.open(f"/clip/{key_of(clip)}", q="red")
    media = tab.one("main .clip .media")
    tab.until(lambda: media.get_attribute("data-state") == "ready", "ready")
    inert(tab, clip.rpartition("#")[0])
    tab.open(**ALL)
    tab.js(f"document.querySelector(`.hit[data-key='{key_of(clip)}'] a.open`).click()")
    tab.one(f"#player[data-key='{key_of(clip)}'] .media")
    inert(tab, clip.rpartition("#")[0])


def test_what_was_said(tab):
    tab.open(said="img", q="red")
    assert UTTERANCE.strip() in tab.one(".hit").text
    inert(tab)


FIELDS = ("q", "also", "less", "like", "only", "weights", "where", "video", "said", "top", "token")
FIELDS += ("then", "within", "good", "bad", "closer", "mark", "for", "sort", "min_score", "example")


@pytest.mark.parametrize("field", FIELDS)
def test_requests(tab, field):
    tab.expected |= {400, 404}
    for words in STRANGE:
        for path in ("/", "/hits"):
            tab.open(path, **{"q": "red"} | {field: words})
            inert(tab)
    tab.open("/", q="red")
    tab.js("location.hash = arguments[0]", f"clip={STRANGE[0]}")
    tab.driver.refresh()
    inert(tab)


@pytest.mark.parametrize("form", ["csv", "json", "edl", "otio", "ffmpeg"])
def test_exports(origin, form):
    clips = [clip for clip in CLIPS if form != "ffmpeg" or "\n" not in clip]  # its list cannot hold it
    query = urlencode([("form", form), *(("key", key_of(clip)) for clip in clips)])
    with urllib.request.urlopen(f"{origin}/api/export?{query}") as answer:
        content, headers = answer.read().decode(), answer.headers
    assert headers["Content-Disposition"].startswith("attachment")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers.get_content_type() != "text/html"
    if form == "csv":
        assert len(list(csv.reader(io.StringIO(content, newline="")))) == 1 + len(clips)
    elif form in ("json", "otio"):
        assert json.loads(content)
    elif form == "edl":
        assert all(line.isprintable() for line in content.splitlines())
    else:
        assert {line.split()[0] for line in content.splitlines()} == {
            "#",
            "ffconcat",
            "file",
            "inpoint",
            "outpoint",
        }


def test_marked_hits_are_downloaded(tab, tmp_path):
    tab.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    tab.open(**ALL)
    for clip in CLIPS[:2]:
        tab.js(f"document.querySelector(`.hit[data-key='{key_of(clip)}'] input.mark`).click()")
    tab.one("#export button[value=csv]").click()
    file = tab.until(lambda: next(tmp_path.glob("*.csv"), None), "a file")
    assert len(list(csv.reader(file.open(newline="")))) == 3
