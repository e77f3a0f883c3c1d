"""Comparison: which results answer one question, and in words how the others differ.

question    protocol, split, query rule, queries, gallery, what is missing, ties: a table holds one question only
difference  everything else that moves figures: normalisation, v2t convention, selection, training, files
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from scripts.report.entry import Entry, Way
from scripts.report.facts import SELECTED, against
from scripts.report.figures import listed
from scripts.report.marks import normalisation_text


@dataclass(frozen=True)
class Difference:
    """One thing in which entries differ."""

    what: str
    why: str  # what it does to figures
    values: tuple[tuple[str, tuple[str, ...]], ...]  # (value, labels of the entries that have it)

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        values = "; ".join(f"{value} ({listed(names)})" for value, names in self.values)
        return f"{self.what}: {values}. {self.why}"


def _protocol(entry: Entry) -> str:
    facts = entry.first.protocol
    return f"{facts.name}, split {facts.split}, {facts.query_rule}"


def _partial(entry: Entry) -> str:
    facts = entry.first.protocol
    if not facts.partial:
        return "complete"
    why = "; ".join(facts.missing) or (f"{len(facts.left_out):,} videos left out" if facts.left_out else "")
    return f"partial: {why}" if why else "partial"


ASPECTS: tuple[tuple[str, Callable[[Entry], str], str], ...] = (
    ("Protocol", _protocol, "Figures of different protocols must not be compared."),
    (
        "Gallery",
        lambda e: f"{against(e.first.protocol.gallery, e.first.protocol.expected_gallery)} clips",
        "The fewer clips there are, the higher the figures.",
    ),
    (
        "Queries",
        lambda e: against(e.first.protocol.queries, e.first.protocol.expected_queries),
        "They are not the same set of questions.",
    ),
    ("Completeness", _partial, "A partial figure is not the protocol's."),
    ("Ties", lambda e: e.first.rules.ties, "Another rule for ties gives other ranks."),
    (
        "Video-to-text convention",
        lambda e: e.first.rules.v2t if e.first.video_to_text else "not measured",
        "The conventions give different figures for the same scores; they stand in tables of their own.",
    ),
    (
        "Normalisation",
        lambda e: normalisation_text(e.first.rules.normalisation),
        "It raises figures without another model.",
    ),
    (
        "Epoch chosen on",
        lambda e: SELECTED[e.first.system.selected_on],
        "Selection on test makes figures too high.",
    ),
    (
        "Trained on",
        lambda e: e.first.system.trained_on or "nobody said",
        "Other training, other figures.",
    ),
    (
        "Clips without any stream",
        lambda e: f"{len(e.first.protocol.without_stream):,}",
        "Those clips cannot be found.",
    ),
)


def differences(entries: Sequence[Entry]) -> list[Difference]:
    """In what the entries differ, apart from the system itself."""
    found = []
    for what, value, why in ASPECTS:
        values: dict[str, list[str]] = {}
        for entry in entries:
            values.setdefault(value(entry), []).append(entry.label)
        if len(values) > 1:
            found.append(Difference(what, why, tuple((text, tuple(names)) for text, names in values.items())))
    return [*found, *_files(entries)]


def _files(entries: Sequence[Entry]) -> list[Difference]:
    """Annotation files of one role and one protocol with different contents."""
    roles: dict[tuple[str, str], dict[str, list[str]]] = {}
    for entry in entries:
        for role, file in entry.first.protocol.files.items():
            roles.setdefault((entry.first.protocol.name, role), {}).setdefault(file, []).append(entry.label)
    return [
        Difference(
            f"Annotation file ({role}, {protocol})",
            "The captions or the split may not be the same.",
            tuple((file, tuple(names)) for file, names in files.items()),
        )
        for (protocol, role), files in roles.items()
        if len(files) > 1
    ]


def questions(entries: Sequence[Entry], way: Way | None = None) -> list[list[Entry]]:
    """Entries that answer the same question, group by group; video to text also by the same convention."""
    groups: dict[Hashable, list[Entry]] = {}
    for entry in entries:
        facts, rules = entry.first.protocol, entry.first.rules
        key = (
            *(facts.name, facts.split, facts.query_rule, facts.queries, facts.gallery),
            *(facts.partial, facts.missing, facts.left_out),
            *(rules.ties, rules.v2t if way == "video_to_text" else ""),
        )
        groups.setdefault(key, []).append(entry)
    return list(groups.values())


def question_title(entry: Entry) -> str:
    """What is asked, in a line: MSR-VTT …: 1,000 queries, 1,000 clips, partial."""
    facts = entry.first.protocol
    tail = ", partial" if facts.partial else ""
    return (
        f"{facts.title} ({facts.name}, {facts.split}): {facts.queries:,} queries "
        f"({facts.query_rule}), {facts.gallery:,} clips{tail}"
    )
