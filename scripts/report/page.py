"""The page: one HTML file with everything in it; no script, no request, readable without colours or a mouse.

header (title, marks, what it says in words), nav, main (a section a picture), footer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.report import sections
from scripts.report.elements import Html, element
from scripts.report.entry import Entry
from scripts.report.frames import Moment, Shot
from scripts.report.marks import marks
from scripts.report.style import css
from scripts.report.summary import sentences, title

INTROS = {
    "figures": ("Figures", ""),
    "recall": (
        "Recall",
        "How many queries are answered if one looks at the first K answers. A steep start is what a search needs.",
    ),
    "ranks": (
        "Ranks",
        "Where the right answer lands. A long tail at the bottom is what raises the mean rank.",
    ),
    "weights": (
        "How much each expert counts",
        "Which experts the mixture listens to, by kind of query.",
    ),
    "drops": (
        "Without one stream",
        "What is lost when a stream is removed from every clip; above zero the stream helps, below it harms.",
    ),
    "schemes": ("Other ways to score", "The same embeddings without the mixture, and each expert alone."),
    "patterns": (
        "By available streams",
        "Clips lack streams: no sound track, no face. Queries whose right clip has exactly these streams:",
    ),
    "queries": (
        "Best and worst queries",
        "What was asked, the clip that was right, and the first answers with their scores.",
    ),
    "measured": ("How it was measured", ""),
}


def page(entries: Sequence[Entry], shots: Mapping[Moment, Shot] | None = None, notes: Sequence[str] = ()) -> str:
    """The whole document.

    Args:
        entries: one or several.
        shots: frames of clips; None where no folder of videos was named.
        notes: sentences about the report itself.
    """
    made = {
        "figures": sections.figures(entries),
        "recall": sections.recall(entries),
        "ranks": sections.histograms(entries),
        "weights": sections.weights(entries),
        "drops": sections.drops(entries),
        "schemes": sections.schemes(entries),
        "patterns": sections.patterns(entries),
        "queries": sections.queries(entries, shots),
        "measured": sections.measured(entries),
    }
    there = {name: content for name, content in made.items() if content}
    name = title(entries)
    body = element(
        "body",
        element("a", "Skip to the figures", href="#main", class_="skip"),
        _header(name, entries, notes),
        element("nav", element("ul", *(_link(key) for key in there)), aria_label="Sections"),
        element("main", *(_section(key, content) for key, content in there.items()), id="main"),
        element("footer", element("p", f"Made by mee report, mee {entries[0].first.made.mee}. {_clips(shots)}")),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{name}: retrieval report"),
        element("style", Html(css())),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _header(name: str, entries: Sequence[Entry], notes: Sequence[str]) -> Html:
    single = entries[0] if len(entries) == 1 else None
    if single is not None:
        said = [element("p", sentence, class_="lead") for sentence in sentences(single)]
        shown: list[Html | None] = [sections.mark_list(marks(single)), *said]
    else:
        shown = [sections.warning_list(entries), *(_entry_marks(entry) for entry in entries)]
    return element(
        "header",
        element("p", "Retrieval report", class_="kicker"),
        element("h1", name),
        *shown,
        *(element("p", note, class_="muted") for note in notes),
    )


def _entry_marks(entry: Entry) -> Html:
    """In a comparison: an entry in words, its marks folded with their sentences."""
    found = sections.mark_list(marks(entry))
    return element(
        "details",
        element("summary", element("strong", entry.label), " ", sections.badges(entry)),
        *(element("p", sentence) for sentence in sentences(entry)),
        found,
    )


def _link(key: str) -> Html:
    return element("li", element("a", INTROS[key][0], href=f"#{key}"))


def _section(key: str, content: Html) -> Html:
    heading, intro = INTROS[key]
    return element(
        "section",
        element("h2", heading, id=f"{key}-heading"),
        element("p", intro, class_="intro") if intro else None,
        content,
        id=key,
        aria_labelledby=f"{key}-heading",
    )


def _clips(shots: Mapping[Moment, Shot] | None) -> str:
    if shots is None:
        return "No folder of videos was named, so no frames are shown."
    blank = sum(shot.uri is None for shot in shots.values())
    return f"Frames shown: {len(shots) - blank:,}; not to be had: {blank:,}."
