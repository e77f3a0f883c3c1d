"""Every state of the page, in light and dark, at three widths: axe finds nothing, and nothing is wider than it."""

from urllib.parse import urlencode

import pytest

from scripts.serve.asked import key_of
from tests.scripts.serve import serve_browser
from tests.scripts.serve.serve_world import PLAYED

pytestmark = pytest.mark.slow
WIDTHS = (1400, 400, 320)
TOKEN = "a-token-of-many-letters-0123456789"
WEIGHTED = [
    ("q", "red"),
    ("also", "0.5*rain falls"),
    ("less", "a dog"),
    ("weights", "seen=0.7"),
    ("weights", "speech=0.3"),
]
MARKED = [
    ("q", "red"),
    ("good", "h264.mp4#t=0,4"),
    *(("bad", f"{name}#t=4,8") for name in PLAYED[:4]),
    ("size", "4"),
]
MARKED += [("closer", ".".join(map(key_of, ("h264.mp4#t=8,12", "silent.mp4#t=0,4")))), ("less", "a dog")]
FILTERED = {"q": "red", "size": 4, "where": "video_codec == 'h264' and end_s < 9"}
STATES = {
    "empty": ("/", 200),
    "results": ("/?q=red", 200),
    "by-video": ("/?q=red&by_video=1&size=4", 200),
    "sequence": ("/?q=red&then=blue&then=green&within=9&size=4", 200),
    "marked": (f"/?{urlencode(MARKED)}", 200),
    "map": ("/?q=red&view=map", 200),
    "words": ("/?said=dog", 200),
    "weighted": (f"/?{urlencode(WEIGHTED)}", 200),
    "filtered": (f"/?{urlencode(FILTERED)}", 200),
    "no-hits": ("/?q=red&where=start_s>999", 200),
    "bad-filter": ("/?q=red&where=colour+%3D", 400),
    "clip": (f"/clip/{key_of('h264.mp4#t=4,8')}", 200),
    "clip-found": (f"/clip/{key_of('silent.mp4#t=4,8')}?q=red", 200),
    "clip-still": (f"/clip/{key_of('still.png')}", 200),
    "clip-sound": (f"/clip/{key_of('tone.mp3#t=4,8')}", 200),
    "docs": ("/docs", 200),
    "no-such-clip": (f"/clip/{key_of('gone')}", 404),
    "no-such-page": ("/nowhere", 404),
}


def look_at(tab, name):
    """Pictures and findings of all looks, of what is shown now."""
    found = {}
    for look, dark, width in [(look, look == "dark", width) for look in ("light", "dark") for width in WIDTHS]:
        tab.dark(dark)
        tab.size(width)
        tab.shot(f"{name}-{look}-{width}")
        found[look, width] = tab.violations()
    assert {look: its for look, its in found.items() if its} == {}


@pytest.mark.parametrize("name", STATES)
def test_pages(tab, name):
    path, status = STATES[name]
    tab.expected |= {status}
    tab.open(path)
    look_at(tab, name)


def test_dialog(tab):
    tab.open(q="red", size=4)
    tab.one(".hit a.open").click()
    tab.one("#player .media")
    look_at(tab, "dialog")


def test_help(tab):
    tab.open(q="red", size=4)
    tab.keys("?")
    tab.one("dialog[open]")
    look_at(tab, "help")


def test_marks_and_open_details(tab):
    tab.open(q="red", size=4)
    for mark in tab.all("input.mark")[:2]:
        mark.click()
    tab.one("#export .count")
    tab.js("document.querySelectorAll('details:not(.similar)').forEach(it => { it.open = true })")
    tab.one(".hit .similar summary").click()
    look_at(tab, "marks")


def test_login_and_a_library_that_cannot_be_played(driver, library, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    with serve_browser.serving(library.index, "--token-file", tmp_path / "token") as origin:
        tab = serve_browser.Tab(driver, origin)
        tab.expected |= {401}
        tab.open("/")
        look_at(tab, "login")
        tab.one("input[type=password]").send_keys("not this one", "\n")
        tab.one("[role=alert]")
        look_at(tab, "login-wrong")
        tab.one("input[type=password]").send_keys(TOKEN, "\n")
        tab.until(lambda: not tab.all("input[type=password]"), "the page")
        tab.open(q="red", size=4)
        look_at(tab, "without-videos")
        tab.check()
