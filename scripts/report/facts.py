"""Facts: everything that a result has to state beside its figures, as (what, value) in words."""

from __future__ import annotations

from collections.abc import Sequence

from mee.evaluation.result import Result
from scripts.report.entry import NAMES, WAYS, Entry
from scripts.report.figures import listed
from scripts.report.marks import normalisation_text

SHOWN_IDS = 20  # of a longer list; the result file has all
SELECTED = {
    "validation": "validation captions",
    "test": "the test captions it is measured on",
    "nothing": "nothing: the last epoch, or no training",
    "unknown": "nobody said",
}


def facts(entry: Entry) -> list[tuple[str, str]]:
    """In the order of reading; a fact that does not apply is left out."""
    result = entry.first
    return [(what, value) for what, value in (*_question(result), *_rules(result), *_system(entry)) if value]


def _question(result: Result) -> list[tuple[str, str]]:
    protocol = result.protocol
    return [
        ("Protocol", f"{protocol.name}: {protocol.title}"),
        ("Split", protocol.split),
        ("Query rule", protocol.query_rule),
        ("Queries", against(protocol.queries, protocol.expected_queries)),
        ("Gallery", f"{against(protocol.gallery, protocol.expected_gallery)} clips"),
        ("Directions", listed([NAMES[way] for way in WAYS if getattr(result, way)]) or "multiple choice"),
        ("Complete", "no: partial" if protocol.partial else "yes"),
        ("Missing", "; ".join(protocol.missing)),
        ("Left out", ids(protocol.left_out)),
        ("Clips without a stream", ids(protocol.without_stream)),
        (
            "Streams in the gallery",
            ", ".join(f"{name} {many:,} of {protocol.gallery:,}" for name, many in protocol.streams.items()),
        ),
        ("Annotation files", "; ".join(f"{role}: {file}" for role, file in protocol.files.items())),
    ]


def _rules(result: Result) -> list[tuple[str, str]]:
    rules = result.rules
    return [
        ("Ties", rules.ties),
        ("Video to text", rules.v2t if result.video_to_text else ""),
        ("Normalisation", normalisation_text(rules.normalisation)),
        ("Intervals", rules.intervals or "none"),
    ]


def _system(entry: Entry) -> list[tuple[str, str]]:
    result, results = entry.first, entry.results
    system, made = result.system, result.made
    return [
        ("System", system.name if len(results) == 1 else entry.label),
        ("Kind", "a model of ours" if system.kind == "model" else "scores of another system"),
        ("Scores", system.rule or ""),
        ("Streams used", ", ".join(system.modalities)),
        ("Trained on", system.trained_on or "nobody said"),
        ("Training list", result.protocol.train_list or ""),
        ("Epoch chosen on", SELECTED[system.selected_on]),
        ("Checkpoint", ", ".join(r.system.checkpoint or "none" for r in results)),
        ("Seed", ", ".join("unknown" if r.system.seed is None else str(r.system.seed) for r in results)),
        ("Files", "; ".join(f"{role}: {file}" for r in results for role, file in r.system.files.items())),
        ("Made", "; ".join(f"{r.made.at} on {r.made.device} in {r.made.seconds:.1f} s" for r in results)),
        ("With", f"mee {made.mee}, torch {made.torch}, python {made.python}"),
        ("Command", "; ".join(r.made.command for r in results)),
    ]


def against(have: int, expected: int | None) -> str:
    """A count, and the protocol's where it is another."""
    return f"{have:,}" if expected in (None, have) else f"{have:,} of the protocol's {expected:,}"


def ids(names: Sequence[str]) -> str:
    """The first of them, and how many more."""
    more = len(names) - SHOWN_IDS
    head = ", ".join(names[:SHOWN_IDS])
    if not names:
        return ""
    tail = f" and {more:,} more, which the result file has" if more > 0 else ""
    return f"{len(names):,}: {head}{tail}"
