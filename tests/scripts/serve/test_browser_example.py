"""Search by a file in the page: chosen, dropped or pasted, with the keyboard alone; what happens is announced."""

import base64

import pytest
from selenium.webdriver.common.keys import Keys

from scripts.serve.asked import name_of
from tests.scripts.serve.serve_world import HOSTILE

pytestmark = pytest.mark.slow
GIVE = """
const [kind, name, type, content] = arguments;
const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], name, {type}));
const made = kind === 'paste' ? new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})
  : new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
document.activeElement.dispatchEvent(made);
return made.defaultPrevented;
"""


def give(tab, kind, path, mime="video/mp4", name=None):
    content = path.read_bytes() if hasattr(path, "read_bytes") else path
    return tab.js(GIVE, kind, name or path.name, mime, base64.b64encode(content).decode())


def found(tab, name):
    """The page shows clips like the file, the copies of it first, and its chip."""
    tab.until(lambda: "example=" in tab.driver.current_url and tab.hits(), "hits")
    assert name_of(tab.hits()[0]["videoKey"]) in (name, *HOSTILE)
    assert name in tab.one(".chip").text
    assert f"like {name}" in tab.driver.title


def test_a_file_is_chosen_and_its_chip_taken_out(tab, library):
    tab.open("/")
    tab.all("#example input")[0].send_keys(str(library.videos / "short.mp4"))
    found(tab, "short.mp4")
    assert tab.violations() == []
    tab.shot("example-results")
    tab.one(".chip .out").click()
    tab.until(lambda: not tab.all(".chip"), "no chip")


def test_with_the_keyboard_alone(tab, library):
    tab.open("/", q="red")
    tab.js("const it = document.querySelector('#example input'); it.onclick = () => { window.asked = true }")
    tab.one("#q").click()
    for _ in range(9):
        tab.keys(Keys.TAB)
        if "Search by a picture" in tab.focused():
            break
    tab.keys(Keys.ENTER)
    tab.until(lambda: tab.js("return window.asked"), "the dialog to choose a file")
    tab.all("#example input")[0].send_keys(str(library.videos / "short.mp4"))
    tab.until(lambda: "example=" in tab.driver.current_url and "q=red" in tab.driver.current_url, "both")
    assert tab.one("#q").get_property("value") == "red"


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_file_is_pasted_or_dropped(tab, library, kind):
    tab.open("/")
    assert kind == "paste" or give(tab, "dragover", library.videos / "short.mp4")
    assert give(tab, kind, library.videos / "short.mp4")
    assert "Looking at “short.mp4”" in tab.all("#example-said[role=status]")[0].text
    found(tab, "short.mp4")


def test_pasted_text_goes_where_the_cursor_is(tab):
    tab.open("/")
    made = "new ClipboardEvent('paste', {clipboardData: new DataTransfer(), bubbles: true, cancelable: true})"
    assert tab.js(f"return document.activeElement.dispatchEvent({made})")
    assert tab.all("#example-said")[0].text == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no picture", "cannot be an example"), (b"x" * (20 << 20 | 1), "is larger than 20 MiB")],
)
def test_what_is_wrong_is_said_beside_the_button(tab, content, words):
    tab.expected.add(400)
    tab.open("/", **({"q": "red"} if len(content) < 99 else {}))
    give(tab, "paste", content, "image/png", "notes.png")
    said = tab.one("#example-said.problem")
    assert "notes.png" in said.text
    assert words in said.text
    tab.until(lambda: "Search by a picture" in tab.focused(), "the button")
    for width in (1400, 320):
        tab.size(width)
        tab.shot(f"example-wrong-{width}")
        assert tab.violations() == []
