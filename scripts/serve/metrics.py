"""Metrics: what the server did, as text in the Prometheus exposition format (version 0.0.4).

    mee_searches_total 12
    mee_search_seconds_bucket{le="0.01"} 9

A new metric is one line of the table below. Counters and histograms live in the event loop; gauges are read when
the text is made.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
METRICS: Mapping[str, tuple[str, Any, str]] = {  # name: its kind, or a histogram's upper bounds; what it is
    "mee_searches_total": ("counter", None, "Searches that were answered."),
    "mee_partial_answers_total": ("counter", None, "Searches that were answered without a shard."),
    "mee_errors_total": ("counter", None, "Searches that were not answered, by kind."),
    "mee_batches_total": ("counter", None, "Batches that were searched."),
    "mee_batch_size": ("histogram", COUNTS, "Searches in a batch."),
    "mee_search_seconds": ("histogram", SECONDS, "Seconds from the arrival of a search to its answer."),
    "mee_conversions_total": ("counter", None, "Moments and pictures that were made, by kind and outcome."),
    "mee_queue_depth": ("gauge", None, "Searches and other requests that wait."),
    "mee_answers_kept": ("gauge", None, "Answers that can be paged."),
    "mee_index_generation": ("gauge", None, "Generation of the index that is searched."),
    "mee_index_clips": ("gauge", None, "Clips that can be found."),
    "mee_index_stale": ("gauge", None, "1 where the index has changed and could not be read again."),
    "mee_shards_missing": ("gauge", None, "Shards that do not answer."),
    "process_cpu_seconds_total": ("counter", None, "User and system CPU seconds."),
    "process_resident_memory_bytes": ("gauge", None, "Resident memory."),
}
Labels = tuple[tuple[str, str], ...]


@final
class Metrics:
    """Counters, histograms and gauges of one server."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Labels, float]] = {name: {} for name in METRICS}
        self._observed: dict[str, tuple[list[int], list[float]]] = {
            name: ([0] * (len(bounds) + 1), [0.0]) for name, (_, bounds, _) in METRICS.items() if bounds
        }
        self._gauges: dict[str, Callable[[], float | None]] = {
            "process_cpu_seconds_total": time.process_time,
            "process_resident_memory_bytes": _resident,
        }

    def count(self, name: str, **labels: str) -> None:
        """Add 1 to a counter."""
        values, key = self._values[name], tuple(sorted(labels.items()))
        values[key] = values.get(key, 0) + 1

    def observe(self, name: str, value: float) -> None:
        """Add a value to a histogram."""
        counts, total = self._observed[name]
        counts[bisect_left(METRICS[name][1], value)] += 1
        total[0] += value

    def gauge(self, name: str, read: Callable[[], float | None]) -> None:
        """Read a metric by a function; None: it is not known here."""
        self._gauges[name] = read

    def text(self) -> str:
        """All of them."""
        return "".join(f"{line}\n" for name in METRICS for line in self._lines(name))

    def _lines(self, name: str) -> Iterator[str]:
        kind, bounds, about = METRICS[name]
        yield f"# HELP {name} {about}"
        yield f"# TYPE {name} {kind}"
        if bounds:
            counts, (total,) = self._observed[name]
            for place, bound in enumerate((*bounds, "+Inf"), start=1):
                yield f'{name}_bucket{{le="{bound}"}} {sum(counts[:place])}'
            yield f"{name}_sum {total}"
            yield f"{name}_count {sum(counts)}"
        elif name in self._gauges:
            value = self._gauges[name]()
            yield from () if value is None else [f"{name} {value}"]
        else:
            yield from (f"{name}{_labelled(labels)} {value}" for labels, value in self._values[name].items())


def _labelled(labels: Labels) -> str:
    def quoted(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return "{" + ",".join(f'{name}="{quoted(value)}"' for name, value in labels) + "}" if labels else ""


def _resident() -> float | None:
    """Bytes of this process that are in memory; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
