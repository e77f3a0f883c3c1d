"""Codings: upper bounds for any spectrum and pattern, alone and among others; how long prefixes are; the file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.scanners import coding as module
from index.scanners.certified import Certified
from index.scanners.coding import Coding
from index.scanners.scanner import Shape
from tests.index.scanners.partitions import exact_scores, query_rows, unit_rows

SPECTRA = {
    "decaying": lambda size: 0.7 ** np.arange(size),
    "flat": lambda size: np.ones(size),
    "one direction": lambda size: np.arange(size) == 0,
    "two scales": lambda size: np.where(np.arange(size) < size // 2, 1.0, 1e-3),
    "tiny": lambda size: np.full(size, 1e-30),
}


def rows_of(generator, count, size, spectrum):
    """(N, size) of norm 1 at most, whose second moments have the squares of a spectrum, turned at random."""
    rows = generator.standard_normal((count, size)) * SPECTRA[spectrum](size)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-20 if spectrum == "tiny" else 1e-6)
    turned = np.linalg.qr(generator.standard_normal((size, size)))[0]
    return (rows @ turned).astype(np.float32)


@st.composite
def segments(draw):
    """(parts, sizes): vectors of some patterns, with an offset or without; prefixes of any length."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = tuple(draw(st.lists(st.sampled_from([1, 5, 20, 40]), min_size=1, max_size=3)))
    spectra = [draw(st.sampled_from(sorted(SPECTRA))) for _ in sizes]
    offset, parts = draw(st.booleans()), []
    for _ in range(draw(st.integers(1, 3))):
        pattern = tuple(generator.random(len(sizes)) < 0.7)
        if any(pattern) and pattern not in [given for given, _ in parts]:
            count = int(generator.integers(1, 60))
            its = [rows_of(generator, count, *one) for one, there in zip(zip(sizes, spectra), pattern) if there]
            if offset:
                its.append(0.4 + 0.1 * generator.standard_normal((count, 1)).astype(np.float32))
            parts.append((pattern, np.concatenate(its, axis=1)))
    return parts or [((True,) * len(sizes), unit_rows(generator, 9, Shape(sizes)))], sizes


@given(
    segment=segments(),
    step=st.sampled_from([2, 3, 16]),
    short=st.sampled_from([0.0, 0.75, 9.0]),
    terms=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_no_score_is_above_its_bound(segment, step, short, terms, seed):
    parts, sizes = segment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STEP", step)
        patch.setattr(module, "SHORT", short)
        scanners = list(Certified.built(parts, sizes))
    coding, generator = scanners[0].coding, np.random.default_rng(seed)
    packed = query_rows(generator, 4 * terms, Shape(sizes)).reshape(4, terms, -1)
    packed[0] = next(rows[0, : sum(sizes)] for _, rows in parts) if parts[0][0] == (True,) * len(sizes) else 0
    packed[1] = -packed[1, :1]  # terms that cancel each other
    factors = generator.uniform(-1, 1, (len(parts), 4, terms, len(sizes)))
    factors *= np.array([pattern for pattern, _ in parts])[:, None, None]
    offset = -1.0 if coding.spread else None
    numbers = coding.weighted(coding.rotated(packed), factors, offset)
    coded = coding.queries(numbers)
    for n, scanner in enumerate(scanners):
        queries = np.einsum("qte,qte->qe", np.repeat(factors[n], sizes, -1), packed)
        queries = queries[:, np.repeat(scanner.pattern, sizes)]
        if offset is not None:
            queries = np.concatenate([queries, np.full((4, 1), offset)], axis=1)
        exact = exact_scores(queries, scanner.vectors)
        columns, whole = coding.columns(scanner.pattern), scanner.codes.astype(np.float64) - 128
        products = coded.numbers[n][:, columns].astype(np.float64) @ whole.T
        above = exact - (coded.constant[n][:, None] + coded.delta[n][:, None] * products)
        assert (above <= coded.bound[n][:, None]).all()
        factor, constant, bound = coding.factors(numbers[n], scanner.pattern)
        assert (exact - (factor @ whole.T.astype(np.float32) + constant[:, None]) <= bound[:, None]).all()
        error = np.abs(queries.astype(np.float32) @ scanner.vectors.T - exact)
        assert (error <= coded.rounding[n][:, None]).all()


def test_a_prefix_is_as_long_as_the_spectrum_needs_and_none_where_it_is_flat():
    generator = np.random.default_rng(0)
    for spectrum, kept in (("flat", 64), ("decaying", 16), ("two scales", 32), ("one direction", 16)):
        vectors = rows_of(generator, 900, 64, spectrum)
        assert Certified.build(vectors, Shape((64,))).coding.kept == (kept,), spectrum
    flat, decaying = rows_of(generator, 900, 64, "flat"), rows_of(generator, 900, 64, "decaying")
    scanner = Certified.build(np.concatenate([flat, decaying], axis=1), Shape((64, 64)))
    assert scanner.coding.kept == (64, 16)
    assert scanner.codes.shape == (900, 96)


def test_the_bound_of_a_prefix_is_of_use():
    """Of a decaying spectrum few rows can be among the best ten by their bounds."""
    generator = np.random.default_rng(0)
    vectors = rows_of(generator, 4000, 64, "decaying")
    scanner, queries = Certified.build(vectors, Shape((64,))), vectors[:50]
    estimates, _ = scanner.scan(queries, len(vectors))
    tenth = np.sort(exact_scores(queries, vectors), axis=1)[:, -10]
    assert (estimates + scanner.bound(queries)[:, None] >= tenth[:, None]).mean() < 0.02


@given(segment=segments())
def test_what_is_saved_is_read(segment, tmp_path_factory):
    parts, sizes = segment
    coding = next(Certified.built(parts, sizes)).coding
    path = tmp_path_factory.mktemp("coding") / "coding.safetensors"
    coding.save(path)
    again = Coding.read(path.read_bytes(), sizes, offset=bool(coding.spread))
    for name in ("centre", "scale", "codes", "error", "size", "spread"):
        np.testing.assert_array_equal(getattr(again, name), getattr(coding, name))
    for one, other in zip(again.bases, coding.bases, strict=True):
        np.testing.assert_array_equal(one, other)
    for content in (b"", path.read_bytes()[:-1]):
        with pytest.raises(ValueError, match="it is not how clips are coded"):
            Coding.read(content, sizes, offset=False)
    with pytest.raises(ValueError, match="it is not how"):
        Coding.read(path.read_bytes(), (*sizes, 7), offset=bool(coding.spread))
