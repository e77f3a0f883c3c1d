"""Our side: an index a kind, made as `mee index` makes it, and asked through VideoIndex.

build:   IndexWriter.put, 25,000 clips at a time, then compact (the codes of the kind), then tune where approximate
open:    in a new process that has everything imported: seconds to open, to the first answer, memory after it, its
         own and mapped (of a file that is cached, a system maps more than is touched)
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa

from benchmarks.index_data import Made
from benchmarks.index_timing import Numbers, Side
from benchmarks.index_truth import BEST
from index.queries import Queries
from index.recall import measure
from index.scanners.kinds import Settings
from index.storage.entries import Entries
from index.storage.manifest import Origin
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex

EXACT = ("flat", "certified")
PLAIN = Settings(kind="flat")  # until all clips are there: no codes are made twice
TUNED = 2  # the number of the queries that recall is tuned with; those that are measured have 0


def build(made: Made, kind: str, directory: Path, recall: float, queries: int) -> dict[str, Any]:
    """Make an index on disk, and say what it took.

    Args:
        made: the clips.
        kind: of index.scanners.
        directory: a new one.
        recall: to reach, of kinds that are not exact.
        queries: how many to tune with.
    """
    settings = Settings(kind=kind, recall=None if kind in EXACT else recall)  # type: ignore[arg-type]
    taken = {"put_s": 0.0}
    with IndexWriter.create(directory, made.layout, Origin("made", "made", "made"), settings=PLAIN) as writer:
        for chunk in made.chunks():
            names = [f"clip{number:08}" for number in range(chunk.start, chunk.start + len(chunk.packed))]
            span = {"start_s": np.zeros(len(names)), "end_s": np.full(len(names), 10.0)}
            entries = Entries(pa.table({"clip_id": names, "video": names, **span}), chunk.packed, chunk.available)
            begun = time.perf_counter()
            writer.put(entries)
            taken["put_s"] += time.perf_counter() - begun
        begun = time.perf_counter()
        writer.compact(settings=settings)
        taken["compact_s"] = time.perf_counter() - begun
    if kind not in EXACT:
        asked = Queries.of(made.sentences(queries, TUNED).text())
        begun = time.perf_counter()
        measured = measure(VideoIndex.open(directory), asked, recall, "other queries of the benchmark")
        taken["tune_s"] = time.perf_counter() - begun
        with IndexWriter.open(directory) as writer:
            writer.set_recall(measured)
        taken["recall_tuned"] = measured.reached
    return {**taken, "bytes_a_clip": _held(directory) / made.clips}


@final
class Ours(Side):
    """One kind."""

    def __init__(self, kind: str, directory: Path, queries: Queries, precision: str = "auto") -> None:
        """Open it.

        Args:
            kind: of its units.
            directory: of the index.
            queries: all of the case.
            precision: of many queries' products.
        """
        self.index = VideoIndex.open(directory)
        self.queries, self.precision = queries, precision
        self.single = [queries.part(slice(number, number + 1)) for number in range(len(queries))]
        self.held = _held(directory)
        self.scanned = 0 if kind == "graph" else _scanned(self.index, directory, kind)
        self.name = f"ours, {kind}" if precision == "auto" else f"ours, {kind}, {precision}"

    def one(self, query: int) -> Any:
        return self.index.rank(self.single[query], BEST)

    def many(self) -> Any:
        return self.index.rank(self.queries, BEST, precision=self.precision)  # type: ignore[arg-type]

    def numbers(self, answer: Any) -> Numbers:
        found = np.full((len(answer[1]), BEST), -1, np.int64)
        for row, names in zip(found, answer[1]):
            row[: len(names)] = [int(name.removeprefix("clip")) for name in names]
        return found


def opened(directory: Path, query: Queries) -> dict[str, float]:
    """What a new process takes to open an index and to answer its first query."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_open, args=(directory, query, there))
    process.start()
    there.close()
    found: dict[str, float] = here.recv()
    process.join()
    return found


def _open(directory: Path, query: Queries, answer: Connection) -> None:
    before = _memory()
    begun = time.perf_counter()
    video_index = VideoIndex.open(directory)
    opening = time.perf_counter() - begun
    begun = time.perf_counter()
    video_index.rank(query, BEST)
    first = time.perf_counter() - begun
    own, mapped = (after - earlier for after, earlier in zip(_memory(), before))
    answer.send({"open_s": opening, "first_answer_s": first, "memory_mb": own, "mapped_mb": mapped})


def _memory() -> tuple[float, float]:
    """MB of this process: its own, and of files that it has mapped."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, mapped = (int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped


def _held(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _scanned(video_index: VideoIndex, directory: Path, kind: str) -> int:
    """Bytes of the codes of all units, and of the vectors of those that have none."""
    units = [unit for segment in video_index.segments for unit in segment.units]
    flat = sum(unit.vectors.nbytes for unit in units if unit.scanner.kind == "flat")
    return flat + sum(path.stat().st_size for path in directory.rglob(f"{kind}-*"))
