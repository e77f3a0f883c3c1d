"""Figures as words: one evaluation's number, or the mean of several seeds.

24.1            one result
24.1 ± 0.4      mean ± standard deviation over n seeds, divided by n - 1
21.5–26.8       an interval, where the result has one
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

METRICS = ("R@1", "R@5", "R@10", "R@50", "MedR", "MeanR", "Geom", "MRR", "nDCG@10")
LEGEND = (
    "R@K: percent of queries whose right answer is among the first K. MedR, MeanR: median and mean rank of the "
    "right answer, 1 is best. Geom: geometric mean of R@1, R@5 and R@10. MRR: mean of 1 / rank, in percent."
)
LONGEST = 160  # letters of a caption that stands as a heading
NDCG = " nDCG@10: gain discounted by rank among the first ten, in percent."


@dataclass(frozen=True)
class Figure:
    """One number with what is known of its spread."""

    value: float
    std: float | None = None  # over seeds
    interval: tuple[float, float] | None = None  # over queries, of a single result

    @property
    def text(self) -> str:
        """The number, with its standard deviation if it has one."""
        return number(self.value) + (f" ± {number(self.std)}" if self.std is not None else "")

    @property
    def spread(self) -> str:
        """The interval; empty where there is none."""
        return f"{number(self.interval[0])}–{number(self.interval[1])}" if self.interval else ""


Figures = dict[str, Figure]


def mean_figures(
    metrics: Sequence[Mapping[str, float]], intervals: Mapping[str, tuple[float, float]] | None = None
) -> Figures:
    """Metrics of one result, with its intervals, or of several seeds; one that a seed lacks is left out."""
    shared = [name for name in ordered(metrics[0]) if all(name in other for other in metrics)]
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


def count(many: int, thing: str, plural: str | None = None) -> str:
    """1 clip; 1,000 clips."""
    return f"{many:,} {thing if many == 1 else plural or thing + 's'}"


def listed(words: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part) if words else ""


def cut(text: str) -> str:
    """A caption as a heading: a paragraph ends after LONGEST letters, at a word."""
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"
