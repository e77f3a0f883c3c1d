"""Summary: the figures of an entry in a sentence or two, for a reader who knows no metric."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.report.comparison import questions
from scripts.report.entry import NAMES, WAYS, Entry, Way
from scripts.report.figures import Figure, count, listed, number, rank_text

ASKED: dict[Way, tuple[str, str, str]] = {
    "text_to_video": ("query", "queries", "clip"),
    "video_to_text": ("clip", "clips", "caption"),
}


def sentences(entry: Entry) -> list[str]:
    """One for each direction, and one for multiple choice."""
    said = [_direction(entry, way) for way in WAYS]
    if entry.choice is not None:
        questions, accuracy = entry.choice
        said.append(f"Of {count(questions, 'question')}, {_percent(accuracy)} choose the clip's own sentence.")
    return [sentence for sentence in said if sentence]


def _direction(entry: Entry, way: Way) -> str:
    outcome = entry.outcome(way)
    if outcome is None:
        return ""
    one, many, answer = ASKED[way]
    found = [
        f"{_percent(outcome.figures[name])} find a right {answer} {place}"
        for name, place in (("R@1", "first"), ("R@10", "among the first ten"))
        if name in outcome.figures
    ]
    median = outcome.figures.get("MedR")
    if median is not None:
        found.append(f"half of all {many} find it by rank {rank_text(round(median.value, 1))}")
    if not found:
        return ""
    candidates = count(outcome.candidates, "clip" if way == "text_to_video" else "caption")
    start = f"{NAMES[way].capitalize()}: of {count(outcome.queries, one, many)} among {candidates}"
    return f"{start}, {listed(found)}."


def _percent(figure: Figure) -> str:
    """24.1 % (95 % …): the interval or the deviation stands behind."""
    if figure.std is not None:
        return f"{number(figure.value)} ± {number(figure.std)} %"
    return f"{number(figure.value)} %" + (f" ({figure.spread})" if figure.spread else "")


def title(entries: Sequence[Entry]) -> str:
    """Of the whole report."""
    protocols = list(dict.fromkeys(entry.first.protocol.title for entry in entries))
    if len(entries) == 1:
        return f"{entries[0].label} on {protocols[0]}"
    if len(protocols) == 1:
        return f"{len(entries)} systems on {protocols[0]}"
    return f"{len(entries)} systems on {count(len(protocols), 'protocol')}"


def same_question(entries: Sequence[Entry]) -> bool:
    """Whether one table may hold them all."""
    return len(questions(entries)) == 1
