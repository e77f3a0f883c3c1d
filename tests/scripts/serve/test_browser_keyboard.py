"""A walk by keyboard alone: everything is reached, the focus is seen, and comes back."""

import pytest

pytestmark = pytest.mark.slow
OUTLINED = """
const it = document.activeElement, look = getComputedStyle(it);
const box = it.getBoundingClientRect();
return it !== document.body && box.width > 0 && box.bottom > 0 && box.top < innerHeight
  && (look.outlineStyle !== 'none' && parseFloat(look.outlineWidth) >= 1 || look.boxShadow !== 'none');
"""
HIT = "return document.activeElement.closest('.hit')?.dataset.key"


def test_a_walk(tab):
    from selenium.webdriver import Keys

    tab.open("/")
    tab.keys("blue", Keys.ENTER)  # the box has the focus
    tab.until(lambda: "q=blue" in tab.driver.current_url, "an answer")
    tab.keys("/")
    assert 'name="q"' in tab.focused()
    tab.keys("red", Keys.ENTER)
    tab.until(lambda: "red" in tab.driver.title, "an answer")
    first, second, *_ = tab.hits()
    tab.keys(Keys.ESCAPE, Keys.ARROW_DOWN)
    assert tab.js(HIT) == first["key"]
    assert tab.js(OUTLINED)
    tab.keys(Keys.ARROW_RIGHT)
    assert tab.js(HIT) == second["key"]
    assert tab.js(OUTLINED)
    tab.keys("m")
    assert tab.js("return document.activeElement.closest('.hit').querySelector('.mark').checked")
    tab.keys(Keys.ENTER)
    media = tab.one("#player .media")
    tab.until(
        lambda: media.get_attribute("data-state") == "ready" and not media.get_property("paused"), "it plays"
    )
    tab.keys(" ")
    tab.until(lambda: media.get_property("paused"), "it stops")
    shown = tab.one("#player").get_attribute("data-key")
    tab.keys("]")
    tab.until(lambda: tab.one("#player").get_attribute("data-key") != shown, "the next moment")
    tab.one("#player .media")
    tab.keys("[")
    tab.until(lambda: tab.one("#player").get_attribute("data-key") == shown, "the moment before it")
    tab.keys(Keys.ESCAPE)
    tab.until(lambda: not tab.all("dialog[open]"), "closed")
    tab.until(lambda: tab.js(HIT) == second["key"], "the focus is back")
    tab.keys("?")
    tab.one("dialog[open]")
    tab.keys(Keys.ESCAPE)
    tab.until(lambda: tab.js(HIT) == second["key"], "the focus is back")
    tab.keys("s")
    tab.until(lambda: tab.all(f".hit[data-key='{second['key']}'] .similar[open]"), "its streams")
    tab.until(lambda: "like=" in tab.focused(), "a stream")
    tab.keys(Keys.ENTER)
    tab.until(lambda: "like=" in tab.driver.current_url, "hits like it")
    assert second["key"] not in {hit["key"] for hit in tab.until(tab.hits)}


PLACE = """
const all = [...document.querySelectorAll('#hits .hit')], it = document.activeElement.closest('.hit');
const columns = getComputedStyle(document.getElementById('hits')).gridTemplateColumns.split(' ').length;
return it && [Math.floor(all.indexOf(it) / columns), all.indexOf(it) % columns, columns];
"""


def test_a_map(tab):
    from selenium.webdriver import Keys

    tab.open(q="red")
    box = tab.one("#as-map")
    tab.js("arguments[0].focus()", box)
    tab.keys(" ")
    tab.until(lambda: tab.all("#hits.map"), "a map")
    assert "view=map" in tab.driver.current_url
    assert tab.js("return document.activeElement.id") == "as-map"
    tab.js("document.activeElement.blur()")
    tab.keys(Keys.ARROW_DOWN)
    row, column, columns = tab.js(PLACE)
    assert (row, column) == (0, 0)
    assert len(tab.hits()) > columns > 4
    tab.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.ARROW_UP)
    assert tab.js(PLACE) == [1, 1, columns]
    assert tab.js(OUTLINED)
    key = tab.js(HIT)
    tab.keys(Keys.ENTER)
    tab.until(lambda: tab.one("#player").get_attribute("data-key") == key, "it opens")
    tab.keys(Keys.ESCAPE)
    tab.until(lambda: tab.js(HIT) == key, "the focus is back")
    tab.driver.back()
    tab.until(lambda: not tab.all("#hits.map"), "the list")
    assert not tab.one("#as-map").is_selected()


def test_letters_in_fields_are_letters(tab):
    tab.open("/")
    tab.one("[name=q]").send_keys("m?s/[] ")
    assert tab.one("[name=q]").get_property("value") == "m?s/[] "
    assert not tab.all("dialog[open]")


def test_every_stop_is_seen(tab):
    """Tab through the page: the focus is always on something, with an outline, and never in a trap."""
    from selenium.webdriver import Keys

    tab.open(q="red", size=4)
    stops = []
    while len(stops) < 200:
        tab.keys(Keys.TAB)
        if not (now := tab.focused()):
            break
        assert tab.js(OUTLINED), now[:200]
        stops.append(now)
    assert any("skip" in stop for stop in stops[:1])
    assert 20 < len(stops) < 200
    assert all(
        any(name in stop for stop in stops) for name in ('name="q"', 'class="open"', 'class="mark"', "<summary")
    )
