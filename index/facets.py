"""Facets: how many of the clips that a request may find have which value of a column, for filters that narrow it.

    text               its most frequent values
    true or false      both
    numbers            each of a few; of more a histogram, in bars of one width: 1, 2 or 5 times a power of ten
    streams            the experts that clips have

A value comes with the filter that finds exactly the clips that were counted for it. Numbers are binned by the
comparisons that the filter makes: low <= number < high, in the last bar <= high.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import nsmallest
from itertools import compress, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.filter import HOLDS, filterable, quoted, spelled, values_of
from index.request import Request
from index.video_index import VideoIndex, selection_of
from mee.errors import InputError, did_you_mean

BARS = 10  # of a histogram, and one more where its ends are no round numbers
DISTINCT = 1000  # values of a text column that is counted without being named
LONGEST = 1000  # characters of a value or a column's name; longer ones are no choices
STREAMS = "streams"  # also the name of the facet
Span = tuple[float, float]  # from, to; equal: this number alone
Value = str | bool | Span


@dataclass(frozen=True)
class Facet:
    """The values of a column, among some clips."""

    column: str
    holds: str  # text, true or false, numbers; or streams
    values: tuple[tuple[Value, int], ...]  # a value, and how many clips have it; numbers in order, else most first
    missing: int = 0  # clips for which nothing is known
    more: int = 0  # how many values there are besides these

    def filter(self, value: Value | None, where: str | None = None) -> str:
        """A filter (index/filter.py) for the clips that have a value of `values`; None: for those that have none.

        where: a filter that they must fulfil, too.

        Raises:
            InputError: the facet is of streams, which filters do not know.
        """
        name = spelled(self.column)
        if self.holds == STREAMS:
            raise InputError("streams are no column, so no filter can name them; search with some experts only")
        if value is None:
            condition = f"{name} is None"
        elif isinstance(value, tuple):
            low, high = value
            last = value == self.values[-1][0]
            condition = (
                f"{name} == {low!r}" if low == high else f"{low!r} <= {name} {'<=' if last else '<'} {high!r}"
            )
        else:
            condition = f"{name} == {quoted(value) if isinstance(value, str) else value}"
        return condition if where is None else f"({where}\n) and {condition}"  # the line may end with a comment

    def to_dict(self) -> dict[str, Any]:
        """As plain containers, for JSON; numbers have low and high instead of a value."""
        values = []
        for value, count in self.values:
            of = dict(zip(("low", "high"), value)) if isinstance(value, tuple) else {"value": value}
            values.append({**of, "count": count, "filter": None if self.holds == STREAMS else self.filter(value)})
        return {
            "column": self.column,
            "holds": self.holds,
            "values": values,
            "missing": self.missing,
            "more": self.more,
        }


def facets(video_index: VideoIndex, request: Request, columns: Sequence[str] = (), most: int = 20) -> list[Facet]:
    """Count values over the clips that a request may find: by its filters and words, whatever its sentences are.

    Args:
        video_index: the index.
        request: its `where`, `video`, `said`, `written` and `like` count.
        columns: these alone, `duration` and `streams` among them. Default: all but clip_id, those that have no
            value here, and texts of more than 1,000 values.
        most: how many values of a text column.

    Returns:
        The streams first, then the columns in the index's order, or as they were named.

    Raises:
        InputError: as `Searcher.search`; or there is no such column.
    """
    snapshot = video_index.snapshot
    snapshot.check()
    tables = [segment.table.arrow for segment in snapshot.segments]
    known = filterable(tables)
    for name in columns:
        if name not in known and name != STREAMS:
            there = ", ".join(map(spelled, known))
            raise InputError(f"there is no column {name!r}{did_you_mean(name, known)}; there are {there}")
    masks = [np.zeros(len(table), dtype=bool) for table in tables]
    experts = dict.fromkeys(video_index.layout.names, 0)
    for partition in video_index.partitions(selection_of(request, video_index)[0]):
        masks[partition.segment][partition.rows[partition.found]] = True
        for expert in compress(experts, partition.pattern):
            experts[expert] += partition.count
    found = [table if mask.all() else table.filter(pa.array(mask)) for table, mask in zip(tables, masks)]
    made = []
    for name in columns or [STREAMS, *(name for name in known if name not in ("clip_id", STREAMS))]:
        if name == STREAMS:
            made.append(Facet(name, STREAMS, tuple(sorted(experts.items(), key=lambda each: -each[1]))))
            continue
        facet = _facet(name, known[name], [values_of(table, name, known[name]) for table in found], most, columns)
        made += [] if facet is None else [facet]
    return made


def _facet(name: str, kind: pa.DataType, parts: Sequence[Any], most: int, named: Collection[str]) -> Facet | None:
    """Of a column, given for each segment; None: it is not named, and offers no choice, or too many."""
    chunks = (chunk for part in parts for chunk in getattr(part, "chunks", [part]))
    data = pa.chunked_array([chunk.cast(kind, safe=False) for chunk in chunks], kind)
    holds, known = HOLDS.get(kind, "text"), data.drop_null()
    values: list[tuple[Value, int]] = []
    distinct = 0
    if holds == "numbers":
        numbers = known.to_numpy()
        values += _bars(numbers[np.isfinite(numbers)])
    elif len(known):
        counted = pc.value_counts(known)
        distinct = len(counted)
        if name in named or distinct <= DISTINCT:
            pairs = zip(counted.field("counts").to_pylist(), counted.field("values"))
            few = nsmallest(most, ((-count, value.as_py()) for count, value in pairs))
            values += [(value, -count) for count, value in few if isinstance(value, bool) or len(value) <= LONGEST]
    if name not in named and (not values or len(name) > LONGEST):
        return None
    return Facet(name, holds, tuple(values), data.null_count, max(0, distinct - len(values)))


def _bars(numbers: Any) -> Iterator[tuple[Span, int]]:
    """Of (N,) finite numbers each with its count, if there are few; else a histogram."""
    if len(set(numbers[:DISTINCT].tolist())) <= BARS:
        counted = pc.value_counts(pa.array(numbers + 0))  # -0.0 is 0.0
        if len(counted) <= BARS:
            pairs = sorted(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist()))
            yield from (((number, number), count) for number, count in pairs)
            return
    edges = _edges(numbers.min().item(), numbers.max().item())
    bars = np.searchsorted(np.array(edges, numbers.dtype), numbers, side="right") - 1
    counts = np.bincount(np.minimum(bars, len(edges) - 2), minlength=len(edges) - 1)
    yield from zip(pairwise(edges), counts.tolist())


def _edges(low: float, high: float) -> list[float]:
    """Of bars from low to high, or a little beyond; whole of whole numbers, as these are at least BARS apart."""
    whole, first, last = isinstance(low, int), Fraction(low), Fraction(high)  # floats would round
    width = (last - first) / BARS
    power = Fraction(10) ** math.floor(math.log10(width))
    step = next(times * power for times in (1, 2, 5, 10, 20) if times * power >= width)
    edges = [first // step * step]
    while edges[-1] < last:
        edges.append(edges[-1] + step)
    least, largest = (-(2**63), 2**63 - 1) if whole else (-sys.float_info.max, sys.float_info.max)
    return list(dict.fromkeys(type(low)(min(max(edge, least), largest)) for edge in edges))
