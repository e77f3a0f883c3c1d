"""Standardising pooled streams."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.layers.normalise import Standardise


@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(2, 40),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    offset=st.sampled_from([0.0, -5.0, 100.0]),
)
def test_fitted_rows_have_mean_zero_and_deviation_one(seed, rows, scale, offset):
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(rows, 4, generator=generator) + offset * scale
    standardise = Standardise(4)
    standardise.fit(x)
    y = standardise(x).double()
    rounding = 2**-22 * float((x.abs().amax(0) / standardise.deviation).max())  # of a float32 mean, in deviations
    torch.testing.assert_close(y.mean(0), torch.zeros(4).double(), atol=1e-4 + rounding, rtol=0)
    torch.testing.assert_close(y.std(0, unbiased=False), torch.ones(4).double(), atol=1e-4 + rounding, rtol=0)


def test_a_column_that_never_changes_keeps_deviation_one():
    x = torch.stack([torch.full((9,), 0.1), torch.arange(9.0), torch.zeros(9)], dim=1)
    standardise = Standardise(3)
    standardise.fit(x)
    assert standardise.deviation[[0, 2]].tolist() == [1, 1]
    assert standardise(x).abs()[:, [0, 2]].max() < 1e-6


def test_it_is_the_identity_until_fitted_and_after_no_rows():
    standardise, x = Standardise(3), torch.randn(5, 3)
    assert standardise(x).equal(x)
    standardise.fit(torch.empty(0, 3))
    assert standardise(x).equal(x)


def test_a_single_row_becomes_zero():
    standardise, x = Standardise(3), torch.randn(1, 3)
    standardise.fit(x)
    assert standardise(x).tolist() == [[0, 0, 0]]


def test_the_numbers_travel_in_the_state():
    fitted, fresh, x = Standardise(3), Standardise(3), torch.randn(6, 3)
    fitted.fit(x)
    fresh.load_state_dict(fitted.state_dict())
    assert fresh(x).equal(fitted(x))
