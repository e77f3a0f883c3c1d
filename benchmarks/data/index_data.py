"""Made clips and queries, piece by piece, so that a million never have to be in memory, and the true answers.

    clip    z = centre_c + 0.8 e,              x_m = A_m^T z + 0.5 e_m, of norm 1       latent clusters
    query   z' = z of some clip + 0.7 e',      t_m = A_m^T z' + 0.5 e'_m, of norm 1;    logits 1.5 e''

c: one of 200 clusters, z: 64 numbers, A_m: (64, E_m) scaled by 1/8, e: standard normal. Every stream of a clip is
missing on its own with the same chance. So the experts agree about a clip, up to noise, and the best answers are
clear. In a model's output clusters differ in size, experts in quality, and streams are missing together.
`uniform` is the hard case: every expert of every clip and query is a random direction.

The true best of every query are found without the code that is measured: float64 products with all clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mee.layout import Layout, Pattern
from mee.model import TextEmbedding
from mee.scoring import mixture_weights

BEST = 10
CHUNK = 25_000  # clips that are made, and put, at a time
BLOCK = 16_384  # clips that are scored at a time for the truth
LATENT, CLUSTERS = 64, 200
NAMES = ("appearance", "motion", "audio", "face")
MAPS, CLIPS, STREAMS, QUERIES = range(4)  # what a generator is seeded for

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
Data = Literal["latent", "uniform"]


@dataclass(frozen=True)
class Part:
    """All clips of one availability pattern."""

    pattern: Pattern
    vectors: Floats  # (N, W), memory-mapped
    rows: Numbers  # (N,) numbers of the clips


@dataclass(frozen=True)
class Made:
    """One case's data; the same settings make the same numbers."""

    clips: int
    sizes: tuple[int, ...]
    missing: float
    data: Data = "latent"
    seed: int = 0

    @cached_property
    def layout(self) -> Layout:
        """Of the packed vectors."""
        names = NAMES + tuple(f"expert{number}" for number in range(len(NAMES), len(self.sizes)))
        return Layout(names[: len(self.sizes)], self.sizes, "renormalise")

    def chunks(self) -> Iterator[tuple[Floats, NDArray[np.bool_]]]:
        """All clips, in order: (N, E), zeros where a stream is missing, and (N, M) which are there."""
        for number, start in enumerate(range(0, self.clips, CHUNK)):
            count = min(CHUNK, self.clips - start)
            generator = self._generator(CLIPS, number)
            packed = self._embedded(self._latent(generator, count), generator, count)
            available = self._available(number, count)
            for m, columns in enumerate(self.layout.slices):
                packed[~available[:, m], columns] = 0
            yield packed, available

    def queries(self, count: int) -> TextEmbedding:
        """As a model would give them."""
        generator = self._generator(QUERIES, 0)
        near = generator.integers(self.clips, size=count)
        latent = np.empty((count, LATENT), np.float32)
        for chunk in np.unique(near // CHUNK):
            its = near // CHUNK == chunk
            there = self._latent(self._generator(CLIPS, int(chunk)), min(CHUNK, self.clips - int(chunk) * CHUNK))
            latent[its] = there[near[its] % CHUNK]
        latent += 0.7 * generator.standard_normal(latent.shape, np.float32)
        packed = torch.from_numpy(self._embedded(latent, generator, count))
        logits = 1.5 * generator.standard_normal((count, len(self.sizes)), np.float32)
        return TextEmbedding(packed, torch.from_numpy(logits), torch.zeros(logits.shape))

    def parts(self, folder: Path) -> list[Part]:
        """Write the clips by pattern to a new folder and map them; those without a stream stay out."""
        folder.mkdir(parents=True)
        counts = [min(CHUNK, self.clips - start) for start in range(0, self.clips, CHUNK)]
        flags = np.concatenate([self._available(number, count) for number, count in enumerate(counts)])
        files = {}
        for pattern in sorted(set(map(tuple, np.unique(flags, axis=0).tolist()))):
            if any(pattern):
                rows = np.flatnonzero((flags == pattern).all(1))
                shape = (len(rows), sum(compress(self.sizes, pattern)))
                path = folder / f"{''.join(str(int(flag)) for flag in pattern)}.npy"
                files[pattern] = (path, np.lib.format.open_memmap(path, "w+", np.float32, shape), rows)
        filled = dict.fromkeys(files, 0)
        for packed, available in self.chunks():
            for pattern, (_, vectors, _) in files.items():
                its = (available == pattern).all(1)
                columns = np.repeat(pattern, self.sizes)
                vectors[filled[pattern] : filled[pattern] + its.sum()] = packed[its][:, columns]
                filled[pattern] += int(its.sum())
        for _, vectors, _ in files.values():
            vectors.flush()
        return [Part(pattern, np.load(path, mmap_mode="c"), rows) for pattern, (path, _, rows) in files.items()]

    def _generator(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, *purpose))

    def _available(self, number: int, count: int) -> NDArray[np.bool_]:
        return self._generator(STREAMS, number).random((count, len(self.sizes))) >= self.missing

    def _latent(self, generator: np.random.Generator, count: int) -> Floats:
        """(N, LATENT): the first that is drawn for a chunk, so that queries find it again."""
        its = generator.integers(CLUSTERS, size=count)
        return self._centres[its] + 0.8 * generator.standard_normal((count, LATENT), np.float32)

    def _embedded(self, latent: Floats, generator: np.random.Generator, count: int) -> Floats:
        packed = generator.standard_normal((count, self.layout.total), np.float32)
        for columns, linear in zip(self.layout.slices, self._maps):
            if self.data == "latent":
                packed[:, columns] *= 0.5
                packed[:, columns] += latent @ linear
            packed[:, columns] /= np.linalg.norm(packed[:, columns], axis=1, keepdims=True)
        return packed

    @cached_property
    def _maps(self) -> list[Floats]:
        generator = self._generator(MAPS, 0)
        return [generator.standard_normal((LATENT, size), np.float32) / LATENT**0.5 for size in self.sizes]

    @cached_property
    def _centres(self) -> Floats:
        return self._generator(MAPS, 1).standard_normal((CLUSTERS, LATENT), np.float32)


@dataclass(frozen=True)
class Case:
    """What every side is given."""

    parts: list[Part]
    queries: TextEmbedding
    layout: Layout
    clips: int

    @cached_property
    def prepared(self) -> list[Floats]:
        """(Q, W) weighted query vectors of every part."""
        return [self.weighted(part.pattern).astype(np.float32) for part in self.parts]

    def weighted(self, pattern: Pattern) -> NDArray[np.float64]:
        """(Q, W): what clips of a pattern are multiplied with."""
        text, there = self.queries, torch.tensor([pattern])
        weights = mixture_weights(text.logits.double(), there, self.layout.missing)
        vectors = text.packed.double() * self.layout.spread(weights)
        return vectors[:, self.layout.spread(there)[0]].numpy()

    @property
    def size(self) -> int:
        """Bytes of the clips' vectors."""
        return sum(part.vectors.nbytes for part in self.parts)

    @cached_property
    def available(self) -> NDArray[np.bool_]:
        """(G, M)."""
        flags = np.zeros((self.clips, len(self.layout.names)), bool)
        for part in self.parts:
            flags[part.rows] = part.pattern
        return flags

    @cached_property
    def place(self) -> Numbers:
        """(G,) where a clip is in its part."""
        place = np.zeros(self.clips, np.int64)
        for part in self.parts:
            place[part.rows] = np.arange(len(part.rows))
        return place

    def dense(self) -> Floats:
        """(G, E), zeros where a stream is missing."""
        packed = np.zeros((self.clips, self.layout.total), np.float32)
        for part in self.parts:
            packed[np.ix_(part.rows, np.flatnonzero(np.repeat(part.pattern, self.layout.sizes)))] = part.vectors
        return packed

    def merged(self, search: Callable[[int], tuple[Floats, Numbers]]) -> Numbers:
        """(Q, 10) of what `search` finds in every part."""
        found = [search(number) for number in range(len(self.parts))]
        scores = np.concatenate([scores for scores, _ in found], 1)
        rows = np.concatenate([np.where(at < 0, -1, part.rows[at]) for part, (_, at) in zip(self.parts, found)], 1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :BEST]
        return np.take_along_axis(rows, order, 1)

    def rerank(self, query: int, clips: Numbers) -> Numbers:
        """The best of these clips by their score."""
        scores = np.full(len(clips), -np.inf, np.float32)
        flags = self.available[clips]
        for part, vectors in zip(self.parts, self.prepared):
            its = np.flatnonzero((flags == part.pattern).all(1))
            scores[its] = part.vectors[self.place[clips[its]]] @ vectors[query]
        return clips[best(scores)]

    def truth(self) -> Numbers:
        """(Q, 10) numbers of the true best clips, ties by number; -1 where there are no more."""
        scores, rows = [], []
        for part in self.parts:
            queries = torch.from_numpy(self.weighted(part.pattern))
            for start in range(0, len(part.rows), BLOCK):
                block = torch.from_numpy(part.vectors[start : start + BLOCK].astype(np.float64))
                found = (queries @ block.T).topk(min(BEST, len(block)))
                scores.append(found.values.numpy())
                rows.append(part.rows[start + found.indices.numpy()])
        numbers = np.concatenate(rows, 1)
        order = np.lexsort((numbers, -np.concatenate(scores, 1)))[:, :BEST]
        missing = ((0, 0), (0, BEST - order.shape[1]))
        return np.pad(np.take_along_axis(numbers, order, 1), missing, constant_values=-1)


def best(scores: Floats) -> Numbers:
    """Positions of the ten highest scores, best first."""
    count = min(BEST, len(scores))
    top = np.argpartition(scores, len(scores) - count)[len(scores) - count :]
    return top[np.argsort(-scores[top], kind="stable")]


def recall(found: Numbers, true: Numbers) -> float:
    """The share of the true best that is among the first ten found."""
    hits = sum(len(set(some[:BEST]) & (set(wanted) - {-1})) for some, wanted in zip(found.tolist(), true.tolist()))
    return float(hits / (true >= 0).sum())
