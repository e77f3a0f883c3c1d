"""Sinusoidal positions: the formula, and the two laws that the module states."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.layers.transformer import sinusoidal_positions

EVEN = st.integers(1, 40).map(lambda half: 2 * half)


@given(st.integers(1, 30), EVEN)
def test_positions_equal_the_formula(length, dim):
    expected = [
        [
            (math.cos if column % 2 else math.sin)(p / 10000 ** ((column - column % 2) / dim))
            for column in range(dim)
        ]
        for p in range(length)
    ]
    torch.testing.assert_close(sinusoidal_positions(length, dim), torch.tensor(expected), atol=1e-6, rtol=0)


@given(st.integers(2, 200), EVEN)
def test_squared_norm_is_half_the_size_and_products_depend_on_distance_only(length, dim):
    positions = sinusoidal_positions(length, dim).double()
    products = positions @ positions.T
    torch.testing.assert_close(products.diagonal(), torch.full((length,), dim / 2).double(), atol=1e-4, rtol=0)
    for distance in {1, length // 2, length - 1}:
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[0].expand_as(diagonal), atol=1e-4, rtol=0)


def test_far_positions_are_as_exact_as_near_ones():
    row = sinusoidal_positions(100_001, 2)[100_000]
    assert row.tolist() == pytest.approx([math.sin(100_000), math.cos(100_000)], abs=1e-6)


def test_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="even"):
        sinusoidal_positions(4, 5)
