"""The page, read from its source: what browsers, screen readers and keyboards need, and nothing from outside."""

import json
import re
from itertools import pairwise

import pytest

from scripts.report.entry import make_entries
from scripts.report.page import page

NAMES = ("one", "several", "choice")
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&<b>\x1b[31m\u202e]]>--><svg onload=x>"


@pytest.fixture(params=NAMES)
def root(request, pages, parse):
    return parse(pages[request.param])


def test_it_has_a_language_a_title_and_its_landmarks_once(root):
    (html,) = root.all("html")
    assert html.attributes["lang"] == "en"
    assert root.all("title")[0].text.endswith(": retrieval report")
    for landmark in ("header", "nav", "main", "footer"):
        assert len(root.all(landmark)) == 1, landmark
    assert root.all("nav")[0].attributes["aria-label"]
    named = {node.attributes.get("name"): node.attributes.get("content") for node in root.all("meta")}
    assert named["viewport"] == "width=device-width, initial-scale=1"
    assert named["color-scheme"] == "light dark"


def test_headings_go_down_step_by_step(root):
    levels = [int(node.tag[1]) for node in root.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(node.text for node in root.all("h1", "h2", "h3", "h4", "h5"))


def test_ids_are_unique_and_everything_that_is_pointed_at_is_there(root):
    ids = [node.attributes["id"] for node in root if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    pointed = [word for node in root for word in node.attributes.get("aria-labelledby", "").split()]
    pointed += [node.attributes["href"].removeprefix("#") for node in root.all("a")]
    assert pointed
    assert set(pointed) <= set(ids)
    assert root.all("a")[0].attributes["href"] == "#main"  # the way past the head


def test_tables_have_a_caption_of_their_own_and_heads_with_a_scope(root):
    tables = root.all("table")
    captions = [table.all("caption")[0].text for table in tables]
    assert len(captions) == len(set(captions)) == len(tables)
    for table in tables:
        heads = [node.attributes.get("scope") for node in table.all("th")]
        assert set(heads) == {"col", "row"}
        widths = {len(row.all("th", "td")) for row in table.all("tr")}
        assert len(widths) == 1, "a row lacks cells"
        for row in table.all("tbody")[0].all("tr"):
            assert row.children[0].tag == "th"


def test_wide_tables_scroll_in_regions_that_keys_reach(root):
    for table in root.all("table"):
        region = table.parent.attributes
        if len(table.all("thead")[0].all("th")) > 3:
            assert (region["role"], region["tabindex"], region["class"]) == ("region", "0", "scroll")
            assert region["aria-labelledby"] == table.all("caption")[0].attributes["id"]


def test_pictures_say_what_they_show(root):
    for svg in root.all("svg"):
        if svg.attributes.get("aria-hidden") == "true":
            continue
        assert svg.attributes["role"] == "img"
        title, about = svg.children[:2]
        assert (title.tag, about.tag) == ("title", "desc")
        assert title.text
        assert len(about.text) > 40
        assert svg.attributes["aria-labelledby"].split() == [title.attributes["id"], about.attributes["id"]]
    for figure in root.all("main")[0].all("figure"):
        assert figure.children[0].tag == "figcaption"
        assert figure.all("details")[0].all("table"), "a picture without its numbers"
    assert all(node.children[0].tag == "summary" and node.children[0].text for node in root.all("details"))


def test_lists_hold_items_and_svg_stays_in_place(root):
    for node in root.all("ul", "ol"):
        assert node.children
        assert {child.tag for child in node.children} == {"li"}
    for node in root.all("p"):
        assert not node.all("p", "div", "ul", "table", "figure"), "a paragraph holds no block"


def test_nothing_is_fetched_and_nothing_runs(root, pages):
    assert root.all("script", "link", "iframe", "object", "embed", "form", "base") == []
    for node in root:
        assert not [name for name in node.attributes if name.startswith("on")]
        assert node.attributes.get("src", "data:image/webp;base64,").startswith("data:image/webp;base64,")
        assert node.attributes.get("href", "#").startswith("#")
        assert "style" not in node.attributes
    for text in pages.values():
        assert not re.search(r"url\(|@import|https?://", text)


def test_lines_differ_in_dash_and_shape_not_only_in_colour(pages, parse):
    root = parse(pages["several"])
    key = next(node for node in root.all("ul") if node.attributes.get("class") == "key")
    kinds = [
        next(child for child in item.all("svg")[0].children if child.tag != "line").tag for item in key.children
    ]
    styles = [item.all("line")[0].attributes["class"] for item in key.children]
    assert len(set(styles)) == len(styles) >= 2
    assert len(set(kinds)) >= 2
    dashes = re.findall(r"\.s\d\{stroke:var\(--s\d\);stroke-dasharray:([^}]*)\}", root.all("style")[0].text)
    assert len(dashes) == len(set(dashes)) == 6


def evil(value):
    """The same result with hostile text wherever text may stand."""
    if isinstance(value, dict):
        return {
            (key if key[0].islower() or "@" in key or "R" in key else key + EVIL): evil(v)
            for key, v in value.items()
        }
    if isinstance(value, list):
        return [evil(item) for item in value]
    return value + EVIL if isinstance(value, str) else value


def test_text_from_files_never_becomes_markup(make_result, parse):
    whole = json.loads(make_result().model_dump_json())
    kept = {"format": "mee-result", "version": 1}
    spoilt = evil(whole) | kept
    spoilt["system"] |= {"kind": "model", "selected_on": "test"}
    spoilt["rules"]["normalisation"]["method"] = "nnn"
    spoilt["protocol"]["files"] = {"a" + EVIL: EVIL}
    spoilt["protocol"]["streams"] = {EVIL: 3}
    from mee.evaluation.result import Result

    result = Result.model_validate_json(json.dumps(spoilt))
    other = Result.model_validate_json(json.dumps(spoilt | {"removed": []}))
    text = page(make_entries([result, other])[0], notes=[EVIL])
    plain = page(make_entries([make_result(), make_result(changes={"removed": []})])[0])
    root = parse(text)
    assert {node.tag for node in root} == {node.tag for node in parse(plain)} | {"span", "ul", "li", "strong"}
    assert root.all("script") == []
    assert not [name for node in root for name in node.attributes if name.startswith("on")]
    assert "\x1b" not in text


def test_large_results_make_small_pages(make_result):
    recall = [[k, min(100.0, k / 500)] for k in range(1, 50_001)]
    left = [f"video{number}" for number in range(20_000)]
    patterns = [
        {
            "streams": [f"s{bit}" for bit in range(10) if n >> bit & 1],
            "clips": 1,
            "queries": n,
            "text_to_video": {"R@1": 1.0},
        }
        for n in range(1024)
    ]
    changes = {
        "text_to_video.recall": recall,
        "protocol.left_out": left,
        "protocol.partial": True,
        "patterns": patterns,
    }
    text = page(make_entries([make_result(changes=changes)])[0])
    assert len(text) < 200_000
    assert "960 rarer patterns" in text


def test_sections_without_anything_are_left_out(pages, parse):
    root = parse(pages["choice"])
    assert [node.text for node in root.all("nav")[0].all("a")] == ["Figures", "How it was measured"]
    assert "Of 500 questions, 71.3 % (68.0–74.5) choose the clip's own sentence." in root.all("header")[0].text


def test_it_says_the_result_in_words(pages, parse):
    said = parse(pages["one"]).all("header")[0].text
    assert re.search(
        r"of 1,000 queries among 1,000 clips, [\d.]+ % \([\d.]+–[\d.]+\) find a right clip first", said
    )


def test_the_same_results_make_the_same_page(make_result):
    entries = make_entries([make_result(0), make_result(1)])[0]
    assert page(entries) == page(make_entries([make_result(0), make_result(1)])[0])


def test_each_seed_stands_below_the_mean(make_result, parse):
    results = [make_result(seed) for seed in (0, 1)]
    root = parse(page(make_entries(results)[0]))
    table = next(t for t in root.all("table") if t.all("caption")[0].text == "Each seed of small, text to video.")
    rows = [[cell.text for cell in row.all("th", "td")] for row in table.all("tbody")[0].all("tr")]
    assert [row[0] for row in rows] == ["0", "1"]
    assert rows[1][1].startswith(f"{results[1].text_to_video.metrics['R@1']:.1f}")


def test_nonsense_in_a_result_draws_something(make_result, parse):
    """A file by other hands may hold numbers that no evaluation gives."""
    rows = [{"name": "audio", "text_to_video": {"R@1": 1e300}, "video_to_text": {"R@1": -1e300}}]
    changes = {
        "text_to_video.recall": [[-5, 1e9], [0, 3.0], [1, -4.0]],
        "text_to_video.histogram": [["1", -5], ["2", 5], ["3", 7]],
        "text_to_video.metrics": {"R@1": 1e300, "x": -0.0},
        "video_to_text.metrics": {},
        "video_to_text.recall": [],
        "removed": rows,
        "weights.rows": [["all", 0, [-1e9, 1e9, 0.0, 50.0]]],
        "patterns": [{"streams": [], "clips": 0, "queries": 0, "text_to_video": {}}],
    }
    root = parse(page(make_entries([make_result(changes=changes)])[0]))
    assert len(root.all("svg")) >= 3
    assert "no stream" in root.text
