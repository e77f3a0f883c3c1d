"""Certified: scans bytes instead of floats, with a proven bound on the difference from the exact score.

    x = centre + scale * k + e      k: integers in [-127, 127], a scale for each column; e: the residual
    q * scale = delta * n + r       n: integers in [-127, 127], a delta for each query;  r: the residual
    <q, x> = <q, centre> + delta <n, k> + <r, k> + <q, e>

The first two are the estimate: integers multiply exactly. By Cauchy's inequality, for each expert m,

    |estimate - exact| <= sum over m of |r_m| max_j |k_jm|  +  |q_m| max_j |e_jm|  +  float32 rounding

with the maxima over the rows measured when the codes are made. An offset (whose scale would make delta coarse for
all other columns) is one integer K of up to 127 R, spread over R columns: each has K / R, rounded down or up. So
is the query's component; with r_t and k_t in column t,

    |sum over t of r_t k_t| <= |sum over t of r_t| |K| / R  +  sum over t of |r_t|      as |k_t - K / R| < 1
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Self, final

import faiss
import numpy as np
from numpy.typing import NDArray

from index.scanners.coded import Arrays, CodedScanner, Saved, Specs, chunks, multiple
from index.scanners.flat import Flat, selector
from index.scanners.scanner import (
    LARGEST_NORM,
    TINY,
    UNIT,
    Allowed,
    Doubles,
    Floats,
    Results,
    Shape,
    cleaned,
    gamma,
    longest_parts,
    no_results,
    only_allowed,
    part_norms,
    part_starts,
)

LARGEST: Final = 127  # of a code
ALIGNED: Final = 32  # columns; FAISS's fast kernels need whole blocks
FEW: Final = 256  # rows that are not allowed: finding so many more is cheaper than skipping them
SPREAD: Final = 128  # columns for an offset, at most
USUAL: Final = 0.05  # a typical largest component of a query


@final
@dataclass(frozen=True)
class Coding:
    """How vectors become codes, and what is lost, for each part of a vector."""

    centre: Floats  # (W,)
    scale: Floats  # (W,)
    spread: int  # columns of the offset; 0 without one
    codes: Doubles  # (parts,) largest norm of a row's codes
    error: Doubles  # (parts,) largest norm of a residual
    size: Doubles  # (parts,) at least |x_m| + 2 |centre_m| + |e_m|: rounding errors are proportional to it

    def arrays(self) -> Arrays:
        """The fields as arrays, for the file."""
        return {name: np.array([self.spread]) if name == "spread" else getattr(self, name) for name in NAMES}

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        """The inverse of `arrays`."""
        return cls(**{**arrays, "spread": int(arrays["spread"][0])})  # type: ignore[arg-type]


NAMES: Final = tuple(Coding.__dataclass_fields__)


@final
class Certified(CodedScanner):
    """One byte a column, and a proven bound."""

    kind = "certified"
    codes_at_end = True

    def __init__(
        self, vectors: Floats, shape: Shape, arrays: Arrays, codes: Any = None, saved: Saved | None = None
    ) -> None:
        super().__init__(vectors, shape, arrays, codes, saved)
        self.coding = Coding.of(arrays)
        if not shape.offset <= self.coding.spread <= shape.offset * SPREAD:
            raise ValueError(f"an offset is spread over {self.coding.spread:,} columns")
        self._centre, self._scale = self.coding.centre.astype(np.float64), self.coding.scale.astype(np.float64)
        self._columns = _columns(shape, self.coding.spread)

    @property
    def columns(self) -> int:
        return self._columns

    @classmethod
    def specs(cls, shape: Shape) -> Specs:
        column, part = ((shape.width,), np.float32), ((len(part_starts(shape)),), np.float64)
        kinds = {"centre": column, "scale": column, "spread": ((1,), np.int64)}
        return {name: kinds.get(name, part) for name in NAMES}

    def without_codes(self, fill: int) -> tuple[Any, int]:
        index = _quantizer(self.columns)
        index.ntotal = len(self.vectors)
        return index, len(self.vectors) * self.columns

    @classmethod
    def build(cls, vectors: Floats, shape: Shape) -> Self:
        coding = _ranges(vectors, shape)
        columns = _columns(shape, coding.spread)
        index = _quantizer(columns)
        longest_code, longest_error = np.zeros((2, len(part_starts(shape))))
        for some in chunks(vectors):
            codes, residual = _coded(some, coding, shape)
            longest_code = np.maximum(longest_code, longest_parts(codes, shape))
            longest_error = np.maximum(longest_error, longest_parts(residual, shape))
            index.add_sa_codes((_spread(codes, coding.spread, columns) + 128).astype(np.uint8))  # FAISS's encoding
        size = coding.size + longest_error
        # residuals were computed in float32: with three roundings, each of something no longer than size
        error = longest_error + 4 * UNIT * size
        final = Coding(coding.centre, coding.scale, coding.spread, longest_code, error, size)
        return cls(vectors, shape, final.arrays(), index)

    def scan(self, queries: Floats, count: int, allowed: Allowed | None = None) -> Results:
        if not bytes_multiply_exactly():
            return Flat(self.vectors, self.shape).scan(queries, count, allowed)
        count = min(count, len(self.vectors) if allowed is None else allowed.count)
        if not count:
            return no_results(len(queries))
        _, delta, whole = self._rounded(queries)
        numbers = _spread(whole, self.coding.spread, self.columns)
        banned = 0 if allowed is None else len(allowed) - allowed.count
        if allowed is None or banned <= FEW:
            products, rows = self.codes.search(numbers, count + banned)
        else:
            skipping = faiss.SearchParameters(sel=selector(allowed))  # type: ignore[call-arg]
            products, rows = self.codes.search(numbers, count, params=skipping)
        estimates = ((queries @ self._centre)[:, None] + delta * products).astype(np.float32)
        results = cleaned(estimates, rows)
        return only_allowed(*results, allowed, count) if allowed is not None and 0 < banned <= FEW else results

    def _rounded(self, queries: Floats) -> tuple[Doubles, Doubles, Doubles]:
        """(Q, W) q * scale, (Q, 1) delta and (Q, W) n, with N for the offset."""
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
        residual = scaled - delta * whole
        if coding.spread:
            residual[:, -1] = scaled[:, -1] - delta[:, 0] * whole[:, -1] / coding.spread
        rounded = part_norms(residual, self.shape) @ coding.codes
        if coding.spread:
            rounded += coding.spread * np.where(scaled[:, -1] != 0, delta[:, 0], 0.0)
        rounding = gamma(self.columns + 2) * (norms @ coding.size + rounded)
        return np.asarray(rounded + norms @ coding.error + rounding + TINY)


def _columns(shape: Shape, spread: int) -> int:
    """Columns of the codes."""
    return multiple(sum(shape.sizes) + spread, ALIGNED)


def _quantizer(columns: int) -> Any:
    kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
    return faiss.IndexScalarQuantizer(columns, kind, faiss.METRIC_INNER_PRODUCT)


def _ranges(vectors: Floats, shape: Shape) -> Coding:
    """Centres and scales; what is lost is not known yet."""
    low = np.full(vectors.shape[1], np.inf, dtype=np.float32)
    high = -low
    for some in chunks(vectors):
        np.minimum(low, some.min(axis=0), out=low)
        np.maximum(high, some.max(axis=0), out=high)
    centre = (low / 2 + high / 2).astype(np.float32)
    scale = ((high / 2 - low / 2) / LARGEST).astype(np.float32)
    scale[scale < TINY] = 0.0  # a column that is the same in all rows needs no code
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
    """(N, W) integers, and the residual of (N, W) vectors."""
    per = np.divide(1, coding.scale, out=np.zeros_like(coding.scale), where=coding.scale > 0)
    residual = vectors - coding.centre
    codes = np.rint(residual * per)
    largest = np.full(shape.width, LARGEST, dtype=np.float32)
    if shape.offset:
        largest[-1] *= coding.spread
    np.clip(codes, -largest, largest, out=codes)
    residual -= codes * coding.scale
    return codes, residual


def _spread(numbers: NDArray[np.floating[Any]], spread: int, columns: int) -> Floats:
    """(N, columns) integers made of (N, W) ones, of which the last is spread over so many columns."""
    spaced = np.zeros((len(numbers), columns), dtype=np.float32)
    experts = numbers.shape[1] - bool(spread)
    spaced[:, :experts] = numbers[:, :experts]
    if spread:
        each, more = np.divmod(numbers[:, experts:], spread)
        spaced[:, experts : experts + spread] = each + (np.arange(spread) < more)
    return spaced


@cache
def bytes_multiply_exactly() -> bool:
    """Whether this FAISS multiplies bytes exactly on this processor, which the bound assumes."""
    return all(_exact_in(width) for width in (7 * ALIGNED, 8 * ALIGNED))  # FAISS has two kernels for such widths


def _exact_in(width: int) -> bool:
    numbers = np.random.default_rng(0).integers(-LARGEST, LARGEST + 1, size=(64, width))
    numbers[:8] = np.where(np.arange(8)[:, None] % 2, LARGEST, -LARGEST)
    numbers[8:16, ::2] *= -1
    index = _quantizer(width)
    index.add_sa_codes((numbers + 128).astype(np.uint8))
    products, rows = index.search(numbers.astype(np.float32), len(numbers))
    return bool(rows.min() >= 0 and (np.take_along_axis(numbers @ numbers.T, rows, axis=1) == products).all())
