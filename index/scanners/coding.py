"""Coding: how the vectors of a segment become bytes, and queries what the bytes are multiplied with.

Of each expert of E columns a prefix is coded: the products with a basis P of d columns, the leading eigenvectors
of the clips' second moments, and the norm of the rest. For any x' and any P, orthogonal or not,

    x = P x' + x_r,   q = P a + q_r
    <q, x> = <P'q, x'> + <q_r, x_r> + <a, P'x_r>  <=  <P'q, x'> + |q_r| |x_r| + |a| |P'x_r|

The first two terms are the product of (P'q, |q_r|) with (x', |x_r|), d + 1 numbers in place of E. The last is
rounding: x' = fl(P'x), so |P'x_r| <= |x' - P'x| + |I - P'P| |x'|, with |x' - P'x| <= gamma_E |P| |x| (Frobenius
norms). Where no short prefix holds most of the second moments, all columns are coded as they are.

Let y be such numbers of a clip, and p those of a query.

    y = centre + scale * k + e      k: integers in [-127, 127], a scale for each column; e: the residual
    p * scale = delta * n + r       n: integers in [-127, 127], a delta for each query;  r: the residual
    <p, y> = <p, centre> + delta <n, k> + <r, k> + <p, e>

The first two are the estimate: integers multiply exactly. By Cauchy's inequality, for each expert m,

    <q, x> - estimate <= sum over m of |r_m| max_j |k_jm|  +  |p_m| max_j |e_jm|  +  rounding

with the maxima over the rows measured when the codes are made. An offset (whose scale would make delta coarse for
all other columns) is one integer K of up to 127 R, spread over R columns: each has K / R, rounded down or up. So
is the query's component; with r_t and k_t in column t,

    |sum over t of r_t k_t| <= |sum over t of r_t| |K| / R  +  sum over t of |r_t|      as |k_t - K / R| < 1

Many queries are multiplied with the bytes in float32, without n and r.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, compress
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from index.scanners.scanner import (
    LARGEST_NORM,
    TINY,
    UNIT,
    Doubles,
    Floats,
    Rows,
    Shape,
    chunks,
    gamma,
    longest_parts,
    multiple,
)
from mee.layout import Pattern

Part = tuple[Pattern, Floats]  # a pattern, and (N, W) vectors of its clips
Bytes = NDArray[np.uint8]

LARGEST: Final = 127  # of a code
ALIGNED: Final = 32  # columns; FAISS's fast kernels need whole blocks
SPREAD: Final = 128  # columns for an offset, at most
USUAL: Final = 0.05  # a typical largest component of a query
STEP: Final = 16  # columns: prefixes with the norm of the rest are multiples of it
SHORT: Final = 0.75  # of the cost of all columns: longer prefixes gain too little
SAMPLE: Final = 8192  # vectors that the second moments are measured on
EXACT: Final = 1e-6  # above what is lost in float64, relative to the norms


class Rotated(NamedTuple):
    """Q queries of T terms in the numbers that are coded."""

    numbers: Doubles  # (Q, T, D) P'q of each expert, and 0 where the norm of the rest will stand
    rest: Doubles  # (Q, T, T, M) inner products of the terms' rests
    norm: Doubles  # (Q, T, M) of the terms' experts


class Coded(NamedTuple):
    """What codes are multiplied with for Q queries of one pattern, or of P patterns with a leading axis."""

    numbers: Floats  # (Q, C) n; see `Coding.columns`
    delta: Doubles  # (Q,)
    constant: Doubles  # (Q,) <p, centre>
    bound: Doubles  # (Q,) the exact score is at most so much above the estimate
    rounding: Doubles  # (Q,) the largest error of an inner product of the vectors themselves in float32

    def part(self, query: slice) -> Coded:
        """That of some queries."""
        numbers, delta, constant, bound, rounding = self
        return Coded(numbers[query], delta[query], constant[query], bound[query], rounding[query])


@final
@dataclass(frozen=True, eq=False)
class Coding:
    """How vectors become codes, and what is lost: of each expert, and of the offset where there are offsets."""

    sizes: tuple[int, ...]  # of the M experts
    bases: tuple[Floats | None, ...]  # (E_m, d_m) of each expert; None: its columns are coded as they are
    centre: Floats  # (D,) of each number, the offset the last
    scale: Floats  # (D,)
    spread: int  # columns of the offset; 0 without one
    codes: Doubles  # (parts,) largest norm of a row's codes
    error: Doubles  # (parts,) largest norm of a residual, and what the rotation loses
    size: Doubles  # (parts,) at least |y_m| + 2 |centre_m| + |e_m|: rounding errors are proportional to it

    # ---- the numbers that are coded

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """(M,) numbers of each expert."""
        return tuple(size if basis is None else basis.shape[1] + 1 for size, basis in zip(self.sizes, self.bases))

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """(parts,) the first number of each part."""
        ends = tuple(accumulate(self.kept, initial=0))
        return ends if self.spread else ends[:-1]

    @cached_property
    def short(self) -> bool:
        """Whether a prefix of some expert is coded."""
        return any(basis is not None for basis in self.bases)

    @cached_property
    def _columns(self) -> dict[Pattern, Rows]:
        return {}

    def columns(self, pattern: Pattern) -> Rows:
        """(C,) the numbers in the codes of a pattern, an offset's as often as it is spread, up to whole blocks.

        After the D numbers and the spread offset there is a column of zeros.
        """
        if pattern not in self._columns:
            numbers = np.repeat(np.array(pattern), self.kept)
            places = np.flatnonzero(numbers).tolist()
            places += range(len(numbers), len(numbers) + self.spread)
            zeros = multiple(len(places), ALIGNED) - len(places)
            self._columns[pattern] = np.array(places + [len(numbers) + self.spread] * zeros)
        return self._columns[pattern]

    @cached_property
    def _wide(self) -> tuple[tuple[Doubles, Doubles] | None, ...]:
        """Bases P in float64, each with P'P - 2 I: |q_r|^2 = |q|^2 + a' (P'P - 2 I) a."""
        wide = [None if basis is None else basis.astype(np.float64) for basis in self.bases]
        return tuple(
            None if basis is None else (basis, basis.T @ basis - 2 * np.eye(len(basis.T))) for basis in wide
        )

    def reduced(self, vectors: Floats, pattern: Pattern) -> Floats:
        """(N, D_A) the numbers of (N, W) vectors of a pattern: x', and at least |x_r|."""
        parts, start = [], 0
        for size, basis in compress(zip(self.sizes, self.bases), pattern):
            part = vectors[:, start : start + size]
            start += size
            if basis is None:
                parts.append(part)
                continue
            short = part @ basis
            rest = part - short @ basis.T
            lost = gamma(basis.shape[1] + 1) * (1 + np.linalg.norm(basis)) * LARGEST_NORM
            norm = np.sqrt(np.einsum("nd,nd->n", rest, rest)) * (1 + gamma(size)) + lost
            parts += [short, norm[:, None].astype(np.float32)]
        return np.concatenate([*parts, vectors[:, start:]], axis=1)

    # ---- codes of clips

    @classmethod
    def learn(cls, parts: Sequence[Part], sizes: tuple[int, ...]) -> Coding:
        """Choose bases, centres and scales for vectors; what is lost is not known yet."""
        bases = tuple(_basis(_sample(parts, sizes, m), size) for m, size in enumerate(sizes))
        offset = parts[0][1].shape[1] > sum(compress(sizes, parts[0][0]))
        none = np.zeros(len(sizes) + offset)
        coding = cls(sizes, bases, *np.empty((2, 0), np.float32), int(offset), none, none, none)  # type: ignore[call-arg]
        low = np.full(sum(coding.kept) + offset, np.inf, dtype=np.float32)
        high, size = -low, none.copy()
        for pattern, vectors in parts:
            its, there = coding._numbers(pattern), coding._parts(pattern)
            shape = Shape(tuple(compress(coding.kept, pattern)), offset)
            for some in chunks(vectors):
                numbers = coding.reduced(some, pattern)
                low[its] = np.minimum(low[its], numbers.min(axis=0))
                high[its] = np.maximum(high[its], numbers.max(axis=0))
                size[there] = np.maximum(size[there], longest_parts(numbers, shape))
        low[~np.isfinite(low)] = high[~np.isfinite(high)] = 0.0  # of experts that no clip has
        centre = (low / 2 + high / 2).astype(np.float32)
        scale = ((high / 2 - low / 2) / LARGEST).astype(np.float32)
        scale[scale < TINY] = 0.0  # a column that is the same in all rows needs no code
        spread = 0
        if offset:
            usual = USUAL * float(scale[:-1].max())
            spread = int(np.ceil(min(SPREAD, max(1.0, float(scale[-1]) / usual if usual else 1.0))))
            scale[-1] /= spread
        shape = Shape(coding.kept, offset)
        return replace(
            coding, centre=centre, scale=scale, spread=spread, size=size + 2 * longest_parts(centre[None], shape)
        )

    def _numbers(self, pattern: Pattern) -> Rows:
        """The numbers that clips of a pattern have."""
        return np.flatnonzero(np.append(np.repeat(pattern, self.kept), [True] * bool(self.spread)))

    def _parts(self, pattern: Pattern) -> Rows:
        return np.flatnonzero([*pattern, *[True] * bool(self.spread)])

    def coded(self, parts: Sequence[Part]) -> tuple[Coding, list[Bytes]]:
        """(N, C) codes of the vectors that it was learnt from, and the same coding with what is lost."""
        codes, error, all_codes = np.zeros_like(self.size), np.zeros_like(self.size), []
        per = np.divide(1, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)
        largest = np.full(len(per), LARGEST, dtype=np.float32)
        if self.spread:
            largest[-1] *= self.spread
        for pattern, vectors in parts:
            its, there, columns = self._numbers(pattern), self._parts(pattern), self.columns(pattern)
            shape = Shape(tuple(compress(self.kept, pattern)), bool(self.spread))
            done = np.empty((len(vectors), len(columns)), np.uint8)
            start = 0
            for some in chunks(vectors):
                residual = self.reduced(some, pattern) - self.centre[its]
                whole = np.rint(residual * per[its])
                np.clip(whole, -largest[its], largest[its], out=whole)
                residual -= whole * self.scale[its]
                codes[there] = np.maximum(codes[there], longest_parts(whole, shape))
                error[there] = np.maximum(error[there], longest_parts(residual, shape))
                wide = np.zeros((len(some), len(per)), np.float32)
                wide[:, its] = whole
                done[start : start + len(some)] = _spread(wide, self.spread)[:, columns] + 128
                start += len(some)
            all_codes.append(done)
        size = self.size + error
        # residuals were computed in float32: with three roundings, each of something no longer than size
        error = error + 4 * UNIT * size
        error[: len(self.sizes)] += [_lost(basis) for basis in self.bases]
        return replace(self, codes=codes, error=error, size=size), all_codes

    # ---- queries

    def rotated(self, packed: NDArray[np.floating]) -> Rotated:
        """What the (Q, T, E) packed vectors of queries become."""
        queries, terms, _ = packed.shape
        numbers = np.zeros((queries, terms, sum(self.kept)))
        rest = np.zeros((queries, terms, terms, len(self.sizes)))
        norm = np.zeros((queries, terms, len(self.sizes)))
        ends, starts = tuple(accumulate(self.sizes)), tuple(accumulate(self.kept, initial=0))
        for m, (size, wide) in enumerate(zip(self.sizes, self._wide)):
            part, first = packed[..., ends[m] - size : ends[m]].astype(np.float64), starts[m]
            if wide is None:
                numbers[..., first : first + size] = part
                continue
            basis, apart = wide
            numbers[..., first : starts[m + 1] - 1] = short = part @ basis
            rest[..., m] = part @ part.swapaxes(1, 2) + short @ apart @ short.swapaxes(1, 2)
            norm[..., m] = np.linalg.norm(part, axis=-1)
        return Rotated(numbers, rest, norm)

    def weighted(self, rotated: Rotated, factors: Doubles, offset: float | None) -> Doubles:
        """(…, Q, D) the numbers of queries, of which (…, Q, T, M) factors weigh the terms' experts."""
        spaced = np.repeat(factors, self.kept, axis=-1)
        numbers = np.einsum("...qtd,qtd->...qd", spaced, rotated.numbers)
        if self.short:
            squares = np.einsum("...qtm,qtum,...qum->...qm", factors, rotated.rest, factors)
            above = EXACT * (np.abs(factors) * rotated.norm).sum(-2)
            for m, (end, basis) in enumerate(zip(accumulate(self.kept), self.bases)):
                if basis is not None:
                    numbers[..., end - 1] = np.sqrt(np.maximum(squares[..., m], 0)) + above[..., m]
        if offset is None:
            return np.asarray(numbers)
        return np.concatenate([numbers, np.full((*numbers.shape[:-1], 1), offset)], axis=-1)

    def queries(self, numbers: Doubles) -> Coded:
        """What (…, Q, D) numbers of queries become, to be scanned by FAISS; C is not that of a pattern yet."""
        scaled = numbers * self.scale
        delta = np.abs(scaled).max(axis=-1, keepdims=True) / LARGEST
        delta[delta == 0] = 1.0
        whole = scaled / delta
        if self.spread:
            whole[..., -1] *= self.spread
        np.rint(whole, out=whole)
        residual = scaled - delta * whole
        if self.spread:
            residual[..., -1] = scaled[..., -1] - delta[..., 0] * whole[..., -1] / self.spread
        norms = self._norms(numbers)
        rounded = self._norms(residual) @ self.codes
        if self.spread:
            rounded += self.spread * np.where(scaled[..., -1] != 0, delta[..., 0], 0.0)
        terms = len(self.scale) + self.spread + ALIGNED
        rounding = gamma(terms) * (norms @ self.size + rounded)
        bound = rounded + norms @ self.error + rounding + TINY
        return Coded(
            _spread(whole, self.spread), delta[..., 0], numbers @ self.centre, bound, self.rounding(numbers)
        )

    def rounding(self, numbers: Doubles) -> Doubles:
        """(…, Q) the largest error of float32 in the inner product of a query with a vector itself."""
        return np.asarray(gamma(sum(self.sizes) + 1) * (self._norms(numbers) @ self.size) * (1 + EXACT) + TINY)

    def factors(self, numbers: Doubles, pattern: Pattern) -> tuple[Floats, Doubles, Doubles]:
        """What codes are multiplied with in float32: (Q, C), and (Q,) constants and bounds as in `Coded`."""
        scaled = numbers * self.scale
        norms = self._norms(numbers)
        rounding = gamma(len(self.columns(pattern))) * (self._norms(scaled) @ self.codes + norms @ self.size)
        if self.spread:  # K / R is rounded in each column, and the parts add up to K again
            rounding += gamma(len(self.columns(pattern))) * self.spread * np.abs(scaled[..., -1])
        wide = np.concatenate(
            [scaled, np.repeat(scaled[..., -1:], max(0, self.spread - 1), axis=-1), np.zeros((len(scaled), 1))],
            axis=-1,
        )
        bound = norms @ self.error + rounding + TINY
        return wide[:, self.columns(pattern)].astype(np.float32), numbers @ self.centre, bound

    def _norms(self, numbers: Doubles) -> Doubles:
        """(…, parts)"""
        return np.asarray(np.sqrt(np.add.reduceat(np.square(numbers), self.starts, axis=-1)))

    # ---- the file

    def save(self, path: Path) -> None:
        """Write it."""
        arrays = {f"basis-{m}": basis for m, basis in enumerate(self.bases) if basis is not None}
        arrays |= {name: getattr(self, name) for name in ("centre", "scale", "codes", "error", "size")}
        arrays["spread"] = np.array([self.spread])
        path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))

    @classmethod
    def read(cls, content: bytes, sizes: tuple[int, ...], *, offset: bool) -> Coding:
        """The inverse of `save`, of content whose checksum is right.

        Raises:
            ValueError: it is not the coding of clips with such experts.
        """
        try:
            arrays = load(content)
            bases = tuple(arrays.pop(f"basis-{m}", None) for m in range(len(sizes)))
            coding = cls(sizes, bases, **{**arrays, "spread": int(arrays["spread"][0])})  # type: ignore[arg-type]
            numbers, parts = sum(coding.kept) + offset, len(sizes) + offset
        except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
            raise ValueError("it is not how clips are coded") from error
        kinds: dict[str, Any] = dict.fromkeys(("centre", "scale"), ((numbers,), np.float32))
        kinds |= dict.fromkeys(("codes", "error", "size"), ((parts,), np.float64))
        fits = all(arrays[name].shape == shape and arrays[name].dtype == of for name, (shape, of) in kinds.items())
        fits &= offset <= coding.spread <= offset * SPREAD
        for size, basis in zip(sizes, bases):
            if basis is not None:
                fits &= basis.shape[:-1] == (size,) and basis.dtype == np.float32 and np.isfinite(basis).all()
        if not fits or not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("it is not how such clips are coded")
        return coding


def _spread(numbers: NDArray[np.floating], spread: int) -> Floats:
    """(…, D + R) integers of (…, D), of which the last is spread over R columns, and a column of zeros."""
    experts = numbers.shape[-1] - bool(spread)
    spaced = np.zeros((*numbers.shape[:-1], experts + spread + 1), dtype=np.float32)
    spaced[..., :experts] = numbers[..., :experts]
    if spread:
        each, more = np.divmod(numbers[..., experts:], spread)
        spaced[..., experts : experts + spread] = each + (np.arange(spread) < more)
    return spaced


def _sample(parts: Sequence[Part], sizes: tuple[int, ...], m: int) -> Iterator[Floats]:
    """Some vectors of an expert, in proportion from all patterns that have it."""
    total = sum(len(vectors) for pattern, vectors in parts if pattern[m])
    for pattern, vectors in parts:
        if pattern[m]:
            start = sum(compress(sizes[:m], pattern))
            count = -(-min(SAMPLE, total) * len(vectors) // total)
            rows = np.linspace(0, len(vectors) - 1, count).astype(np.int64)
            yield vectors[rows, start : start + sizes[m]]


def _basis(sample: Iterator[Floats], size: int) -> Floats | None:
    """(E, d) leading directions; None: all columns are coded.

    A scan reads d + 1 of E bytes, and the looser the bound is, the more clips are scored in full; the bound is as
    loose as the rest is long. So the least sum of both shares is chosen. Of a flat spectrum none is below 1.
    """
    moments = sum(((part.T @ part).astype(np.float64) for part in sample), np.zeros((size, size)))
    values, vectors = np.linalg.eigh(moments)
    rest = 1 - np.cumsum(np.maximum(values[::-1], 0)) / max(float(values.clip(0).sum()), TINY)
    kept = np.arange(STEP, size, STEP)
    cost = kept / size + np.sqrt(np.maximum(rest[kept - 2], 0))
    if not len(kept) or not values[-1] > 0 or cost.min() > SHORT:
        return None
    return np.ascontiguousarray(vectors[:, ::-1][:, : kept[cost.argmin()] - 1].astype(np.float32))


def _lost(basis: Floats | None) -> float:
    """|P'x_r|, of a vector no longer than LARGEST_NORM."""
    if basis is None:
        return 0.0
    wide = basis.astype(np.float64)
    apart = np.linalg.norm(np.eye(wide.shape[1]) - wide.T @ wide)
    length = np.linalg.norm(wide) * LARGEST_NORM
    return float((gamma(len(basis)) * length + apart * length) * (1 + EXACT))
