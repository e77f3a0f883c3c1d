"""Certified: scans bytes instead of floats, and knows how far that can be from the exact score.

    x = centre + scale * k + e      k: whole numbers in [-127, 127], a scale for each column; e: what is left
    q * scale = delta * n + r       n: whole numbers in [-127, 127], a delta for each query;  r: what is left
    <q, x> = <q, centre> + delta <n, k> + <r, k> + <q, e>

The first two are the estimate: whole numbers multiply exactly. By Cauchy's inequality, for each expert m,

    |estimate - exact| <= sum over m of |r_m| max_j |k_jm|  +  |q_m| max_j |e_jm|  +  float32 rounding

with the maxima over the rows measured when the codes are made. An offset (whose scale would make delta coarse for
all other columns) is one whole number K of up to 127 R, spread over R columns: each has K / R, rounded down or up.
So is the query's component; with r_t and k_t in column t,

    |sum over t of r_t k_t| <= |sum over t of r_t| |K| / R  +  sum over t of |r_t|      as |k_t - K / R| < 1
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Self, final

import faiss
import numpy as np
from numpy.typing import NDArray

from index.scanners import codes_file
from index.scanners.bounds import LARGEST_NORM, TINY, UNIT, Doubles, gamma, longest_parts, part_norms, part_starts
from index.scanners.flat import Flat
from index.scanners.found import among_allowed, chunks, cleaned, limits, multiple, nothing, searching
from index.scanners.scanner import Allowed, Floats, Rows, Scanner, Shape

LARGEST: Final = 127  # of a code
ALIGNED: Final = 32  # columns; FAISS's fast kernels want whole blocks
FEW: Final = 256  # rows that are not allowed: finding so many more is cheaper than skipping them
SPREAD: Final = 128  # columns for an offset, at most
USUAL: Final = 0.05  # about as large is the largest component of a query


@final
@dataclass(frozen=True)
class Coding:
    """How vectors become codes, and what is lost; parts are the experts, then the offset."""

    centre: Floats  # (W,)
    scale: Floats  # (W,)
    spread: int  # columns of the offset; 0 without one
    codes: Doubles  # (parts,) longest part of a row's codes
    error: Doubles  # (parts,) longest part of what is left
    size: Doubles  # (parts,) at least |x_m| + 2 |centre_m| + |e_m|: what rounding errors grow with

    def arrays(self) -> codes_file.Arrays:
        """As the file keeps it."""
        fields: codes_file.Arrays = {name: getattr(self, name) for name in NAMES if name != "spread"}
        return {**fields, "spread": np.array([self.spread])}

    @classmethod
    def of(cls, arrays: codes_file.Arrays) -> Self:
        """What `arrays` gave."""
        return cls(**{**arrays, "spread": int(arrays["spread"][0])})  # type: ignore[arg-type]


NAMES: Final = tuple(Coding.__dataclass_fields__)


@final
class Certified(Scanner):
    """Bytes, and proof."""

    kind = "certified"

    def __init__(
        self, vectors: Floats, shape: Shape, coding: Coding, index: Any, file: codes_file.CodesFile | None
    ) -> None:
        self.vectors = vectors
        self.shape = shape
        self.coding = coding
        self._index = index  # None until it is read
        self._file = file
        self._centre = coding.centre.astype(np.float64)
        self._scale = coding.scale.astype(np.float64)

    @property
    def _width(self) -> int:
        """Of the codes."""
        return multiple(sum(self.shape.sizes) + self.coding.spread, ALIGNED)

    @classmethod
    def build(cls, vectors: Floats, shape: Shape) -> Self:
        coding = _ranges(vectors, shape)
        made = cls(vectors, shape, coding, None, None)
        index = faiss.IndexScalarQuantizer(
            made._width, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
        )
        longest_code, longest_error = np.zeros((2, len(part_starts(shape))))
        for _, some in chunks(vectors):
            codes, left = _coded(some, coding, shape)
            longest_code = np.maximum(longest_code, longest_parts(codes, shape))
            longest_error = np.maximum(longest_error, longest_parts(left, shape))
            numbers = np.zeros((len(codes), made._width), dtype=np.float32)
            _spread(codes, coding.spread, numbers)
            index.add_sa_codes((numbers + 128).astype(np.uint8))  # as FAISS has them
        size = coding.size + longest_error
        # `left` was computed in float32: with three roundings, each of something no longer than size
        final = Coding(
            coding.centre, coding.scale, coding.spread, longest_code, longest_error + 4 * UNIT * size, size
        )
        return cls(vectors, shape, final, index, None)

    @classmethod
    def open(cls, path: Path, vectors: Floats, shape: Shape) -> Self:
        file = codes_file.CodesFile.open(path, cls.kind, vectors, shape, NAMES)
        return cls(vectors, shape, Coding.of(file.arrays), None, file)

    def save(self, path: Path) -> None:
        codes = len(self.vectors) * self._width
        codes_file.write(path, self._read(), codes, self.coding.arrays(), self.kind, self.vectors, self.shape)

    @staticmethod
    def files(path: Path) -> tuple[Path, ...]:
        """What `save` writes."""
        return codes_file.files(path)

    def _read(self) -> Any:
        if self._index is None:
            assert self._file is not None  # one of the two is there
            self._index = self._file.read(self.vectors, self._width)
        return self._index

    def scan(self, queries: Floats, count: int, allowed: Allowed | None = None) -> tuple[Floats, Rows]:
        if not bytes_multiply_exactly():
            return Flat(self.vectors, self.shape).scan(queries, count, allowed)
        count = min(count, len(self.vectors) if allowed is None else allowed.count)
        if not count:
            return nothing(len(queries))
        _, delta, whole = self._rounded(queries)
        numbers = np.zeros((len(queries), self._width), dtype=np.float32)
        _spread(whole, self.coding.spread, numbers)
        banned = 0 if allowed is None else len(allowed) - allowed.count
        if banned <= FEW:
            products, rows = self._read().search(numbers, count + banned)
        else:
            products, rows = self._read().search(numbers, count, params=searching(allowed))
        estimates = ((queries @ self._centre)[:, None] + delta * products).astype(np.float32)
        estimates, rows = cleaned(estimates, rows)
        return (
            among_allowed(estimates, rows, allowed, count)
            if allowed is not None and 0 < banned <= FEW
            else (estimates, rows)
        )

    def _rounded(self, queries: Floats) -> tuple[Doubles, Doubles, Doubles]:
        """(Q, W) q * scale, (Q, 1) delta and (Q, W) n, of the offset N."""
        scaled = queries * self._scale
        delta = np.abs(scaled).max(axis=1, keepdims=True) / LARGEST
        delta[delta == 0] = 1.0
        whole = scaled / delta
        if self.coding.spread:
            whole[:, -1] *= self.coding.spread
        return scaled, delta, np.rint(whole, out=whole)

    def bound(self, queries: Floats) -> Doubles:
        coding = self.coding
        norms = part_norms(queries, self.shape)
        scaled, delta, whole = self._rounded(queries)
        left = scaled - delta * whole
        if coding.spread:
            left[:, -1] = scaled[:, -1] - delta[:, 0] * whole[:, -1] / coding.spread
        rounded = part_norms(left, self.shape) @ coding.codes
        if coding.spread:
            rounded += coding.spread * np.where(scaled[:, -1] != 0, delta[:, 0], 0.0)
        rounding = gamma(self._width + 2) * (norms @ coding.size + rounded)
        return np.asarray(rounded + norms @ coding.error + rounding + TINY)


def _ranges(vectors: Floats, shape: Shape) -> Coding:
    """Centres and scales; what is lost is not known yet."""
    low, high = limits(vectors)
    centre = (low / 2 + high / 2).astype(np.float32)
    scale = ((high / 2 - low / 2) / LARGEST).astype(np.float32)
    scale[scale < TINY] = 0.0  # where all rows have the same, nothing is left to code
    spread = 0
    size = np.full(len(part_starts(shape)), LARGEST_NORM)
    if shape.offset:
        usual = USUAL * float(scale[:-1].max())
        spread = int(np.ceil(min(SPREAD, max(1.0, float(scale[-1]) / usual if usual else 1.0))))
        scale[-1] /= spread
        size[-1] = max(abs(float(low[-1])), abs(float(high[-1])))
    none = np.zeros_like(size)
    return Coding(centre, scale, spread, none, none, size + 2 * longest_parts(centre[None], shape))


def _coded(vectors: Floats, coding: Coding, shape: Shape) -> tuple[Floats, Floats]:
    """(N, W) whole numbers, and what is left of (N, W) vectors."""
    per = np.divide(1, coding.scale, out=np.zeros_like(coding.scale), where=coding.scale > 0)
    left = vectors - coding.centre
    codes = np.rint(left * per)
    largest = np.full(shape.width, LARGEST, dtype=np.float32)
    if shape.offset:
        largest[-1] *= coding.spread
    np.clip(codes, -largest, largest, out=codes)
    left -= codes * coding.scale
    return codes, left


def _spread(numbers: NDArray[np.floating[Any]], spread: int, columns: Floats) -> None:
    """Put (N, W) whole numbers into the first of (N, width) columns, the last of them into so many."""
    experts = numbers.shape[1] - bool(spread)
    columns[:, :experts] = numbers[:, :experts]
    if spread:
        each, more = np.divmod(numbers[:, experts:], spread)
        columns[:, experts : experts + spread] = each + (np.arange(spread) < more)


@cache
def bytes_multiply_exactly() -> bool:
    """Whether this FAISS, on this processor, multiplies bytes without losing anything; the proof rests on it."""
    return all(_exact_in(width) for width in (7 * ALIGNED, 8 * ALIGNED))  # other widths go through other kernels


def _exact_in(width: int) -> bool:
    numbers = np.random.default_rng(0).integers(-LARGEST, LARGEST + 1, size=(64, width))
    numbers[:8] = np.where(np.arange(8)[:, None] % 2, LARGEST, -LARGEST)
    numbers[8:16, ::2] *= -1
    index = faiss.IndexScalarQuantizer(
        width, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
    )
    index.add_sa_codes((numbers + 128).astype(np.uint8))
    products, rows = index.search(numbers.astype(np.float32), len(numbers))
    return bool(rows.min() >= 0 and (np.take_along_axis(numbers @ numbers.T, rows, axis=1) == products).all())
