"""Entry: one row of a report, which is one result, or several that differ in nothing but their seed.

24.1            one result
24.1 ± 0.4      mean ± standard deviation over n seeds, divided by n - 1
21.5–26.8       an interval, where the result has one
+1.3 ± 0.4      a difference over the same queries ± its standard error, clustered by clip

Recall, histogram, weights and patterns of several seeds are means; the queries are those of the first seed.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count as counting
from typing import Any, Literal

from mee.evaluation import MEAN, Direction, Result, Weights, clustered_errors

Way = Literal["text_to_video", "video_to_text"]
Kind = Literal["schemes", "removed"]
WAYS: tuple[Way, ...] = ("text_to_video", "video_to_text")
NAMES: dict[Way, str] = {"text_to_video": "text to video", "video_to_text": "video to text"}
MIXTURE = "mixture"  # the name in mee.ranking.mixture, which would load torch
METRICS = ("R@1", "R@5", "R@10", "R@50", "MedR", "MeanR", MEAN, "Geom", "MRR", "nDCG@10")
LEGEND = (
    "R@K: percent of queries whose right answer is among the first K. MedR, MeanR: median and mean rank of the "
    "right answer, 1 is best. mR, Geom: mean and geometric mean of R@1, R@5 and R@10. MRR: mean of 1 / rank, in "
    "percent."
)
NDCG = " nDCG@10: gain discounted by rank among the first ten, in percent."
LONGEST = 160  # letters of a caption used as a heading


@dataclass(frozen=True)
class Figure:
    """One number with what is known of its spread."""

    value: float
    std: float | None = None  # over seeds; of a difference, its standard error
    interval: tuple[float, float] | None = None  # over queries, of a single result
    is_difference: bool = False

    @property
    def text(self) -> str:
        """The number, with its standard deviation if it has one."""
        value = signed(self.value) if self.is_difference else number(self.value)
        return value + (f" ± {number(self.std)}" if self.std is not None else "")

    @property
    def spread(self) -> str:
        """The interval; empty where there is none."""
        return f"{number(self.interval[0])}–{number(self.interval[1])}" if self.interval else ""


Figures = dict[str, Figure]


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

    @cached_property
    def outcomes(self) -> dict[Way, Outcome]:
        """What was measured, by direction."""
        return {way: _mean_outcome(parts) for way in WAYS if (parts := self._parts(way))}

    @cached_property
    def choice(self) -> tuple[int, Figure] | None:
        """Multiple choice: the number of questions, and the share of right answers."""
        parts = self._parts("choice")
        if not parts:
            return None
        mean, std = mean_and_std([part.accuracy for part in parts])
        return parts[0].questions, Figure(mean, std, parts[0].interval if len(parts) == 1 else None)

    def against(self, other: Entry, way: Way) -> Figures:
        """How far the figures are from those of another entry that answers the same question, query by query.

        {} where the ranks of the queries are not known.
        """
        errors = clustered_errors(other._parts(way), self._parts(way))
        old, new = other.outcomes[way].figures, self.outcomes[way].figures
        apart = {name: new[name].value - old[name].value for name in _shared([old, new]) if errors}
        return {name: Figure(value, errors.get(name), is_difference=True) for name, value in apart.items()}

    def variants(self, kind: Kind) -> dict[str, dict[Way, Figures]]:
        """Schemes or removed streams that every seed has, after what they are compared with; {} without any."""
        tables = [{row.name: row for row in getattr(result, kind)} for result in self.results]
        label = "without {}" if kind == "removed" else "{}"
        found: dict[str, dict[Way, Figures]] = {}
        for name in _shared(tables):
            ways = {way: mean_figures([getattr(table[name], way) for table in tables]) for way in WAYS}
            found[label.format(name)] = ways
        whole: dict[Way, Figures] = {way: o.figures if (o := self.outcomes.get(way)) else {} for way in WAYS}
        return {"all streams" if kind == "removed" else MIXTURE: whole} | found if found else {}

    @cached_property
    def patterns(self) -> list[PatternRow]:
        """Availability patterns, the most frequent first."""
        tables = [{pattern.streams: pattern for pattern in result.patterns} for result in self.results]
        order = {name: at for at, name in enumerate(self.first.system.modalities)}
        rows = []
        for streams in _shared(tables):
            name = " + ".join(sorted(streams, key=lambda name: order.get(name, len(order)))) or "no stream"
            figures, first = mean_figures([table[streams].text_to_video for table in tables]), tables[0][streams]
            rows.append(PatternRow(name, first.clips, first.queries, figures))
        return sorted(rows, key=lambda row: (-row.queries, row.streams))

    @cached_property
    def weights(self) -> Weights | None:
        """Mean mixture weights in percent; None where the seeds differ in experts or rows."""
        parts = self._parts("weights")
        if len({(part.experts, *((name, many) for name, many, _ in part.rows)) for part in parts}) != 1:
            return None
        rows = [
            (name, many, tuple(statistics.fmean(values) for values in zip(*(part.rows[at][2] for part in parts))))
            for at, (name, many, _) in enumerate(parts[0].rows)
        ]
        return Weights(experts=parts[0].experts, rows=tuple(rows))

    def _parts(self, name: str) -> list[Any]:
        """That part of every result; nothing where one lacks it."""
        parts = [getattr(result, name) for result in self.results]
        return [] if None in parts else parts


def _shared(tables: Sequence[Mapping[Any, Any]]) -> list[Any]:
    """Keys that all have, in the first one's order."""
    return [key for key in tables[0] if all(key in table for table in tables)]


def _mean_outcome(parts: Sequence[Direction]) -> Outcome:
    def means(pairs: Sequence[Sequence[tuple[Any, float]]]) -> tuple[tuple[Any, float], ...]:
        tables = [dict(some) for some in pairs]
        return tuple((key, statistics.fmean([table[key] for table in tables])) for key in _shared(tables))

    first, recall, histogram = parts[0], [part.recall for part in parts], [part.histogram for part in parts]
    figures = mean_figures([part.metrics for part in parts], first.intervals)
    return Outcome(first.queries, first.candidates, figures, means(recall), means(histogram))


def make_entries(results: Sequence[Result]) -> tuple[list[Entry], int]:
    """Rows of a report, in the order given, and how many results were repeated.

    Results become one row where all but seed, checkpoint and figures is equal. A name that ends with its own seed
    ("small-seed1", "small_1") counts without it. The same seed twice stays two rows.
    """
    groups: dict[Hashable, list[Result]] = {}
    distinct: dict[str, Result] = {}
    for result in results:
        distinct.setdefault(result.model_dump_json(exclude={"made"}), result)
    for result in distinct.values():
        key = _settings(result)
        for again in counting():
            group = groups.setdefault((key, again), [])
            seeds = {other.system.seed for other in group}
            if not group or (result.system.seed is not None and seeds.isdisjoint({None, result.system.seed})):
                group.append(result)
                break
    names = [_plain_name(group[0]) if len(group) > 1 else group[0].system.name for group in groups.values()]
    return _labelled(names, [tuple(group) for group in groups.values()]), len(results) - len(distinct)


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
    """Entries with different labels: equal names get what differs first, a number if nothing does."""
    labels = list(names)
    distinctions: tuple[Callable[[Result], str], ...] = (
        lambda r: r.protocol.name,
        lambda r: r.rules.normalisation.method,
        lambda r: "partial" if r.protocol.partial else "complete",
        lambda r: "" if r.system.seed is None else f"seed {r.system.seed}",
        lambda r: (r.system.checkpoint or "")[:8],
    )
    for distinction in distinctions:
        values = [distinction(group[0]) for group in groups]
        for label in [label for label, many in Counter(labels).items() if many > 1]:
            same = [at for at, other in enumerate(labels) if other == label]
            if len({values[at] for at in same}) > 1:
                for at in same:
                    labels[at] = f"{label}, {values[at]}" if values[at] else label
    times = Counter(labels)
    number: Counter[str] = Counter()
    for at, label in enumerate(labels):
        if times[label] > 1:
            number[label] += 1
            labels[at] = f"{label} #{number[label]}"
    return [Entry(label, group) for label, group in zip(labels, groups)]


# ---- numbers and words


def mean_figures(
    metrics: Sequence[Mapping[str, float]], intervals: Mapping[str, tuple[float, float]] | None = None
) -> Figures:
    """Metrics of one result, with its intervals, or of several seeds; one that a seed lacks is skipped."""
    shared = ordered(_shared(metrics))
    if len(metrics) == 1:
        known = intervals or {}
        return {name: Figure(metrics[0][name], interval=known.get(name)) for name in shared}
    return {name: Figure(*mean_and_std([other[name] for other in metrics])) for name in shared}


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and the sample's standard deviation; None for a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def ordered(names: Iterable[str]) -> list[str]:
    """Metric names in the order of papers, unknown ones last."""
    known = {name: place for place, name in enumerate(METRICS)}
    return sorted(names, key=lambda name: (known.get(name, len(known)), name))


def shared_names(rows: Iterable[Mapping[str, object]]) -> list[str]:
    """Every metric that some row has, in order."""
    return ordered({name for row in rows for name in row})


def legend(names: Sequence[str]) -> str:
    """What the metrics mean."""
    return LEGEND + (NDCG if "nDCG@10" in names else "")


def number(value: float) -> str:
    """One decimal, thousands apart."""
    text = f"{value:,.1f}"
    return "0.0" if text == "-0.0" else text


def signed(value: float) -> str:
    """A difference: +1.2, −0.4, 0.0."""
    text = number(abs(value))
    return text if text == "0.0" else f"{'−' if value < 0 else '+'}{text}"


def short(value: float) -> str:
    """A number without needless decimals: 1, 2.5, 1,204."""
    return f"{value:,.0f}" if value == int(value) else number(value)


def listed(words: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part) if words else ""


def cut(text: str) -> str:
    """A caption as a heading: a paragraph ends after LONGEST letters, at a word."""
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"
