"""The report as Markdown (GitHub's tables), for a README or an issue.

Text from files is escaped: it cannot become markup, a link, a cell or a line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mee.evaluation.result import Query
from scripts.console import visible
from scripts.report.comparison import differences, question_title, questions
from scripts.report.entry import NAMES, WAYS, Entry, Way
from scripts.report.facts import facts
from scripts.report.figures import Figures, legend, number, rank_text, shared_names
from scripts.report.marks import marks
from scripts.report.query_cards import cut
from scripts.report.summary import sentences, title
from scripts.report.tables_of_text import BRIEF, pattern_rows, variant_rows

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~$&#])")
SHOWN_QUERIES = 5


def markdown(entries: Sequence[Entry], notes: Sequence[str] = ()) -> str:
    """The whole document."""
    parts = [f"# {safe(title(entries))}"]
    if len(entries) == 1:
        parts += [_marks(entries[0]), *(safe(sentence) for sentence in sentences(entries[0]))]
    if found := differences(entries) if len(entries) > 1 else []:
        lines = "\n".join(f"- {safe(difference.sentence)}" for difference in found)
        parts.append(f"**These results differ in more than the system. Compare with care:**\n\n{lines}")
    used: list[Figures] = []
    for group in questions(entries):
        parts.append(f"## {safe(question_title(group[0]))}")
        for way in WAYS:
            for same in questions(group, way):
                parts += _direction(same, way, used, marked=len(entries) > 1)
        parts += _choice(group)
    if used:
        spread = "Behind a number: its interval, or ± its deviation over seeds."
        parts.append(f"{safe(legend(shared_names(used)))} {spread}")
    for entry in entries:
        parts += _details(entry, several=len(entries) > 1)
    parts += [safe(note) for note in notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def safe(text: str) -> str:
    """Text that Markdown takes as text, on one line."""
    text = SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))
    text = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", text)  # no list,
    text = re.sub(r"^([-+=])", r"\\\1", text)  # no list or heading of its own,
    text = re.sub(r"(?<!\w)@", "@\u200b", text)  # calls nobody,
    return re.sub(r"(?i)\b(https?|ftp|mailto|www)([:.])", _entity, text)  # and is no link by itself


def _entity(found: re.Match[str]) -> str:
    return f"{found[1]}&#{ord(found[2])};"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Cells are Markdown already."""
    rule = ["---" if at < words else "---:" for at in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def _safe_rows(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[safe(cell) for cell in row] for row in rows]


def _marks(entry: Entry) -> str:
    return "\n".join(
        f"- {'⚠ ' if mark.kind == 'warning' else ''}**{safe(mark.label)}**: {safe(mark.sentence)}"
        for mark in marks(entry)
    )


def _name(entry: Entry, marked: bool) -> str:
    found = marks(entry) if marked else []
    labels = [("⚠ " if mark.kind == "warning" else "") + safe(mark.label) for mark in found]
    return safe(entry.label) + (f" (**{', '.join(labels)}**)" if labels else "")


def _figure_table(head: str, rows: Sequence[tuple[str, Figures]]) -> str:
    names = shared_names([figures for _, figures in rows])
    lines = []
    for label, figures in rows:
        cells = [figures.get(name) for name in names]
        lines.append(
            [label, *("–" if f is None else f.text + (f" ({f.spread})" if f.spread else "") for f in cells)]
        )
    return _table([safe(head), *map(safe, names)], lines)


def _direction(entries: Sequence[Entry], way: Way, used: list[Figures], *, marked: bool) -> list[str]:
    outcomes = [(entry, outcome) for entry in entries if (outcome := entry.outcome(way)) is not None]
    if not outcomes:
        return []
    used += [outcome.figures for _, outcome in outcomes]
    rule = f" ({entries[0].first.rules.v2t})" if way == "video_to_text" else ""
    return [_figure_table(f"{NAMES[way]}{rule}", [(_name(entry, marked), o.figures) for entry, o in outcomes])]


def _choice(entries: Sequence[Entry]) -> list[str]:
    rows = [(_name(e, len(entries) > 1), {"accuracy": e.choice[1]}) for e in entries if e.choice is not None]
    return [_figure_table("multiple choice, percent", rows)] if rows else []


def _details(entry: Entry, *, several: bool) -> list[str]:
    parts = [f"## {safe(entry.label)}", _marks(entry)] if several else []
    mark = "###" if several else "##"
    if rows := variant_rows(entry, "removed"):
        parts += [f"{mark} Without one stream", _table(["text to video", *BRIEF], _safe_rows(rows))]
    if rows := variant_rows(entry, "schemes"):
        parts += [f"{mark} Other ways to score", _table(["text to video", *BRIEF], _safe_rows(rows))]
    if rows := pattern_rows(entry):
        header = ["streams of the right clip", "clips", "queries", *BRIEF]
        parts += [f"{mark} By available streams", _table(header, _safe_rows(rows))]
    if entry.weights is not None:
        rows = [[name, f"{many:,}", *map(number, shares)] for name, many, shares in entry.weights.rows]
        header = ["queries", "how many", *map(safe, entry.weights.experts)]
        parts += [f"{mark} Mean mixture weights, percent", _table(header, _safe_rows(rows))]
    for name, chosen in (("Best", entry.first.best), ("Worst", entry.first.worst)):
        if chosen:
            parts += [f"{mark} {name} queries", _queries(chosen[:SHOWN_QUERIES])]
    rows = [[safe(what), safe(value)] for what, value in facts(entry)]
    return [*parts, f"{mark} How it was measured", _table(["fact", "value"], rows, words=2)]


def _queries(queries: Sequence[Query]) -> str:
    rows = [
        [cut(q.caption or q.query_id), q.right.clip_id, q.top[0].clip_id if q.top else "–", rank_text(q.rank)]
        for q in queries
    ]
    return _table(["query", "right clip", "first answer", "rank"], _safe_rows(rows), words=3)
