"""Queries of several terms, and the user's weights."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.queries import Queries
from tests.index.galleries import LAYOUT, random_text


@given(terms=st.lists(st.integers(1, 4), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_stacked_queries_are_what_each_is_alone(terms, seed):
    rng = np.random.default_rng(seed)
    queries = [
        Queries(
            rng.normal(size=(1, t, 5)).astype(np.float32), *rng.normal(size=(2, 1, t, 2)), np.full((1, t), 1 / t)
        )
        for t in terms
    ]
    together = Queries.stacked(queries)
    assert len(together) == len(queries)
    for pattern, rule in product((np.array([True, True]), np.array([False, True])), ("evidence", "renormalise")):
        factors = together.factors(pattern, rule)
        for number, (query, count) in enumerate(zip(queries, terms)):
            np.testing.assert_allclose(factors[number, :count], query.factors(pattern, rule)[0])
            np.testing.assert_array_equal(together.offsets[number, :count], query.offsets[0])
            assert not factors[number, count:].any()
            np.testing.assert_array_equal(together.packed[number, :count], query.packed[0])
    assert np.isfinite(together.packed).all()


def test_weights_that_make_no_sense_are_refused():
    queries = Queries.of(random_text())
    for weights in ({"audio": -1.0}, {"audio": float("nan")}, {"audio": 0.0}, {}):
        with pytest.raises(ValueError, match="one of them positive"):
            queries.weighted(weights, LAYOUT)
    with pytest.raises(ValueError, match="there is no expert 'smell'; there are appearance, motion"):
        queries.weighted({"smell": 1.0}, LAYOUT)
    with pytest.raises(ValueError, match="not all 0"):
        Queries.mixture([(0.0, queries.part(slice(0, 1)))])
