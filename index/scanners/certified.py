"""Certified: scans bytes of short prefixes instead of floats, with a proven bound: index/scanners/coding.py."""

from __future__ import annotations

from functools import cache, cached_property
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, final

import faiss
import numpy as np

from index.scanners.coding import ALIGNED, LARGEST, Bytes, Coded, Coding, Part
from index.scanners.flat import Flat, selector
from index.scanners.mapped import mapped_array
from index.scanners.scanner import Allowed, Doubles, Floats, Results, Scanner, Shape, cleaned, only_allowed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mee.layout import Pattern

FEW: Final = 256  # rows that are not allowed: finding so many more is cheaper than skipping them


@final
class Certified(Scanner):
    """One byte a number. An estimate is an upper bound: by how much it is too high is not bounded."""

    kind = "certified"

    def __init__(self, vectors: Floats, shape: Shape, coding: Coding, pattern: Pattern, codes: Bytes) -> None:
        super().__init__(vectors, shape)
        self.coding, self.pattern, self.codes = coding, pattern, codes

    @classmethod
    def build(cls, vectors: Floats, shape: Shape) -> Self:
        return next(cls.built([((True,) * len(shape.sizes), vectors)], shape.sizes))

    @classmethod
    def built(cls, parts: Sequence[Part], sizes: tuple[int, ...]) -> Iterator[Self]:
        """Scanners of all patterns of a segment, with one coding; sizes: of all experts."""
        coding, codes = Coding.learn(parts, sizes).coded(parts)
        for (pattern, vectors), its in zip(parts, codes):
            shape = Shape(tuple(compress(sizes, pattern)), bool(coding.spread))
            yield cls(vectors, shape, coding, pattern, its)

    @classmethod
    def opened(cls, path: Path, vectors: Floats, shape: Shape, coding: Coding, pattern: Pattern) -> Self:
        """Map the codes that `save` wrote; coding: that of the segment."""
        codes = mapped_array(cls.files(path)[0], (len(vectors), len(coding.columns(pattern))), np.uint8)
        return cls(vectors, shape, coding, pattern, codes)

    def save(self, path: Path) -> None:
        np.save(self.files(path)[0], self.codes)

    @staticmethod
    def files(path: Path) -> tuple[Path, ...]:
        return (path.with_name(f"{path.name}.npy"),)

    @property
    def size(self) -> int:
        return self.codes.nbytes

    @cached_property
    def _index(self) -> Any:
        return _index_of(self.codes)

    def _scan(self, queries: Floats, count: int, allowed: Allowed | None) -> Results:
        if not bytes_multiply_exactly():
            return Flat(self.vectors, self.shape).scan(queries, count, allowed)
        return self.scan_coded(self._coded(queries), count, allowed)

    def bound(self, queries: Floats) -> Doubles:
        return self._coded(queries).bound

    def scan_coded(self, queries: Coded, count: int, allowed: Allowed | None) -> Results:
        """As `scan`, of queries that are coded already; so many rows are allowed."""
        numbers = queries.numbers[:, self.coding.columns(self.pattern)]
        banned = 0 if allowed is None else len(allowed) - allowed.count
        if allowed is None or banned <= FEW:
            products, rows = self._index.search(numbers, count + banned)
        else:
            skipping = faiss.SearchParameters(sel=selector(allowed))  # type: ignore[call-arg]
            products, rows = self._index.search(numbers, count, params=skipping)
        estimates = (queries.constant[:, None] + queries.delta[:, None] * products).astype(np.float32)
        results = cleaned(estimates, rows)
        return only_allowed(*results, allowed, count) if allowed is not None and 0 < banned <= FEW else results

    def _coded(self, queries: Floats) -> Coded:
        """Of (Q, W) queries, whose columns of other patterns are zeros."""
        experts = np.repeat(self.pattern, self.coding.sizes)
        packed = np.zeros((len(queries), 1, len(experts)))
        packed[:, 0, experts] = queries[:, : self.shape.width - self.shape.offset]
        factors = np.broadcast_to(np.array(self.pattern, np.float64), (len(queries), 1, len(self.pattern)))
        numbers = self.coding.weighted(self.coding.rotated(packed), factors, 0.0 if self.shape.offset else None)
        if self.shape.offset:
            numbers[:, -1] = queries[:, -1]
        return self.coding.queries(numbers)


def _index_of(codes: Bytes) -> Any:
    """FAISS's index of (N, C) codes, which it reads where they are; they must outlive it."""
    index = faiss.IndexScalarQuantizer(
        codes.shape[1], faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
    )
    view: Any = index.codes
    view.is_owned = False
    view.view_data = view.c_ptr = faiss.swig_ptr(codes)
    view.view_size = view.c_size = codes.size
    index.ntotal = len(codes)
    return index


@cache
def bytes_multiply_exactly() -> bool:
    """Whether this FAISS multiplies bytes exactly on this processor, which the bound assumes."""
    return all(_exact_in(width) for width in (7 * ALIGNED, 8 * ALIGNED))  # FAISS has two kernels for such widths


def _exact_in(width: int) -> bool:
    numbers = np.random.default_rng(0).integers(-LARGEST, LARGEST + 1, size=(64, width))
    numbers[:8] = np.where(np.arange(8)[:, None] % 2, LARGEST, -LARGEST)
    numbers[8:16, ::2] *= -1
    codes = (numbers + 128).astype(np.uint8)
    products, rows = _index_of(codes).search(numbers.astype(np.float32), len(numbers))
    return bool(rows.min() >= 0 and (np.take_along_axis(numbers @ numbers.T, rows, axis=1) == products).all())
