"""Names, words and columns that anyone may have written: they are shown, and nothing of them runs."""

import csv
import io
import json
import urllib.request
from urllib.parse import urlencode

import pytest

from scripts.serve.keys import key_of
from tests.scripts.serve.serve_world import COLUMN, HOSTILE, PLAYED, RUNS, UTTERANCE, VALUE

pytestmark = pytest.mark.slow
CLIPS = [f"{name}#t=4,6" for name in HOSTILE]
ALL = {"like": "h264.mp4#t=0,4", "top": 200, "size": 60}  # every clip with a stream of these
STRANGE = (
    f"<img src=x onerror={RUNS}>",
    f"'\"><script>{RUNS}</script>",
    f"javascript:{RUNS}",
    "{{7*7}}${7*7}",
    "\u202e\x00",
)
QUIET = """
const places = ['href', 'src', 'action', 'formaction'];
const runs = at => at.name.startsWith('on') || places.includes(at.name) && /^\\s*javascript:/i.test(at.value);
return [...document.querySelectorAll('*')].filter(it => it.localName === 'script' && !it.src
  || [...it.attributes].some(runs)).map(it => it.outerHTML.slice(0, 200));
"""


def shown(text):
    """As a page shows it: what nobody sees is spelled."""
    from mee.errors import visible

    return " ".join(visible(text).split())


def test_hits_with_hostile_names(tab):
    tab.open(**ALL)
    found = tab.js("return [...document.querySelectorAll('article.hit')].map(it => it.textContent)")
    assert len(found) > 50
    assert tab.js(QUIET) == []
    keys = {hit["key"] for hit in tab.hits()}
    assert set(map(key_of, CLIPS)) <= keys


@pytest.mark.parametrize("clip", CLIPS)
def test_a_hostile_clip_opens_and_plays(tab, clip):
    tab.open(f"/clip/{key_of(clip)}", q="red")
    media = tab.one("main .clip .media")
    tab.until(lambda: media.get_attribute("data-state") == "ready", "ready")
    assert shown(clip.rpartition("#")[0])[:12] in " ".join(tab.text("main").split())
    assert tab.js(QUIET) == []
    tab.open(**ALL)
    tab.js(f"document.querySelector(`.hit[data-key='{key_of(clip)}'] a.open`).click()")
    tab.one("#player .media")
    tab.until(lambda: tab.one("#player").get_attribute("data-key") == key_of(clip))
    assert tab.js(QUIET) == []


def test_what_was_said_is_text(tab):
    tab.open(said="img", q="red")
    assert UTTERANCE.split()[0] in tab.text(".hit")
    assert tab.js(QUIET) == []


def test_columns_and_their_values_are_text(tab):
    tab.open(**ALL)
    tab.js("document.querySelectorAll('details').forEach(it => { it.open = true })")
    tab.until(lambda: COLUMN in tab.text("body"), COLUMN)
    assert VALUE in tab.text("body")
    assert tab.js(QUIET) == []


@pytest.mark.parametrize(
    "field", ["q", "also", "less", "like", "only", "weights", "where", "video", "said", "top", "token"]
)
def test_hostile_requests_are_text(tab, field):
    tab.expected |= {400, 404}
    for words in STRANGE:
        given = f"0.5*{words}" if field == "also" else words
        for path in ("/", "/hits"):
            tab.open(path, **({"q": "red"} | {field: given}))
            assert tab.js(QUIET) == []
    tab.open("/", q="red")
    tab.js("location.hash = arguments[0]", f"clip={STRANGE[0]}")
    tab.driver.refresh()
    assert tab.js(QUIET) == []


@pytest.mark.parametrize("form", ["csv", "json", "edl", "otio", "ffmpeg"])
def test_exports_hold_hostile_names(origin, form):
    clips = [clip for clip in CLIPS if form != "ffmpeg" or "\n" not in clip]  # its list cannot hold it
    query = [("form", form), *(("key", key_of(clip)) for clip in clips)]
    with urllib.request.urlopen(f"{origin}/api/export?{urlencode(query)}") as answer:
        content, headers = answer.read().decode(), answer.headers
    assert headers["Content-Disposition"].startswith("attachment")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers.get_content_type() != "text/html"
    match form:
        case "csv":
            assert len(list(csv.reader(io.StringIO(content, newline="")))) == 1 + len(CLIPS)
        case "json" | "otio":
            assert json.loads(content)
        case "edl":
            assert all(line.isprintable() for line in content.splitlines())
            assert sum(line[:3].isdigit() for line in content.splitlines()) == len(CLIPS)


def test_marked_hits_are_downloaded(tab, tmp_path):
    tab.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    tab.open(**ALL)
    for clip in (CLIPS[0], f"{PLAYED[0]}#t=4,8"):
        tab.js(f"document.querySelector(`.hit[data-key='{key_of(clip)}'] input.mark`).click()")
    tab.one("#export button[value=csv]").click()
    file = tab.until(lambda: next(tmp_path.glob("*.csv"), None), "a file")
    assert CLIPS[0] in file.read_text()
