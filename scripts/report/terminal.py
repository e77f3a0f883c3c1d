"""The report on a terminal: a table a question and direction, then marks, differences and facts in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mee.evaluation import MEAN
from scripts.console import print_line, print_table
from scripts.report.compare import differences, facts, figure_tables, marks, question_title, questions
from scripts.report.entry import Entry, Figures, Kind, shared_names

BRIEF = ("R@1", "R@5", "R@10", "MedR")
TOLD_APART = ("Protocol", "Directions", "Streams used", "Intervals", "Checkpoint", "Seed", "Annotation files")
SKIPPED = ("System", "Command", "Files", "Made")  # long, and in the other forms of the report


def print_report(entries: Sequence[Entry], notes: Sequence[str] = ()) -> None:
    """To stdout."""
    several = len(entries) > 1
    for group in questions(entries):
        print_line(question_title(group[0]), "bold")
        for what, rule, rows in figure_tables(group):
            _figures(f"{what}: {rule}" if rule else "", what, rows)
        for entry in group:
            for mark in marks(entry):
                sign, style = ("!", "bold") if mark.kind == "warning" else ("·", None)
                print_line(f"  {sign} {entry.label + ': ' if several else ''}{mark.words}. {mark.sentence}", style)
        print()
    if not several:
        for table in details(entries[0]):
            print_table(*table)
            print()
    if found := differences(entries):
        print_line("These results differ in more than the system. Compare with care:", "bold")
        for what, values in found.items():
            print_line(f"  ! {what}: {values}")
    for note in notes:
        print_line(note)
    _facts(entries)


def details(entry: Entry) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Tables below the figures, text to video: (name, header, rows); empty ones are skipped."""
    kinds: dict[str, Kind] = {"Without one stream": "removed", "Other ways to score": "schemes"}
    for name, kind in kinds.items():
        if variants := entry.variants(kind):
            rows = [[label, *_texts(ways["text_to_video"], BRIEF)] for label, ways in variants.items()]
            yield name, ["text to video", *BRIEF], rows
    if found := entry.patterns:
        rows = [[p.streams, f"{p.clips:,}", f"{p.queries:,}", *_texts(p.figures, BRIEF)] for p in found]
        yield "By available streams", ["streams of the right clip", "clips", "queries", *BRIEF], rows


def _texts(figures: Figures, names: Sequence[str]) -> list[str]:
    return [figures[name].text if name in figures else "–" for name in names]


def _figures(name: str, what: str, rows: Sequence[tuple[Entry, Figures]]) -> None:
    """Warnings are beside the name, so that no figure is without them; intervals are below their numbers."""
    found = shared_names(figures for _, figures in rows)
    apart = any(figure.is_difference for figure in rows[0][1].values())
    what = "difference" if apart else what
    names = [name for name in found if (name in (*BRIEF, MEAN) if apart else name != MEAN)]  # a line holds no more
    lines = []
    for entry, figures in rows:
        warnings = ", ".join(mark.words for mark in marks(entry) if mark.kind == "warning")
        label = f"{entry.label} [{warnings}]" if warnings else entry.label
        lines.append([label, *_texts(figures, names)])
        if any(figure.spread for figure in figures.values()):
            lines.append(["", *(figures[name].spread if name in figures else "" for name in names)])
    print_table(name, [what, *names], lines)
    print()


def _facts(entries: Sequence[Entry]) -> None:
    """Those that all share once, the others by name."""
    known = [facts(entry) for entry in entries]
    for what in dict.fromkeys(what for table in known for what in table if what not in SKIPPED):
        values = [table.get(what, "–") for table in known]
        if len(set(values)) == 1:
            print_line(f"{what}: {values[0]}")
        elif what in TOLD_APART:  # the others are among the differences or marks
            print_line(
                f"{what}: " + "; ".join(f"{value} ({entry.label})" for entry, value in zip(entries, values))
            )
