"""Made clips and queries, piece by piece, so that a million clips never have to be in memory.

    clip    z = centre_c + 0.8 e,              x_m = unit(A_m^T z + 0.5 e_m)       latent clusters
    query   z' = z of some clip + 0.7 e',      t_m = unit(A_m^T z' + 0.5 e'_m),    logits 1.5 e''

c: one of 200 clusters, z: 64 numbers, A_m: (64, E_m) scaled by 1/8, e: standard normal. Every stream of a clip is
missing on its own with the same chance. So the experts agree about a clip, up to noise, and the best answers stand
out: what makes approximate search possible. It is not a model's output: real embeddings have clusters of unlike
sizes, experts of unlike worth, and streams that go missing together. `uniform` is the hard case: every expert of
every clip and query a direction of its own, nothing near anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mee.layout import Layout
from mee.model import TextEmbedding
from mee.scoring import Pattern, weighted_query

CHUNK = 25_000  # clips that are made, and put, at a time
LATENT, CLUSTERS = 64, 200
NAMES = ("appearance", "motion", "audio", "face")
MAPS, CLIPS, STREAMS, QUERIES = range(4)  # what a generator is seeded for

Floats = NDArray[np.float32]
Data = Literal["latent", "uniform"]


@dataclass(frozen=True)
class Part:
    """All clips of one availability pattern."""

    pattern: Pattern
    vectors: Floats  # (N, W), memory-mapped
    rows: NDArray[np.int64]  # (N,) numbers of the clips


@dataclass(frozen=True)
class Chunk:
    """Clips with numbers from `start` on."""

    start: int
    packed: Floats  # (N, E), zeros where a stream is missing
    available: NDArray[np.bool_]  # (N, M)


@dataclass(frozen=True)
class Sentences:
    """Q made queries."""

    packed: Floats  # (Q, E)
    logits: Floats  # (Q, M)

    def text(self) -> TextEmbedding:
        """As a model would give them."""
        return TextEmbedding(torch.from_numpy(self.packed), torch.from_numpy(self.logits))

    def vectors(self, pattern: Pattern, layout: Layout) -> NDArray[np.float64]:
        """(Q, W): what clips of a pattern are multiplied with."""
        text = self.text()
        return weighted_query(text.packed.double(), text.logits.double(), pattern, layout).numpy()


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
        return Layout(names[: len(self.sizes)], self.sizes)

    def chunks(self) -> Iterator[Chunk]:
        """All clips, in order."""
        for number, start in enumerate(range(0, self.clips, CHUNK)):
            count = min(CHUNK, self.clips - start)
            generator = self._generator(CLIPS, number)
            packed = self._embedded(self._latent(generator, count), generator, count)
            available = self._available(number, count)
            for m, columns in enumerate(self.layout.slices):
                packed[~available[:, m], columns] = 0
            yield Chunk(start, packed, available)

    def sentences(self, count: int, number: int = 0) -> Sentences:
        """Queries; another number gives others."""
        generator = self._generator(QUERIES, number)
        near = generator.integers(self.clips, size=count)
        latent = np.empty((count, LATENT), np.float32)
        for chunk in np.unique(near // CHUNK):
            its = near // CHUNK == chunk
            there = self._latent(self._generator(CLIPS, int(chunk)), min(CHUNK, self.clips - int(chunk) * CHUNK))
            latent[its] = there[near[its] % CHUNK]
        latent += 0.7 * generator.standard_normal(latent.shape, np.float32)
        packed = self._embedded(latent, generator, count)
        return Sentences(packed, 1.5 * generator.standard_normal((count, len(self.sizes)), np.float32))

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
        for chunk in self.chunks():
            for pattern, (_, vectors, _) in files.items():
                its = (chunk.available == pattern).all(1)
                columns = np.repeat(pattern, self.sizes)
                vectors[filled[pattern] : filled[pattern] + its.sum()] = chunk.packed[its][:, columns]
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
