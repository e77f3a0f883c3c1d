"""Searches in the page: it shows what the index finds, its address says what was asked, and scripts can be off."""

import pytest

from index import Request, Searcher
from scripts.serve.asked import TOP, key_of, name_of
from tests.scripts.serve.serve_world import CONTAINERS, colour_of

pytestmark = pytest.mark.slow
WHERE = 'video_codec == "h264"'


@pytest.fixture(scope="module")
def keys(library):
    """keys(sentence, ...): keys of the clips, or videos, that the index finds."""
    searcher = Searcher.load(library.index)

    def found(sentence=None, size=24, **asked):
        (hits,) = searcher.search([Request(sentence=sentence, **{"top": TOP} | asked)])
        return [key_of(getattr(hit, "clip_id", hit.video)) for hit in hits][:size]

    return found


def shown(tab):
    return [hit["key"] for hit in tab.hits()]


def search(tab, sentence):
    box = tab.one("#q")
    box.clear()
    box.send_keys(sentence, "\n")


def test_type_and_enter(tab, keys):
    tab.open("/")
    search(tab, "red")
    tab.until(lambda: shown(tab) == keys("red"), "hits")
    search(tab, "a dog barks twice")
    tab.until(lambda: shown(tab) == keys("a dog barks twice"), "other hits")
    assert "24 of" in tab.one("#status[role=status]").text
    assert "a dog barks twice" in tab.driver.title
    assert "a dog barks twice" in tab.one(".hit .words").text
    tab.driver.refresh()
    assert shown(tab) == keys("a dog barks twice")
    tab.driver.back()
    tab.until(
        lambda: shown(tab) == keys("red") and tab.one("#q").get_property("value") == "red", "the search before"
    )
    tab.driver.forward()
    tab.until(lambda: shown(tab) == keys("a dog barks twice"), "forward again")


def test_the_sentence_finds_its_colour(tab):
    tab.open(q="red", only="seen", where="start_s >= 4", size=100)
    number = {key_of(name): place for place, name in enumerate(CONTAINERS)}
    hits = [hit for hit in tab.hits() if hit["videoKey"] in number]
    red = [colour_of(number[hit["videoKey"]], int(float(hit["start"])) // 4) == "red" for hit in hits]
    assert 0 < sum(red) < len(red)
    assert red == sorted(red, reverse=True)


def test_sliders_change_weights_and_order(tab, keys):
    from selenium.webdriver import Keys

    tab.open(q="rain falls")
    before = shown(tab)
    slider = tab.one("#weights [name='weights.speech']")
    assert float(slider.get_property("value")) > 0
    slider.send_keys(Keys.HOME)
    tab.until(lambda: "weights=speech" in tab.driver.current_url, "the address has the weights")
    tab.until(lambda: shown(tab) != before, "another order")
    assert shown(tab) == keys("rain falls", weights={"seen": 1.0})
    assert tab.one("#weights output[for]").text is not None
    tab.one("#weights a.reset").click()
    tab.until(lambda: shown(tab) == before, "the mixture's own again")


def test_also_and_not_are_chips(tab, keys):
    tab.open(q="red")
    tab.one("#less").send_keys("blue", "\n")
    tab.until(lambda: shown(tab) == keys("red", also=((-1.0, "blue"),)), "without blue")
    assert "blue" in tab.one(".chip").text
    tab.one(".chip .out").click()
    tab.until(lambda: shown(tab) == keys("red"), "as before")


def write_filter(tab, words):
    field = tab.one("#where")
    field.clear()
    field.send_keys(words)
    tab.one("#q").send_keys("\n")


def test_filter_by_facet_and_by_text(tab, keys):
    tab.expected.add(400)
    tab.open(q="red")
    facet = tab.until(lambda: next((it for it in tab.all("#facets a") if "h264" in it.text), None), "a facet")
    count = int(facet.text.split()[-1])
    facet.click()
    tab.until(lambda: shown(tab) == keys("red", where=WHERE), "filtered")
    assert count == 4 * 3 + 7 * 2  # with the clips that no sentence finds
    tab.one(".chip .out").click()
    tab.until(lambda: shown(tab) == keys("red"), "all")
    tab.js("document.getElementById('advanced').open = true")
    for column, wrong in (("end_s", "end_s <"), ("colour", "colour == 1")):
        write_filter(tab, wrong)
        tab.until(lambda column=column: column in tab.one("#where-note.problem").text, "what is wrong")
        assert tab.all("#where[aria-invalid=true]")
    write_filter(tab, "end_s < 5")
    tab.until(lambda: shown(tab) == keys("red", where="end_s < 5"), "filtered")


def test_similar_by_a_stream(tab, keys):
    tab.open(q="red")
    clip = tab.hits()[0]
    tab.one(".hit .similar summary").click()
    by = next(it for it in tab.all(".hit .similar a") if it.text == "by motion")
    by.click()
    found = keys(like=name_of(clip["key"]), only=("motion",))
    tab.until(lambda: shown(tab) == found, "like its motion")


def test_by_video(tab, keys):
    tab.open(q="red")
    tab.one("[name=by_video]").click()
    tab.until(lambda: len(tab.all("li.video")) > 5, "videos")
    videos = [hit["videoKey"] for hit in tab.hits()]
    assert list(dict.fromkeys(videos)) == keys("red", by_video=True)
    assert max(map(videos.count, videos)) == 3


def test_more(tab, keys):
    tab.open(q="red")
    for count in (48, len(keys("red", size=None))):
        tab.one(".more a").click()
        tab.until(lambda count=count: len(shown(tab)) == count, f"{count} hits")
    assert shown(tab) == keys("red", size=None)
    assert not tab.all(".more a")


def test_without_scripts(tab, keys):
    tab.cdp("Emulation.setScriptExecutionDisabled", value=True)
    tab.open("/")
    search(tab, "red")
    tab.until(lambda: shown(tab) == keys("red"), "hits")
    tab.one(".more a").click()
    tab.until(lambda: shown(tab) == keys("red", size=None)[24:48], "the following ones")
    tab.one(".hit a.open").click()
    media = tab.one("main .clip .media")
    tab.until(lambda: media.get_property("readyState") >= 2, "its moment")
    media.send_keys(" ")
    zero = media.get_property("currentTime")
    tab.until(lambda: media.get_property("currentTime") > zero + 0.5, "it plays")


def test_a_lost_list_is_a_sentence(tab):
    tab.expected |= {400, 404}
    tab.open(q="red", token="lost.1")
    assert "search again" in tab.one("[role=alert]").text


def test_where_nothing_can_be_stored_no_search_can_be_saved(tab):
    off = (
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('off', 'SecurityError') }})"
    )
    made = tab.cdp("Page.addScriptToEvaluateOnNewDocument", source=off)
    for path in ("/", "/?q=red"):
        tab.open(path)
        assert not [each for each in tab.all("#saved, #save") if each.is_displayed()]
    tab.cdp("Page.removeScriptToEvaluateOnNewDocument", **made)
    tab.open(q="red")
    tab.js("localStorage['mee.saved'] = '[3]'")  # something else has written it
    tab.driver.refresh()
    tab.one("#save").click()
    assert tab.js("return localStorage['mee.saved']") == '[["red","?q=red"]]'
