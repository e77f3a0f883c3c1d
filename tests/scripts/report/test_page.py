"""The page, read from its source: structure, plots, query cards, hostile names, no requests."""

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mee.evaluation.result import Result
from scripts.report.entry import make_entries
from scripts.report.frames import Shot
from scripts.report.page import ANSWER_SHARES, RIGHT_SHARES, SHOWN_ANSWERS, page, wanted
from scripts.report.plots import COLOURS, MOST

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&<b>\x1b[31m\u202e]]>--><svg onload=x>"
URI = "data:image/webp;base64,AAAA"


@pytest.fixture(params=["one", "several", "choice"])
def root(request, pages, parse):
    return parse(pages[request.param])


def test_it_has_its_landmarks_headings_and_what_is_pointed_at(root):
    assert root.all("html")[0].attributes["lang"] == "en"
    assert root.all("title")[0].text.endswith(": retrieval report")
    assert [len(root.all(landmark)) for landmark in ("header", "nav", "main", "footer")] == [1] * 4
    named = {node.attributes.get("name"): node.attributes.get("content") for node in root.all("meta")}
    assert named["viewport"] == "width=device-width, initial-scale=1"
    assert named["color-scheme"] == "light dark"
    headings = root.all("h1", "h2", "h3", "h4", "h5", "h6")
    levels = [int(node.tag[1]) for node in headings]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(node.text for node in headings)
    ids = [node.attributes["id"] for node in root if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    pointed = [word for node in root for word in node.attributes.get("aria-labelledby", "").split()]
    hrefs = [node.attributes.get("href") or node.attributes.get("xlink:href") for node in root.all("a", "use")]
    assert hrefs[0] == "#main"  # the way past the head
    assert {*pointed, *(href.removeprefix("#") for href in hrefs)} <= set(ids)


def test_tables_have_a_caption_of_their_own_and_wide_ones_scroll(root):
    tables = root.all("table")
    assert len({table.all("caption")[0].text for table in tables}) == len(tables)
    for table in tables:
        assert {node.attributes.get("scope") for node in table.all("th")} == {"col", "row"}
        assert len({len(row.all("th", "td")) for row in table.all("tr")}) == 1, "a row lacks cells"
        assert all(row.children[0].tag == "th" for row in table.all("tbody")[0].all("tr"))
        if len(table.all("thead")[0].all("th")) > 3:
            region = table.parent.attributes
            assert (region["role"], region["tabindex"], region["class"]) == ("region", "0", "scroll")
            assert region["aria-labelledby"] == table.all("caption")[0].attributes["id"]


def test_pictures_have_a_description_and_the_colours_of_the_page(root):
    for svg in root.all("svg"):
        title, about = svg.children[:2]
        assert svg.attributes["role"] == "img"
        assert svg.attributes["aria-labelledby"].split() == [title.attributes["id"], about.attributes["id"]]
        assert title.text
        assert len(about.text) > 40
        styles = " ".join(node.attributes.get("style", "") for node in svg)
        assert set(re.findall(r"var\(--(\w+)\)", styles)) <= set(COLOURS)
        assert not re.search(r"#[0-9a-f]{6}|font-family", styles)
    for figure in root.all("main")[0].all("figure"):
        assert figure.all("details")[0].all("table"), "a picture without its numbers"


def test_nothing_is_fetched_and_nothing_runs(root, pages):
    assert root.all("script", "link", "iframe", "object", "embed", "form", "base") == []
    for node in root:
        assert not [name for name in node.attributes if name.startswith("on")]
        assert node.attributes.get("src", URI).startswith("data:image/webp;base64,")
        assert all(node.attributes.get(name, "#").startswith("#") for name in ("href", "xlink:href"))
    for text in pages.values():
        assert not re.search(r"url\(|@import|https?://", text)


def evil(value):
    """The same result with hostile text in every text."""
    if isinstance(value, dict):
        plain = lambda key: key[0].islower() or "@" in key or "R" in key  # noqa: E731
        return {key if plain(key) else key + EVIL: evil(item) for key, item in value.items()}
    if isinstance(value, list):
        return [evil(item) for item in value]
    return value + EVIL if isinstance(value, str) else value


def test_text_from_files_never_becomes_markup(make_result, parse):
    whole = make_result()
    spoilt = evil(json.loads(whole.model_dump_json())) | {"format": "mee-result", "version": whole.version}
    spoilt["system"] |= {"kind": "model", "selected_on": "test", "missing": "evidence"}
    spoilt["rules"]["normalisation"]["method"] = "nnn"
    spoilt["protocol"] |= {"files": {"a" + EVIL: EVIL}, "streams": {EVIL: 3}}
    results = [Result.model_validate_json(json.dumps(one)) for one in (spoilt, spoilt | {"removed": []})]
    entries = make_entries(results)[0]
    text = page(entries, {one: Shot(reason=EVIL) for one in wanted(entries)}, notes=[EVIL])
    plain = make_entries([make_result(), make_result(changes={"removed": []})])[0]
    root = parse(text)
    tags = {node.tag for node in parse(page(plain, {one: Shot(reason="x") for one in wanted(plain)}))}
    assert {node.tag for node in root} == tags | {"span", "ul", "li", "strong"}
    assert not [name for node in root for name in node.attributes if name.startswith("on")]
    assert "\x1b" not in text


@given(name=st.text(min_size=1, max_size=40))
@settings(max_examples=10)
def test_any_name_stays_text(make_result, parse, name):
    less = {key: [] for key in ("removed", "schemes", "best", "worst")} | {"video_to_text": None, "weights": None}
    names = [make_result(seed, changes={**less, "system.name": text}) for seed, text in enumerate((name, "other"))]
    root = parse(page(make_entries(names)[0]))  # a strict reader
    assert not {"script", "b", "i"} & {node.tag for node in root}


def test_large_results_make_small_pages(make_page):
    names = [[f"s{bit}" for bit in range(10) if number >> bit & 1] for number in range(1024)]
    changes = {
        "text_to_video.recall": [[k, min(100.0, k / 500)] for k in range(1, 50_001)],
        "protocol.left_out": [f"video{number}" for number in range(20_000)],
        "protocol.partial": True,
        "patterns": [{"streams": n, "clips": 1, "queries": q, "text_to_video": {}} for q, n in enumerate(names)],
    }
    text = make_page(**changes)
    assert len(text) < 200_000
    assert "960 rarer patterns" in text


def test_the_result_in_words_the_heat_map_and_no_empty_sections(pages, parse):
    words = r"of 1,000 queries among 1,000 clips, [\d.]+ % \([\d.]+–[\d.]+\) find a right clip first"
    assert re.search(words, parse(pages["one"]).all("header")[0].text)
    for cell in ('<td class="h6">61.2</td>', '<td class="h1">9.3</td>'):  # darker is more
        assert cell in pages["one"]
    root = parse(pages["choice"])
    assert [node.text for node in root.all("nav")[0].all("a")] == ["Figures", "How it was measured"]
    assert "Of 500 questions, 71.3 % (68.0–74.5) choose the clip's own sentence." in root.all("header")[0].text


def test_each_seed_is_listed_and_the_page_is_reproducible(make_result, parse):
    results = [make_result(seed) for seed in (0, 1)]
    text = page(make_entries(results)[0])
    assert text == page(make_entries(results)[0])
    tables = {table.all("caption")[0].text: table for table in parse(text).all("table")}
    body = tables["Each seed of small, text to video."].all("tbody")[0]
    rows = [[cell.text for cell in row.all("th", "td")] for row in body.all("tr")]
    assert [row[0] for row in rows] == ["0", "1"]
    assert rows[1][1].startswith(f"{results[1].text_to_video.metrics['R@1']:.1f}")


def test_nonsense_in_a_result_draws_something(make_page, parse):
    """Another program may write numbers that no evaluation gives."""
    changes = {
        "text_to_video.recall": [[-5, 1e9], [0, 3.0], [1, -4.0]],
        "text_to_video.histogram": [["1", -5], ["2", 5], ["3", 7]],
        "text_to_video.metrics": {"R@1": 1e300, "x": -0.0},
        "video_to_text.metrics": {},
        "video_to_text.recall": [],
        "removed": [{"name": "audio", "text_to_video": {"R@1": 1e300}, "video_to_text": {"R@1": -1e300}}],
        "weights.rows": [["all", 0, [-1e9, 1e9, 0.0, 50.0]]],
        "patterns": [{"streams": [], "clips": 0, "queries": 0, "text_to_video": {}}],
    }
    root = parse(make_page(**changes))
    assert len(root.all("svg")) >= 3
    assert "no stream" in root.text


def test_plots_show_their_numbers(make_page):
    found = {"R@1": 20.0, "R@5": 55.0}
    changes = {
        "removed": [
            {"name": "audio", "text_to_video": {"R@1": 10.0, "R@5": 60.0}, "video_to_text": {"R@1": 10.0}},
            {"name": "face", "text_to_video": {"R@1": 24.0, "R@5": 52.0}, "video_to_text": {"R@1": 20.0}},
        ],
        "text_to_video.metrics": found,
        "video_to_text.metrics": found,
        "text_to_video.histogram": [["1", 50], ["2", 25], ["3-10", 0]],
        "text_to_video.recall": [[1, 20.0], [5, 55.0]],
    }
    text = make_page(**changes)
    for cell in ("10.0 (−10.0)", "60.0 (+5.0)", "24.0 (+4.0)", "52.0 (−3.0)"):
        assert f"<td>{cell}</td>" in text
    for words in ("50 (66.7 %)</text>", "3–10</text>", "55.0</text>", "without audio</text>", "55.0 % at K = 5"):
        assert words in text


def test_many_systems_share_a_plot_up_to_what_it_tells_apart(make_result, parse):
    results = [make_result(n, changes={"system.name": f"system {'abcdefgh'[n]}"}) for n in range(8)]
    text = page(make_entries(results)[0])
    assert "Recall, text to video, systems 7 to 8" in text
    first = next(svg for svg in parse(text).all("svg") if "systems 1 to 6" in svg.text)
    styles = " ".join(node.attributes.get("style", "") for node in first.all("path"))
    assert all(f"var(--s{place})" in styles for place in range(MOST))
    assert len(set(re.findall(r"stroke-dasharray: ([^;]*)", styles))) == MOST - 1  # and one without
    assert len({node.attributes["d"] for node in first.all("path") if "id" in node.attributes}) >= MOST  # markers


def test_frames_have_a_text_of_their_own_and_blanks_a_reason(make_result, parse):
    result = make_result(worst=500.5)
    entries, worst = make_entries([result])[0], result.worst[0]
    moments = list(dict.fromkeys(wanted(entries)))
    gone = {one for one in moments if one.clip_id == worst.right.clip_id and one.share in RIGHT_SHARES}
    shots = {one: Shot(reason="file cannot be read") if one in gone else Shot(URI, 4.75) for one in moments}
    root = parse(page(entries, shots))
    card = next(node for node in root.all("li") if node.all("h4") and "query ret20" in node.text)
    assert "Right clip at rank 500.5 · query ret20" in card.text
    shown = [f"Frame of {clip.clip_id} at 4.8 s" for clip in worst.top[:SHOWN_ANSWERS] for _ in ANSWER_SHARES]
    assert [node.attributes["alt"] for node in card.all("img")] == shown
    blanks = [node.text for node in card.all("div") if node.attributes.get("class") == "blank"]
    assert blanks == ["no frame: file cannot be read"] * len(RIGHT_SHARES)
    assert f"Frames shown: {len(moments) - len(gone)}; not available: 3." in root.all("footer")[0].text


def test_the_right_clip_is_marked_by_words_and_long_captions_are_cut(make_result, parse):
    paragraph = ("a man walks on. " * 40).strip()
    empty = make_result().worst[0].model_copy(update={"top": ()})
    result = make_result(captions=[paragraph]).model_copy(update={"worst": (empty,)})
    root = parse(page(make_entries([result])[0]))
    assert root.all("img") == []
    assert "no frames are shown" in root.all("footer")[0].text
    best, *_, worst = (node for node in root.all("li") if node.all("h4"))
    (first, second), heading = best.all("ol")[0].children[:2], best.all("h4")[0].text
    assert first.text.startswith("1. ✓ right video7010 score 0.610 0–9.5 s")
    assert "✓" not in second.text
    assert heading.endswith("a man walks on. …")
    assert len(heading) < 170
    assert best.all("details")[0].text == "All of the text" + paragraph
    assert worst.all("ol") == []
    assert "first answers" not in worst.text
