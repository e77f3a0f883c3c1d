"""The report on a terminal: a table a question and direction, then marks, differences and facts in words."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.console import print_table, results, visible
from scripts.report.comparison import differences, question_title, questions
from scripts.report.entry import NAMES, WAYS, Entry, Way
from scripts.report.facts import facts
from scripts.report.figures import Figures, shared_names
from scripts.report.marks import marks
from scripts.report.tables_of_text import BRIEF, pattern_rows, variant_rows

TOLD_APART = ("Protocol", "Directions", "Streams used", "Intervals", "Checkpoint", "Seed", "Annotation files")
SKIPPED = ("System", "Command", "Files", "Made")  # long, and in the other forms of the report


def print_report(entries: Sequence[Entry], notes: Sequence[str] = ()) -> None:
    """To stdout."""
    for group in questions(entries):
        _line(question_title(group[0]), "bold")
        for way in WAYS:
            for same in questions(group, way):
                _direction(same, way)
        _choice(group)
        _marks(group)
    if len(entries) == 1:
        _details(entries[0])
    if found := differences(entries) if len(entries) > 1 else []:
        _line("These results differ in more than the system. Compare with care:", "bold")
        for difference in found:
            _line(f"  ! {difference.sentence}")
    for note in notes:
        _line(note)
    _facts(entries)


def _direction(entries: Sequence[Entry], way: Way) -> None:
    rows = [(_name(entry), outcome.figures) for entry in entries if (outcome := entry.outcome(way)) is not None]
    if rows:
        if way == "video_to_text":
            _line(f"{NAMES[way]}: {entries[0].first.rules.v2t}", "italic")
        _table(NAMES[way], rows)
        print()


def _name(entry: Entry) -> str:
    """With its warnings, so that no figure stands without them."""
    warnings = [mark.label for mark in marks(entry) if mark.kind == "warning"]
    return entry.label + (f" [{', '.join(warnings)}]" if warnings else "")


def _table(title: str, rows: Sequence[tuple[str, Figures]]) -> None:
    names = shared_names([figures for _, figures in rows])
    lines = []
    for label, figures in rows:
        lines.append([label, *(figures[name].text if name in figures else "-" for name in names)])
        if any(figure.spread for figure in figures.values()):
            lines.append(["", *(figures[name].spread if name in figures else "" for name in names)])
    print_table("", [title, *names], lines)


def _choice(entries: Sequence[Entry]) -> None:
    rows = [(_name(entry), {"accuracy": entry.choice[1]}) for entry in entries if entry.choice is not None]
    if rows:
        _table("multiple choice, percent", rows)
        print()


def _marks(entries: Sequence[Entry]) -> None:
    for entry in entries:
        name = f"{entry.label}: " if len(entries) > 1 else ""
        for mark in marks(entry):
            sign = "!" if mark.kind == "warning" else "·"
            _line(f"  {sign} {name}{mark.label}. {mark.sentence}", "bold" if mark.kind == "warning" else None)
    print()


def _details(entry: Entry) -> None:
    if rows := variant_rows(entry, "removed"):
        print_table("", ["without one stream, text to video", *BRIEF], rows)
        print()
    if rows := variant_rows(entry, "schemes"):
        print_table("", ["scheme, text to video", *BRIEF], rows)
        print()
    if rows := pattern_rows(entry):
        print_table("", ["streams of the right clip", "clips", "queries", *BRIEF], rows)
        print()


def _facts(entries: Sequence[Entry]) -> None:
    """Those that all share once, the others by name."""
    known = [dict(facts(entry)) for entry in entries]
    for what in dict.fromkeys(what for table in known for what in table if what not in SKIPPED):
        values = [table.get(what, "-") for table in known]
        if len(set(values)) == 1:
            _line(f"{what}: {values[0]}")
        else:
            if what in TOLD_APART:  # the others stand among the differences, or with the marks
                _line(f"{what}: " + "; ".join(f"{value} ({entry.label})" for entry, value in zip(entries, values)))


def _line(text: str, style: str | None = None) -> None:
    results().print(visible(text), style=style, soft_wrap=True)
