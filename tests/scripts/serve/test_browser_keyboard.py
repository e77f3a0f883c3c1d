"""A walk by keyboard alone: everything is reached, the focus is seen, and comes back."""

from urllib.parse import parse_qs, urlsplit

import pytest

from scripts.serve.asked import name_of

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


def reach(tab, css):
    """Tab until the focus is on it."""
    from selenium.webdriver import Keys

    for _ in range(150):
        if tab.js("return document.activeElement.matches(arguments[0])", css):
            return
        tab.keys(Keys.TAB)
        assert tab.js(OUTLINED) or not tab.focused(), tab.focused()[:200]  # after the last one it begins anew
    raise AssertionError(f"Tab does not lead to {css}")


def asked(tab):
    return parse_qs(urlsplit(tab.driver.current_url).query)


def test_a_search_that_is_refined_by_marks_and_saved(tab):
    from selenium.webdriver import Keys

    top = "return document.getElementById('hits').getBoundingClientRect().top + scrollY"
    weights = "return [...document.querySelectorAll('#weights output')].map(it => it.textContent)"
    tab.open("/")
    tab.keys("red", Keys.ENTER)
    tab.until(lambda: len(tab.hits()) == 24, "hits")
    before, place = tab.js(weights), tab.js(top)
    first = tab.hits()[0]["key"]
    tab.keys(Keys.ESCAPE, Keys.ARROW_DOWN, "g")
    tab.until(lambda: asked(tab).get("good") == [name_of(first)], "it fits")
    assert tab.js(HIT) == first
    assert tab.js("return document.activeElement.closest('.hit').querySelector('.good').ariaPressed") == "true"
    assert tab.js(top) == place
    assert tab.js(weights) != before
    rows = "return [...document.querySelectorAll('#weights .stream')].map(it => it.textContent)"
    assert [was for was, row in zip(before, tab.js(rows)) if f"was {was}" not in row] == []
    assert "fits" in tab.js("return document.getElementById('status').textContent")
    tab.keys(Keys.ARROW_RIGHT)
    second = tab.js(HIT)
    at = [hit["key"] for hit in tab.hits()].index(second)
    tab.keys("b")
    tab.until(lambda: asked(tab).get("bad") == [name_of(second)], "it does not fit")
    assert second not in {hit["key"] for hit in tab.hits()}
    assert tab.js(HIT) == tab.hits()[at]["key"]  # what is there now
    tab.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "c")
    nearest = tab.js(HIT)
    tab.until(
        lambda: {pair.split(".")[0] for pair in asked(tab).get("closer", [])} == {nearest}, "it is the closest"
    )
    assert tab.js(HIT) == nearest
    assert tab.js(top) == place
    tab.shot("marks")

    tab.keys("/")
    reach(tab, "#mark2")
    tab.keys(Keys.ENTER)
    tab.until(lambda: "bad" not in asked(tab), "the mark is out")
    assert [*asked(tab)] == ["q", "good", "closer"]
    assert "closer" in tab.focused()  # the chip that is there now
    tab.driver.back()
    tab.until(lambda: asked(tab).get("bad") and len(tab.all(".marks .chip")) == 3, "and again")
    tab.keys("/", "blue", Keys.ENTER)
    tab.until(lambda: asked(tab) == {"q": ["blue"]}, "another search has no marks")
    tab.keys(Keys.ESCAPE, "/", "red", Keys.ENTER)
    tab.until(lambda: asked(tab) == {"q": ["red"]}, "the search of before")

    reach(tab, "#then")
    tab.keys("blue", Keys.ENTER)
    tab.until(lambda: tab.all("#hits.videos .later"), "sequences")
    assert "blue" in tab.one(".chip").text
    assert "with this sequence within 60 s" in tab.one("#status").text
    reach(tab, "#within")
    tab.keys(Keys.ARROW_UP)
    tab.until(lambda: "within 61 s" in tab.one("#status").text, "more time")
    assert 'id="within"' in tab.focused()
    reach(tab, "#sort")
    tab.keys("N")
    tab.until(lambda: asked(tab).get("sort") == ["date"], "another order")
    tab.until(lambda: "newest first" in tab.one("#status").text, "another order")
    here = tab.driver.current_url
    reach(tab, "#save")
    tab.keys(" ")
    tab.until(lambda: tab.all("#save[aria-pressed=true]"), "saved")

    tab.open("/")
    reach(tab, "#saved a")
    assert tab.one("#saved a").text == "red, then blue"
    tab.keys(Keys.ENTER)
    tab.until(lambda: tab.driver.current_url == here and tab.all("#save[aria-pressed=true]"), "the saved search")
    tab.driver.back()
    reach(tab, "#saved button")
    tab.keys(Keys.ENTER)
    tab.until(lambda: not [each for each in tab.all("#saved") if each.is_displayed()], "it is taken out")
    assert not tab.one("#q").get_property("value")


def test_marks_of_the_player_and_marks_in_haste(tab):
    from selenium.webdriver import Keys

    tab.open(q="red")
    first, second, *_ = (hit["key"] for hit in tab.hits())
    tab.keys(Keys.ESCAPE, Keys.ARROW_DOWN, Keys.ENTER)
    tab.one("#player .media")
    tab.keys("g")
    tab.until(lambda: asked(tab).get("good") == [name_of(first)], "it fits")
    assert not tab.all("dialog[open]")
    assert tab.js(HIT) == first
    tab.js("for (const it of [...document.querySelectorAll('.hit .bad')].slice(3, 6)) it.click()")
    tab.until(lambda: len(asked(tab).get("bad", [])) == 3, "all three")
    tab.until(lambda: len(tab.all(".marks .chip")) == 4, "chips")
    tab.driver.back()
    tab.until(lambda: "bad" not in asked(tab), "before")
    tab.cdp("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(q="red")
    tab.one(f".hit[data-key='{second}'] .bad").click()
    tab.until(lambda: second not in {hit["key"] for hit in tab.hits()}, "without scripts, too")
    assert tab.one(".marks .out").get_attribute("href").endswith("/?q=red")


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
