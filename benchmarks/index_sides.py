"""What finds the ten best clips: our kinds of index, exact and approximate alternatives, and lower bounds.

exact
  FAISS flat           IndexFlatIP a pattern, float32: the reference. Only its search is timed, and merging: its
                       query vectors are weighted beforehand; ours weights them within the time.
  FAISS flat, mapped   the same without a copy: faiss.knn over the memory-mapped vectors
  numpy, torch         a matrix product a pattern, and a selection
  naive                (queries, gallery, experts) weights and similarities, in blocks of queries
approximate
  one flat index       missing streams are zeros, the query's weights are those of a clip that has everything
  late fusion          an IndexFlatIP an expert, its best 1,000, weighted sum of what the lists hold over the sum
                       of the weights of the clip's experts
  ... re-ranked        the best 1,000, or all that the lists hold, scored exactly
floors
  reading alone        a sum over as many bytes as the clips have, at most 1 GiB: for one query
  products alone       all queries with 4,096 clips, float32 (oneDNN, the fastest that torch carries) and bfloat16:
                       for many. What fits in a cache, and codes of fewer bytes, can beat a floor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
import pyarrow as pa
import torch

from benchmarks.data.index_data import BEST, CHUNK, Case, Floats, Made, Numbers, best
from benchmarks.timing import seconds_of
from index import Entries, IndexWriter, Origin, Queries, VideoIndex
from index.scanners.kinds import Settings, choose
from mee.products import float32_product

LISTED = 1000  # clips that are scored exactly, or fused
NAIVE_BLOCK = 2**25  # numbers of the (queries, gallery, experts) tensor at a time
LARGEST = 2**30  # bytes that are read alone
CLIPS = 4096  # of one product alone: the queries' block and theirs stay near the processor
EVERY = slice(None)  # of the queries
Precision = Literal["auto", "float32", "bfloat16"]
PUT = 4096  # clips at a time
SINGLE = 20  # clips that are replaced one by one
PLAIN = Settings(kind="flat")  # until all clips are there: no codes are made twice


@dataclass(frozen=True)
class Side:
    """One way to find the ten best clips of the case's queries."""

    name: str
    find: Callable[[slice], Any]  # of some of the queries
    scanned: int = 0  # bytes that one query has to read
    held: int = 0  # bytes that it keeps on disk or in memory
    read: Callable[[Any], Any] = lambda found: found  # what it finds -> numbers of clips

    def numbers(self, some: slice) -> Numbers:
        """(Q, 10) numbers of the clips that it finds; -1 where there are no more."""
        answer = np.asarray(self.read(self.find(some)), np.int64)
        answer = answer.reshape(-1, answer.shape[-1])[:, :BEST]
        return np.pad(answer, ((0, 0), (0, BEST - answer.shape[1])), constant_values=-1)


def build(made: Made, kind: str, directory: Path) -> dict[str, Any]:
    """Make an index on disk as `mee index` does, replace some clips one by one, and compact it; what each took."""
    with IndexWriter.create(directory, made.layout, Origin("made", "made", "made"), settings=PLAIN) as writer:
        put = sum(seconds_of(partial(writer.put, entries))[0] for entries in _entries(made, PUT))
        index, single, refresh = VideoIndex.open(directory), [], []
        for entries in islice(_entries(made, 1), SINGLE):
            single.append(seconds_of(partial(writer.put, entries))[0])
            refresh.append(seconds_of(index.refresh)[0])
        compact = seconds_of(partial(writer.compact, settings=Settings(kind=kind)))[0]  # type: ignore[arg-type]
    one, again = float(np.median(single)), float(np.median(refresh))
    facts = {"puts_a_second": made.clips / put, "single_s": one, "refresh_s": again, "compact_s": compact}
    return {**facts, "bytes_a_clip": _size(directory, "*") / made.clips}


def _entries(made: Made, count: int) -> Iterator[Entries]:
    for chunk, (packed, available) in enumerate(made.chunks()):
        for start in range(0, len(packed), count):
            some = slice(start, start + count)
            names = [f"clip{chunk * CHUNK + start + number:08}" for number in range(len(packed[some]))]
            span = {"start_s": np.zeros(len(names)), "end_s": np.full(len(names), 10.0)}
            yield Entries(pa.table({"clip_id": names, "video": names, **span}), packed[some], available[some])


def opened(directory: Path, query: Queries) -> dict[str, float]:
    """What a process takes to open an index and to answer its first query, in seconds and MB."""
    before = _memory()
    begun = time.perf_counter()
    video_index = VideoIndex.open(directory)
    opening = time.perf_counter() - begun
    first, _ = seconds_of(lambda: video_index.rank(query, BEST).ids)
    own, mapped = (after - earlier for after, earlier in zip(_memory(), before))
    return {"open_s": opening, "first_answer_s": first, "memory_mb": own, "mapped_mb": mapped}


def _memory() -> tuple[float, float]:
    """MB of this process: its own, and of files that it has mapped."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, mapped = (int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped


def _size(directory: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in directory.rglob(pattern) if path.is_file())


def ours(case: Case, kind: str, directory: Path, precision: Precision = "auto") -> Side:
    """An index of one kind; `precision` is that of many queries' products."""
    index, queries = VideoIndex.open(directory), Queries.of(case.queries)
    single = [queries.part(slice(number, number + 1)) for number in range(len(queries))]

    def find(some: slice) -> Any:
        ranked = index.rank(queries if some == EVERY else single[some.start], BEST, precision=precision)
        return ranked.scores, ranked.ids

    def numbers(found: Any) -> list[list[int]]:
        return [[int(name.removeprefix("clip")) for name in names] for names in found[1]]

    settings = Settings(kind=kind)  # type: ignore[arg-type]
    plain = [part for part in case.parts if choose(settings, len(part.rows)) == "flat"]  # these have no codes
    scanned = _size(directory, f"{kind}-*") + sum(part.vectors.nbytes for part in plain)
    name = f"ours, {kind}, {precision}".removesuffix(", auto")
    return Side(name, find, scanned, _size(directory, "*"), numbers)


def by_pattern(case: Case, name: str, search: Callable[[int, Floats], tuple[Floats, Numbers]]) -> Side:
    """Searches the parts one by one with weighted queries, and merges.

    `search` gives (Q, K) scores and places of the best in one part.
    """
    prepared = case.prepared
    return Side(
        name, lambda some: case.merged(lambda part: search(part, prepared[part][some])), case.size, case.size
    )


def by_faiss(case: Case) -> Side:
    indexes = [faiss_flat(part.vectors) for part in case.parts]
    return by_pattern(case, "FAISS flat", lambda part, queries: indexes[part].search(queries, BEST))


def by_faiss_mapped(case: Case) -> Side:
    def search(part: int, queries: Floats) -> Any:
        vectors = case.parts[part].vectors
        return faiss.knn(queries, vectors, min(BEST, len(vectors)), faiss.METRIC_INNER_PRODUCT)

    return by_pattern(case, "FAISS flat, mapped", search)


def by_numpy(case: Case) -> Side:
    def search(part: int, queries: Floats) -> tuple[Floats, Numbers]:
        products = queries @ case.parts[part].vectors.T
        count = min(BEST, products.shape[1])
        at = np.argpartition(products, products.shape[1] - count, axis=1)[:, products.shape[1] - count :]
        return np.take_along_axis(products, at, 1), at

    return by_pattern(case, "numpy", search)


def by_torch(case: Case) -> Side:
    tensors = [torch.from_numpy(np.asarray(part.vectors)) for part in case.parts]

    def search(part: int, queries: Floats) -> tuple[Floats, Numbers]:
        scores = torch.from_numpy(queries) @ tensors[part].T
        found = scores.topk(min(BEST, scores.shape[1]))
        return found.values.numpy(), found.indices.numpy()

    return by_pattern(case, "torch", search)


def naive(case: Case) -> Side:
    experts, size = len(case.layout.names), case.layout.sizes[0]  # one size: they are stacked
    video = torch.from_numpy(case.dense()).view(case.clips, experts, size)
    text, logits = case.queries.packed.view(-1, experts, size), case.queries.logits
    available = torch.from_numpy(case.available)
    nothing = ~available.any(1)
    block = max(8, NAIVE_BLOCK // (case.clips * experts))

    def find(some: slice) -> torch.Tensor:
        found = []
        for queries, its in zip(text[some].split(block), logits[some].split(block)):
            similarity = torch.einsum("qme,gme->qgm", queries, video)
            weights = its[:, None].masked_fill(~available, -torch.inf).softmax(-1)
            scores = (weights * similarity).sum(-1).masked_fill_(nothing, -torch.inf)
            found.append(scores.topk(min(BEST, scores.shape[1])).indices)
        return torch.cat(found)

    return Side("naive", find, video.nbytes, video.nbytes)


def one_flat(case: Case, reranked: bool) -> Side:
    index = faiss_flat(case.dense())
    vectors = case.weighted((True,) * len(case.layout.names)).astype(np.float32)
    _ = case.prepared, case.place

    def find(some: slice) -> Any:
        _, found = index.search(vectors[some], LISTED if reranked else BEST)
        numbers = range(len(vectors))[some]
        return [case.rerank(query, its[its >= 0]) for query, its in zip(numbers, found)] if reranked else found

    size = 4 * case.clips * case.layout.total
    return Side("one flat index" + (", best 1,000 re-ranked" if reranked else ""), find, size, size)


def late_fusion(case: Case, reranked: bool) -> Side:
    rows = [np.flatnonzero(flags) for flags in case.available.T]
    indexes = []
    for m, size in enumerate(case.layout.sizes):
        columns = np.empty((len(rows[m]), size), np.float32)
        for part in case.parts:
            if part.pattern[m]:
                start = sum(size for size, has in zip(case.layout.sizes[:m], part.pattern) if has)
                columns[np.searchsorted(rows[m], part.rows)] = part.vectors[:, start : start + size]
        indexes.append(faiss_flat(columns))
    packed, weights = case.queries.packed.numpy(), case.queries.logits.softmax(1).numpy()
    available, _ = case.available, (case.prepared, case.place)

    def one(query: int) -> Numbers:
        clips, scores = [], []
        for m, columns in enumerate(case.layout.slices):
            found, at = indexes[m].search(packed[query : query + 1, columns], LISTED)
            kept = at[0] >= 0
            clips.append(rows[m][at[0][kept]])
            scores.append(weights[query, m] * found[0][kept])
        union, its = np.unique(np.concatenate(clips), return_inverse=True)
        if reranked:
            return case.rerank(query, union)
        fused = np.bincount(its, np.concatenate(scores), len(union))
        return union[best(fused / (available[union] @ weights[query]))]

    size = sum(4 * len(its) * size for its, size in zip(rows, case.layout.sizes))
    name = "late fusion, re-ranked" if reranked else "late fusion"
    return Side(name, lambda some: [one(query) for query in range(len(packed))[some]], size, size)


def reading(size: int) -> Side:
    array = torch.ones(min(size, LARGEST) // 8, dtype=torch.int64)
    return Side("reading alone", lambda some: array.sum(), array.nbytes)


def products(queries: int, width: int, dtype: torch.dtype) -> Side:
    """(Q, E) by (4096, E), and nothing else."""
    text, clips = (torch.randn(count, width).to(dtype) for count in (queries, CLIPS))
    multiply = float32_product if dtype == torch.float32 else lambda x, y: x @ y.T
    return Side(f"products alone, {str(dtype).removeprefix('torch.')}", lambda some: multiply(text, clips))


def faiss_flat(vectors: Floats) -> Any:
    """An IndexFlatIP of its own."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), 2**16):  # a copy of the map would stay beside it
        index.add(np.ascontiguousarray(vectors[start : start + 2**16]))
    return index
