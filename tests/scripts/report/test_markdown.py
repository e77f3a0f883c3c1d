"""Markdown: as a reader of GitHub's dialect sees it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from scripts.report.entry import make_entries
from scripts.report.page import markdown, safe

GITHUB = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def shown(html):
    """The text that a reader sees."""
    from html import unescape

    return unescape(re.sub(r"<[^>]*>", "", html))


def test_tables_render_with_every_row_as_wide_as_its_head(make_result):
    entries, _ = make_entries([make_result(0), make_result(1), make_result(2, changes={"system.name": "x|y"})])
    html = GITHUB.render(markdown(entries))
    tables = html.split("<table>")[1:]
    assert len(tables) == 2 + 2 * 7  # figures both ways; removed, schemes, patterns, weights, best, worst, facts
    for table in tables:
        heads = len(re.findall(r"<th[ >]", table))
        rows = table.partition("<tbody>")[2].split("<tr>")[1:]
        assert rows
        assert all(row.count("<td") == heads for row in rows)
    assert "x|y" in html
    assert "± " in html


@given(st.text(max_size=60))
def test_text_from_files_stays_text(text):
    html = GITHUB.render(f"| a | b |\n| --- | --- |\n| {safe(text)} | end |\n")
    assert html.count("<td") == 2
    cell = html.partition("<tbody>")[2].partition("<td>")[2].partition("</td>")[0]
    assert "<" not in cell
    assert set(re.findall(r"<(\w+)", GITHUB.render(f"a\n\n{safe(text)}\n"))) <= {"p"}


MARKUP = ["# no heading", "- no list", "12. no list", "[no](link)", "<b>no</b>", "`no`"]
MARKUP += ["a *b* _c_ ~~d~~", "&lt;", "\\|", "---"]


@pytest.mark.parametrize("text", MARKUP)
def test_markup_is_shown_as_it_is(text):
    assert shown(GITHUB.render(safe(text))).strip() == text


def test_no_link_and_nobody_is_called():
    assert shown(GITHUB.render(safe("see https://a.example or www.b.example"))).strip() == (
        "see https://a.example or www.b.example"
    )
    assert not re.search(r"https?:|www\.", safe("https://a.example www.b.example"))
    assert "@someone" not in safe("thanks @someone")
    assert "R@1" in safe("R@1")
