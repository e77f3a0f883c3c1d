"""Marks: what a reader must know before the figures, a few words each and a sentence.

warning   the figure is not the protocol's, or too high: partial, selected on test, uses test queries
note      needed to compare: normalisation, seeds, what nobody said
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mee.evaluation.result import Normalisation, Result
from scripts.report.entry import Entry
from scripts.report.figures import count, listed

METHODS = {"qb-norm": "QB-Norm", "nnn": "NNN", "dsl": "DSL"}


@dataclass(frozen=True)
class Mark:
    """One visible mark."""

    label: str
    sentence: str
    kind: Literal["warning", "note"]


def marks(entry: Entry) -> list[Mark]:
    """Warnings first."""
    result = entry.first
    return [*_warnings(result), *_notes(entry)]


def _warnings(result: Result) -> list[Mark]:
    protocol, found = result.protocol, []
    if protocol.partial:
        why = [*protocol.missing]
        if protocol.left_out:
            why.append(f"{count(len(protocol.left_out), 'captioned video')} left out")
        found.append(("partial", f"Not the whole protocol: {'; '.join(why) or 'what is missing was not said'}."))
    elif off := _off_counts(result):
        found.append(("counts differ", f"The protocol has {off}."))
    if result.system.selected_on == "test":
        found.append(
            (
                "selected on test",
                "Its epoch was chosen on the test captions that it is measured on: the figures are too high.",
            )
        )
    elif result.system.selected_here:
        found.append(
            (
                "selected on these",
                "Its epoch was chosen on the captions that it is measured on: figures on a test would be lower.",
            )
        )
    if result.rules.normalisation.uses_test_queries:
        found.append(
            (
                "uses test queries",
                "Its scores use all test queries at once, which no live search has: figures there would be lower.",
            )
        )
    return [Mark(label, sentence, "warning") for label, sentence in found]


def _off_counts(result: Result) -> str:
    facts = result.protocol
    pairs = (
        ("query", "queries", facts.queries, facts.expected_queries),
        ("clip", "clips", facts.gallery, facts.expected_gallery),
    )
    off = [(wanted, one, many, have) for one, many, have, wanted in pairs if wanted is not None and wanted != have]
    return listed([f"{count(wanted, one, many)}, not {have:,}" for wanted, one, many, have in off])


def _notes(entry: Entry) -> list[Mark]:
    result, found = entry.first, []
    normalisation = result.rules.normalisation
    if normalisation.method != "none":
        said = f"Scores are normalised: {normalisation_text(normalisation)}."
        found.append((METHODS[normalisation.method], said))
    if len(entry.results) > 1:
        seeds = listed([str(seed) for seed in entry.seeds])
        found.append((f"{len(entry.results)} seeds", f"Mean ± standard deviation over the seeds {seeds}."))
    if without := len(result.protocol.without_stream):
        said = f"{count(without, 'clip')} of the gallery without any stream: the last place, shared."
        found.append((f"{without:,} without a stream", said))
    if result.system.selected_on == "unknown":
        found.append(("selection unknown", "Nobody said on which captions its epoch was chosen."))
    if result.system.trained_on is None:
        found.append(("training unknown", "Nobody said what it was trained on, so it may have seen test clips."))
    return [Mark(label, sentence, "note") for label, sentence in found]


def normalisation_text(normalisation: Normalisation) -> str:
    """The method with its bank and parameters, in words."""
    if normalisation.method == "none":
        return "none"
    parts = [METHODS[normalisation.method]]
    parts += [f"bank of {normalisation.bank}"] if normalisation.bank else []
    parts += [f"{name} = {value:g}" for name, value in normalisation.parameters.items()]
    parts.append("uses all test queries" if normalisation.uses_test_queries else "uses no other test query")
    return ", ".join(parts)
