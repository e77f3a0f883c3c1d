"""A library that is read while a person looks at it: the page fills in place, says so, and is in nobody's way."""

import asyncio
import shutil
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn

from index import IndexWriter, Searcher
from scripts.serve import Progress, Service, create_app
from scripts.serve.app import Settings
from scripts.serve.asked import key_of
from scripts.serve.page import SHOWN
from tests.scripts.serve import serve_browser
from tests.scripts.serve.test_browser_access import look_at
from tests.scripts.serve.test_browser_keyboard import HIT, OUTLINED

pytestmark = pytest.mark.slow
FIRST = 12  # clips of the first index
WATCH = """
window.here = true;
window.heard = [], window.shifts = [];
new MutationObserver(() => heard.push(document.getElementById('news').textContent))
  .observe(document.getElementById('news'), {childList: true, characterData: true, subtree: true});
new PerformanceObserver(list => shifts.push(...list.getEntries().filter(it => !it.hadRecentInput)
  .map(it => [it.value, it.sources.map(at => at.node?.outerHTML?.slice(0, 90))])))
  .observe({type: 'layout-shift', buffered: true});
"""
HEIGHTS = "return [...new Set([...document.querySelectorAll('#hits > li')].map(it => it.offsetHeight))].length"
ASKED = "return performance.getEntriesByType('resource').length"
EMPTY = "return document.querySelectorAll('#hits > .empty').length"


@contextmanager
def living(index, videos, progress):
    """A server over an index that comes and changes; its origin, and how to tell it something."""
    with socket.create_server(("127.0.0.1", 0)) as listener, asyncio.Runner() as runner:
        service = Service(None, reload=lambda: Searcher.load(index))
        settings = Settings(videos=videos, cache=index.parent / "cache", progress=progress)
        config = uvicorn.Config(create_app(service, settings), log_config=None, timeout_graceful_shutdown=1)
        server, loop = uvicorn.Server(config), runner.get_loop()

        async def run():
            async with service:
                await server.serve([listener])

        thread = threading.Thread(target=lambda: runner.run(run()))
        thread.start()
        try:
            origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield origin, lambda **message: loop.call_soon_threadsafe(progress.apply, message)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def world(driver, library, tmp_path):
    """A tab on a library of which nothing is read; `tell` sends a message, `index` puts clips in place."""
    (tmp_path / "cache").mkdir()
    table = Searcher.load(library.index).video_index.snapshot.segments[0].table.arrow
    clips, place = sorted(table["clip_id"].to_pylist()), tmp_path / "index"

    def index(count=None):
        aside = shutil.copytree(library.index, tmp_path / "aside")
        if count:
            with IndexWriter.open(aside) as writer:
                writer.remove(clips[count:])
        if place.exists():
            place.rename(tmp_path / "before")
        aside.rename(place)

    with living(place, library.videos, Progress("videos/")) as (origin, tell):
        tab = serve_browser.Tab(driver, origin)
        tab.tell, tab.index, tab.clips = tell, index, len(clips)
        yield tab
        tab.check()


def files(library, state, **more):
    videos = [path for path in library.videos.rglob("*.*") if path.suffix != ".srt"]
    return [{"video": str(each.relative_to(library.videos)), "state": state, **more} for each in sorted(videos)]


def shifted(tab):
    found = tab.js("return shifts")
    assert sum(value for value, _ in found) < 0.01, found


@pytest.mark.parametrize("width", [1400, 320])
def test_the_page_fills_while_it_is_looked_at(world, library, width):
    from selenium.webdriver import Keys

    tab = world
    tab.size(width)
    tab.open("/")
    tab.js(WATCH)
    tab.keys("red squa")
    tab.tell(files=files(library, "waiting"), status={"step": "first look", "share": 0.1, "left_s": 200})
    tab.until(lambda: "10 %" in tab.one("#reading").text, "the share")
    tab.index(FIRST)
    tab.until(lambda: tab.js(EMPTY) == SHOWN - FIRST, "the first clips")
    assert not tab.one("#live").find_element("id", "show").is_displayed()  # all are here
    assert tab.js(HEIGHTS) == 1  # a clip is as high as the place that was kept for it
    tab.until(lambda: tab.js("return heard.at(-1)") == f"{FIRST} new moments", "it is said")
    tab.tell(status={"step": "sound", "share": 0.5, "problem": "videos/ is not there; connect its drive"})
    tab.until(lambda: tab.one("#trouble").text, "a problem")
    before = [hit["key"] for hit in tab.hits()]
    tab.index()
    tab.until(lambda: tab.js(EMPTY) == 0, "all places are taken")
    assert [hit["key"] for hit in tab.hits()][:FIRST] == before
    tab.until(lambda: tab.js("return heard.at(-1)") == f"{tab.clips - FIRST} new moments", "and again")
    assert tab.js("return document.activeElement.id + ':' + document.activeElement.value") == "q:red squa"
    assert tab.js("return [window.here, scrollY]") == [True, 0]
    shifted(tab)
    while 'id="show"' not in tab.focused().partition(">")[0]:
        tab.keys(Keys.TAB)
    assert tab.js(OUTLINED)
    tab.keys(Keys.ENTER)
    tab.until(lambda: tab.js(HIT), "new ones")
    assert len(tab.hits()) > SHOWN
    assert tab.js("return document.getElementById('news').textContent") == ""
    tab.tell(status={"done": True, "share": 1.0})
    tab.until(lambda: tab.js("return 'done' in document.getElementById('reading').dataset"), "all is read")
    assert tab.js("return window.here")


def test_an_answer_says_what_is_new_and_shows_it_when_asked(world, library):
    from selenium.webdriver import Keys

    tab = world
    tab.expected |= {503}
    tab.tell(files=files(library, "reading"), status={"step": "first look", "share": 0.1})
    tab.open(q="h264")
    assert "yet" in tab.one("#status").text
    assert tab.one("#results .note a").text == "2 files"
    tab.js(WATCH)
    tab.index(FIRST)
    tab.until(lambda: len(tab.hits()) == FIRST, "it searches by itself, as there was nothing")
    before = tab.hits()
    tab.one("#less").send_keys("a cat")
    tab.index()
    tab.until(lambda: tab.js("return heard.at(-1)") == f"{tab.clips - FIRST} new moments", "it is said")
    assert tab.hits() == before
    assert "less" in tab.focused()
    while 'id="show"' not in tab.focused().partition(">")[0]:
        tab.driver.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB)
    tab.keys(Keys.ENTER)
    tab.until(lambda: len(tab.hits()) == 24, "all")
    assert tab.js("return [window.here, document.activeElement.id, document.getElementById('less').value]") == [
        *[True, "results", "a cat"]
    ]
    shifted(tab)


def test_files_by_keyboard_and_while_they_are_read(world, library):
    from selenium.webdriver import Keys

    tab = world
    tab.tell(files=files(library, "waiting"), status={"step": "first look"})
    tab.open("/")
    while 'id="reading"' not in tab.focused().partition(">")[0]:
        tab.keys(Keys.TAB)
    assert tab.js(OUTLINED)
    tab.keys(Keys.ENTER)
    tab.until(lambda: tab.driver.current_url.endswith("/files"), "the files")
    tab.js(WATCH)
    tab.one("#name").send_keys("mp")
    tab.index()
    tab.tell(files=files(library, "reading", streams=["appearance", "audio"]), status={"share": 0.3})
    row = f"#file-{key_of('h264.mp4')}"
    tab.until(lambda: "appearance, audio" in tab.one(row).text, "what is read of it")
    assert tab.js("return document.activeElement.value") == "mp"
    assert not any(it.is_displayed() for it in tab.all("#anew"))
    tab.tell(files=[{"video": "aa.mp4", "state": "waiting"}])
    tab.one("#anew").click()
    tab.one(f"#file-{key_of('aa.mp4')}")
    tab.one(f"{row} a").click()
    tab.until(lambda: len(tab.hits()) == 3, "its clips")
    tab.open("/files", state="waiting")
    assert len(tab.all("#files > li")) == 1


def test_a_server_that_is_gone_is_said_once(driver, library, tmp_path):
    with living(tmp_path / "index", library.videos, Progress("videos/")) as (origin, _):
        tab = serve_browser.Tab(driver, origin)
        tab.open("/")
        tab.js(WATCH)
    tab.until(lambda: tab.js("return heard.length"), "it is said")
    tab.shot("library-lost")
    asked = tab.js(ASKED)
    time.sleep(2.5)
    assert tab.js(ASKED) == asked
    assert "does not answer" in tab.js("return heard.join()")


NOTE, TROUBLE = "There is no network: the offline preset is used.", "'videos/' is not there; connect its drive"
LOOKS = {
    "nothing-yet": {},
    "reading": {"step": "speech, 12 of 19 files", "share": 0.42, "left_s": 130, "note": NOTE},
    "problem": {"step": "speech, 12 of 19 files", "share": 0.42, "problem": TROUBLE},
    "done": {"done": True, "share": 1.0, "note": NOTE},
}


@pytest.mark.parametrize("name", LOOKS)
def test_looks(world, library, name):
    tab = world
    tab.expected |= {503}
    if name != "nothing-yet":
        tab.index(FIRST if name == "reading" else None)
        some = files(library, "done" if name == "done" else "reading", streams=["appearance", "audio", "motion"])
        some[2] |= {"state": "problem", "why": "the file ends too early", "advice": "copy it again"}
        if name != "done":
            some[3:6] = [each | {"state": "waiting", "streams": []} for each in some[3:6]]
        tab.tell(files=some, status=LOOKS[name])
    for path in ("/", "/files", "/?q=h264"):
        tab.open(path)
        if name == "reading":
            tab.js("document.getElementById('news').textContent = '12 new moments';"
                   "document.getElementById('show').hidden = false")  # fmt: skip
        look_at(tab, f"library-{name}{path.replace('/', '-').replace('?q=h264', 'hits')}")
