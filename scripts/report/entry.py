"""Entry: one row of a report: a result, or several that differ in nothing but their seed.

figures    mean ± standard deviation over the seeds
the rest   recall, histogram, weights, patterns: means; the queries are those of the first seed
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any, Literal, TypeVar

from mee.evaluation import Choice, Direction, Result, Weights
from scripts.report.figures import Figure, Figures, mean_and_std, mean_figures

Way = Literal["text_to_video", "video_to_text"]
Kind = Literal["schemes", "removed"]
WAYS: tuple[Way, ...] = ("text_to_video", "video_to_text")
NAMES: dict[Way, str] = {"text_to_video": "text to video", "video_to_text": "video to text"}
MIXTURE = "mixture"  # as mee.ranking.mixture has it, which must not be imported here: it loads torch
Part = TypeVar("Part")


@dataclass(frozen=True)
class Outcome:
    """One direction of an entry."""

    queries: int
    candidates: int
    figures: Figures
    recall: tuple[tuple[int, float], ...]  # (K, R@K)
    histogram: tuple[tuple[str, float], ...]  # (bin of ranks, queries)


@dataclass(frozen=True)
class PatternRow:
    """The queries whose right clip has exactly these streams."""

    streams: str
    clips: int
    queries: int
    figures: Figures


@dataclass(frozen=True)
class Entry:
    """One system, measured once or with several seeds."""

    label: str
    results: tuple[Result, ...]

    @property
    def first(self) -> Result:
        """The only result, or the first seed's; what must be equal among seeds is read here."""
        return self.results[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those that are known."""
        return tuple(result.system.seed for result in self.results if result.system.seed is not None)

    def outcome(self, way: Way) -> Outcome | None:
        """One direction; None where it was not measured."""
        return self._outcomes[way]

    @cached_property
    def _outcomes(self) -> dict[Way, Outcome | None]:
        found: dict[Way, list[Direction]] = {
            "text_to_video": self._parts(lambda result: result.text_to_video),
            "video_to_text": self._parts(lambda result: result.video_to_text),
        }
        return {way: _mean_outcome(parts) if parts else None for way, parts in found.items()}

    @cached_property
    def choice(self) -> tuple[int, Figure] | None:
        """Questions, and the share that is answered rightly."""
        parts: list[Choice] = self._parts(lambda result: result.choice)
        if not parts:
            return None
        mean, std = mean_and_std([part.accuracy for part in parts])
        return parts[0].questions, Figure(mean, std, parts[0].interval if len(parts) == 1 else None)

    def variants(self, kind: Kind) -> dict[str, dict[Way, Figures]]:
        """Schemes, or streams removed, that every seed has, after what they are compared with; {} without any."""
        tables = [{row.name: row for row in getattr(result, kind)} for result in self.results]
        found: dict[str, dict[Way, Figures]] = {
            name: {way: mean_figures([getattr(table[name], way) for table in tables]) for way in WAYS}
            for name in tables[0]
            if all(name in table for table in tables)
        }
        whole: dict[Way, Figures] = {way: o.figures if (o := self.outcome(way)) else {} for way in WAYS}
        if kind == "removed" and found:
            return {"all streams": whole} | {f"without {name}": figures for name, figures in found.items()}
        return {MIXTURE: whole} | found if found else {}

    @cached_property
    def patterns(self) -> list[PatternRow]:
        """Availability patterns, the most frequent first."""
        tables = [{pattern.streams: pattern for pattern in result.patterns} for result in self.results]
        order = {name: at for at, name in enumerate(self.first.system.modalities)}
        rows = [
            PatternRow(
                " + ".join(sorted(streams, key=lambda name: order.get(name, len(order)))) or "no stream",
                pattern.clips,
                pattern.queries,
                mean_figures([table[streams].text_to_video for table in tables]),
            )
            for streams, pattern in tables[0].items()
            if all(streams in table for table in tables)
        ]
        return sorted(rows, key=lambda row: (-row.queries, row.streams))

    @cached_property
    def weights(self) -> Weights | None:
        """Mean mixture weights, percent."""
        parts: list[Weights] = self._parts(lambda result: result.weights)
        heads = {(part.experts, *((name, many) for name, many, _ in part.rows)) for part in parts}
        if len(heads) != 1:
            return None
        rows = [
            (name, many, tuple(mean_and_std(values)[0] for values in zip(*(part.rows[at][2] for part in parts))))
            for at, (name, many, _) in enumerate(parts[0].rows)
        ]
        return Weights(experts=parts[0].experts, rows=tuple(rows))

    def _parts(self, pick: Callable[[Result], Part | None]) -> list[Part]:
        """That part of every result; nothing where one lacks it."""
        there = [part for result in self.results if (part := pick(result)) is not None]
        return there if len(there) == len(self.results) else []


def _mean_outcome(parts: Sequence[Direction]) -> Outcome:
    first = parts[0]
    return Outcome(
        first.queries,
        first.candidates,
        mean_figures([part.metrics for part in parts], first.intervals),
        tuple(_mean_pairs([part.recall for part in parts])),
        tuple(_mean_pairs([part.histogram for part in parts])),
    )


def _mean_pairs(parts: Sequence[Sequence[tuple[Any, float]]]) -> list[tuple[Any, float]]:
    """Means of what all have under one key, in the first one's order."""
    tables = [dict(part) for part in parts]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    return [(key, mean_and_std([table[key] for table in tables])[0]) for key in shared]


def make_entries(results: Sequence[Result]) -> tuple[list[Entry], int]:
    """Rows of a report, in the order given, and how many results were there twice.

    Results become one row where all but seed, checkpoint and figures is equal. A name that ends with its own seed
    ("small-seed1", "small_1") counts without it. The same seed twice stays two rows.
    """
    groups: dict[Hashable, list[Result]] = {}
    distinct: dict[str, Result] = {}
    for result in results:
        distinct.setdefault(result.model_dump_json(exclude={"made"}), result)
    for result in distinct.values():
        key = _settings(result)
        for again in count():
            group = groups.setdefault((key, again), [])
            if not group or _another_seed(result, group):
                group.append(result)
                break
    names = [_plain_name(group[0]) if len(group) > 1 else group[0].system.name for group in groups.values()]
    return _labelled(names, [tuple(group) for group in groups.values()]), len(results) - len(distinct)


def _another_seed(result: Result, group: Sequence[Result]) -> bool:
    seed = result.system.seed
    return seed is not None and all(other.system.seed not in (None, seed) for other in group)


def _settings(result: Result) -> Hashable:
    """All that must be equal for two results to be seeds of one system."""
    system = result.system.model_dump(exclude={"name", "seed", "checkpoint", "files"})
    system["name"], system["files"] = _plain_name(result), sorted(result.system.files)
    measured = [bool(getattr(result, name)) for name in (*WAYS, "choice")]
    return repr((system, result.made.mee, result.protocol.model_dump(), result.rules.model_dump(), measured))


def _plain_name(result: Result) -> str:
    """The system's name without its own seed at the end."""
    name, seed = result.system.name, result.system.seed
    if seed is None:
        return name
    ending = rf"(?:(?:^|[\s\-_.,(]+)s?|[\s\-_.,(]*seed)[\s\-_=]*0*{seed}\)?$"
    return re.sub(ending, "", name, flags=re.IGNORECASE) or "model"


def _labelled(names: Sequence[str], groups: Sequence[tuple[Result, ...]]) -> list[Entry]:
    """Entries whose labels tell them apart: equal names get what differs first, a number if nothing does."""
    labels = list(names)
    tells: tuple[Callable[[Result], str], ...] = (
        lambda r: r.protocol.name,
        lambda r: r.rules.normalisation.method,
        lambda r: "partial" if r.protocol.partial else "complete",
        lambda r: "" if r.system.seed is None else f"seed {r.system.seed}",
        lambda r: (r.system.checkpoint or "")[:8],
    )
    for tell in tells:
        told = [tell(group[0]) for group in groups]
        for label in [label for label, many in Counter(labels).items() if many > 1]:
            same = [at for at, other in enumerate(labels) if other == label]
            if len({told[at] for at in same}) > 1:
                for at in same:
                    labels[at] = f"{label}, {told[at]}" if told[at] else label
    times = Counter(labels)
    number: Counter[str] = Counter()
    for at, label in enumerate(labels):
        if times[label] > 1:
            number[label] += 1
            labels[at] = f"{label} #{number[label]}"
    return [Entry(label, group) for label, group in zip(labels, groups)]
