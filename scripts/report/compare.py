"""Comparison: which results answer one question, how others differ, and what each says of itself, in words.

question    protocol, split, query rule, queries, gallery, what is missing, ties: a table is of one question only
difference  everything else that moves figures: normalisation, v2t convention, selection, training, files
mark        what a reader must know before the figures, a few words and a sentence:
            a warning where the figure is not the protocol's, or too high; a note where it is needed to compare
fact        everything that a result has to state beside its figures
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mee.errors import count
from mee.evaluation import Normalisation, ProtocolFacts, Result
from scripts.report.entry import NAMES, WAYS, Entry, Figure, Figures, Way, listed, short

METHODS = {"qb-norm": "QB-Norm", "nnn": "NNN", "dsl": "DSL"}
SELECTED = {"validation": "validation captions", "test": "the test captions it is measured on"}
SELECTED |= {"nothing": "nothing: the last epoch, or no training", "unknown": "nobody said"}
MISSING = {
    "evidence": "; missing ones add nothing",
    "renormalise": "; missing ones leave their weight to the others",
}
ASKED: tuple[tuple[Way, str, str, str], ...] = (
    ("text_to_video", "query", "queries", "clip"),
    ("video_to_text", "clip", "clips", "caption"),
)
PAIRED = "paired by query, ± standard error clustered by clip"
SHOWN_IDS = 20  # of a longer list; the result file has all
Kind = Literal["warning", "note"]


@dataclass(frozen=True)
class Mark:
    """One visible mark; a warning has a sign, so that it does not need its colour."""

    words: str
    sentence: str
    kind: Kind

    @property
    def label(self) -> str:
        """The few words."""
        return f"⚠ {self.words}" if self.kind == "warning" else self.words


WHY = {  # what a difference in a fact does to figures
    "Protocol": "Figures of different protocols must not be compared.",
    "Split": "Other clips and captions are asked for.",
    "Query rule": "They are not the same set of questions.",
    "Queries": "They are not the same set of questions.",
    "Captions": "They are not the same set of questions.",
    "Gallery": "The fewer clips there are, the higher the figures.",
    "Complete": "A partial figure is not the protocol's.",
    "Ties": "Another rule for ties gives other ranks.",
    "Video to text": "Conventions give different figures for the same scores; each has a table of its own.",
    "Normalisation": "It raises figures without another model.",
    "Epoch chosen on": "Selection on test makes figures too high.",
    "Trained on": "Other training, other figures.",
    "Clips without a stream": "Those clips cannot be found.",
    "Annotation files": "The captions or the split may not be the same.",
}


def differences(entries: Sequence[Entry]) -> dict[str, str]:
    """In what the entries differ, apart from the system itself: each value, who has it, and what it does."""
    known = [(entry.label, facts(entry)) for entry in entries]
    found = {}
    for what, why in WHY.items():
        values: dict[str, list[str]] = {}
        for label, table in known:
            values.setdefault(table.get(what, "none"), []).append(label)
        if len(values) > 1:
            found[what] = f"{'; '.join(f'{value} ({listed(labels)})' for value, labels in values.items())}. {why}"
    return found


def questions(entries: Sequence[Entry], way: Way | None = None) -> list[list[Entry]]:
    """Entries that answer the same question, group by group; video to text also by the same convention."""
    groups: dict[Hashable, list[Entry]] = {}
    for entry in entries:
        protocol, rules = entry.first.protocol, entry.first.rules
        key = (
            *(protocol.name, protocol.split, protocol.query_rule, protocol.queries, protocol.gallery),
            *(protocol.partial, protocol.missing, protocol.left_out, protocol.digest),
            *(rules.ties, rules.v2t if way == "video_to_text" else ""),
        )
        groups.setdefault(key, []).append(entry)
    return list(groups.values())


def figure_tables(group: Sequence[Entry]) -> Iterator[tuple[str, str, list[tuple[Entry, Figures]]]]:
    """Of entries that answer one question: (what is measured, by which rule, figures of each) a table."""
    for way in WAYS:
        for same in questions(group, way):
            rows = [(entry, outcome.figures) for entry in same if (outcome := entry.outcomes.get(way))]
            if rows:
                yield NAMES[way], same[0].first.rules.v2t if way == "video_to_text" else "", rows
                first = rows[0][0]
                if others := [(entry, apart) for entry, _ in rows[1:] if (apart := entry.against(first, way))]:
                    yield f"{NAMES[way]}, difference from {first.label}", PAIRED, others
    if rows := [(entry, {"accuracy": entry.choice[1]}) for entry in group if entry.choice]:
        yield "multiple choice, percent", "", rows


def question_title(entry: Entry) -> str:
    """The question, in a line: MSR-VTT …: 1,000 queries, 1,000 clips, partial."""
    protocol = entry.first.protocol
    return (
        f"{protocol.title} ({protocol.name}, {protocol.split}): {protocol.queries:,} queries "
        f"({protocol.query_rule}), {protocol.gallery:,} clips{', partial' if protocol.partial else ''}"
    )


def title(entries: Sequence[Entry]) -> str:
    """Of the whole report."""
    protocols = list(dict.fromkeys(entry.first.protocol.title for entry in entries))
    where = protocols[0] if len(protocols) == 1 else count(len(protocols), "protocol")
    return f"{entries[0].label if len(entries) == 1 else f'{len(entries)} systems'} on {where}"


def sentences(entry: Entry) -> list[str]:
    """The figures in words, for a reader who knows no metric: one a direction, and one for multiple choice."""
    said = []
    for way, one, many, right in ASKED:
        outcome = entry.outcomes.get(way)
        if outcome is None:
            continue
        found = [
            f"{_percent(outcome.figures[metric])} find a right {right} {place}"
            for metric, place in (("R@1", "first"), ("R@10", "among the first ten"))
            if metric in outcome.figures
        ]
        if median := outcome.figures.get("MedR"):
            found.append(f"half of all {many} find it by rank {short(round(median.value, 1))}")
        if found:
            start = f"of {count(outcome.queries, one, many)} among {count(outcome.candidates, right)}"
            said.append(f"{NAMES[way].capitalize()}: {start}, {listed(found)}.")
    if entry.choice is not None:
        total, accuracy = entry.choice
        said.append(f"Of {count(total, 'question')}, {_percent(accuracy)} choose the clip's own sentence.")
    return said


def _percent(figure: Figure) -> str:
    """24.1 ± 0.4 %; 24.1 % (21.5–26.8)."""
    return f"{figure.text} %" + (f" ({figure.spread})" if figure.spread else "")


def marks(entry: Entry) -> list[Mark]:
    """Warnings first."""
    return [
        *(Mark(words, sentence, "warning") for words, sentence in _warnings(entry.first)),
        *(Mark(words, sentence, "note") for words, sentence in _notes(entry)),
    ]


def _warnings(result: Result) -> Iterator[tuple[str, str]]:
    protocol = result.protocol
    queries = ("query", "queries", protocol.queries, protocol.expected_queries)
    counts = (queries, ("clip", "clips", protocol.gallery, protocol.expected_gallery))
    off = [
        f"{count(wants, one, many)}, not {has:,}" for one, many, has, wants in counts if wants not in (None, has)
    ]
    if protocol.partial:
        yield "partial", f"Not the whole protocol: {_lacks(protocol) or 'what is missing was not said'}."
    elif off:
        yield "counts differ", f"The protocol has {listed(off)}."
    chosen = "Its epoch was chosen on the"
    if result.system.selected_on == "test":
        yield "selected on test", f"{chosen} test captions that it is measured on: the figures are too high."
    elif result.system.selected_here:
        yield "selected on these", f"{chosen} captions that it is measured on: figures on a test would be lower."
    if result.rules.normalisation.uses_test_queries:
        yield (
            "uses test queries",
            "Its scores use all test queries at once, which no live search has: figures there would be lower.",
        )


def _notes(entry: Entry) -> Iterator[tuple[str, str]]:
    result = entry.first
    normalisation = result.rules.normalisation
    if normalisation.method != "none":
        yield METHODS[normalisation.method], f"Scores are normalised: {_normalisation(normalisation)}."
    if len(entry.results) > 1:
        seeds = listed([str(seed) for seed in entry.seeds])
        yield f"{len(entry.results)} seeds", f"Mean ± standard deviation over the seeds {seeds}."
    if without := len(result.protocol.without_stream):
        said = f"{count(without, 'clip')} of the gallery without any stream: the last place, shared."
        yield f"{without:,} without a stream", said
    if result.system.selected_on == "unknown":
        yield "selection unknown", "Nobody said on which captions its epoch was chosen."
    if result.system.trained_on is None:
        yield "training unknown", "Nobody said what it was trained on, so it may have seen test clips."


def facts(entry: Entry) -> dict[str, str]:
    """In the order of reading; a fact that does not apply is skipped."""
    result, results = entry.first, entry.results
    protocol, rules, system, made = result.protocol, result.rules, result.system, result.made
    streams = (f"{name} {many:,} of {protocol.gallery:,}" for name, many in protocol.streams.items())
    found = {
        "Protocol": f"{protocol.name}: {protocol.title}",
        "Split": protocol.split,
        "Query rule": protocol.query_rule,
        "Queries": _against(protocol.queries, protocol.expected_queries),
        "Right pairs": f"{protocol.judgments:,}" if protocol.judgments > protocol.queries else "",
        "Captions": protocol.digest[:12],
        "Gallery": f"{_against(protocol.gallery, protocol.expected_gallery)} clips",
        "Directions": listed([NAMES[way] for way in WAYS if getattr(result, way)]) or "multiple choice",
        "Complete": f"no: {_lacks(protocol) or 'partial'}" if protocol.partial else "yes",
        "Left out": _ids(protocol.left_out),
        "Clips without a stream": _ids(protocol.without_stream),
        "Streams in the gallery": ", ".join(streams),
        "Annotation files": "; ".join(f"{role}: {file}" for role, file in protocol.files.items()),
        "Ties": rules.ties,
        "Video to text": rules.v2t if result.video_to_text else "",
        "Normalisation": _normalisation(rules.normalisation),
        "Intervals": rules.intervals or "none",
        "System": system.name if len(results) == 1 else entry.label,
        "Kind": "a model of ours" if system.kind == "model" else "scores of another system",
        "Scores": system.rule or "",
        "Streams used": ", ".join(system.modalities) + MISSING.get(system.missing or "", ""),
        "Trained on": system.trained_on or "nobody said",
        "Training list": protocol.train_list or "",
        "Epoch chosen on": SELECTED[system.selected_on],
        "Checkpoint": ", ".join(r.system.checkpoint or "none" for r in results),
        "Seed": ", ".join("unknown" if r.system.seed is None else str(r.system.seed) for r in results),
        "Files": "; ".join(f"{role}: {file}" for r in results for role, file in r.system.files.items()),
        "Made": "; ".join(f"{r.made.at} on {r.made.device} in {r.made.seconds:.1f} s" for r in results),
        "With": f"mee {made.mee}, torch {made.torch}, python {made.python}",
        "Command": "; ".join(r.made.command for r in results),
    }
    return {what: value for what, value in found.items() if value}


def _lacks(protocol: ProtocolFacts) -> str:
    left = [f"{count(len(protocol.left_out), 'captioned video')} left out"] if protocol.left_out else []
    return "; ".join((*protocol.missing, *left))


def _against(have: int, expected: int | None) -> str:
    """A count, and the protocol's where it is another."""
    return f"{have:,}" if expected in (None, have) else f"{have:,} of the protocol's {expected:,}"


def _normalisation(used: Normalisation) -> str:
    """The method with its bank and parameters."""
    if used.method == "none":
        return f"none: nothing helped {used.fitted_on}" if used.fitted_on else "none"
    parts = [METHODS[used.method], *([f"bank of {used.bank}"] if used.bank else [])]
    parts += [f"{name} = {value:g}" for name, value in used.parameters.items()]
    parts += [f"fitted on {used.fitted_on}"] if used.fitted_on else []
    return ", ".join((*parts, f"uses {'all test queries' if used.uses_test_queries else 'no other test query'}"))


def _ids(names: Sequence[str]) -> str:
    """The first of them, and how many more."""
    more = len(names) - SHOWN_IDS
    tail = f" and {more:,} more, which the result file has" if more > 0 else ""
    return f"{len(names):,}: {', '.join(names[:SHOWN_IDS])}{tail}" if names else ""
