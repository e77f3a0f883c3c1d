"""Pooling over time: against plain loops, padding never read."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.pooling import pool


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    extra=st.integers(0, 3),
    junk=st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e30]),
    seed=st.integers(0, 2**31),
)
def test_pooling_equals_a_loop_and_never_reads_padding(lengths, extra, junk, seed):
    rng = np.random.default_rng(seed)
    streams = np.full((len(lengths), max(1, max(lengths)) + extra, 3), junk, dtype=np.float32)
    expected = np.zeros((len(lengths), 6))
    for number, length in enumerate(lengths):
        rows = rng.normal(size=(length, 3)).astype(np.float32) - 2  # all negative: zeros would win the maximum
        streams[number, :length] = rows
        if length:
            expected[number, :3] = rows.astype(np.float64).sum(0) / length
            expected[number, 3:] = rows.max(0)
    pooled = pool(torch.from_numpy(streams), torch.tensor(lengths), ["mean", "max"])
    np.testing.assert_allclose(pooled.numpy(), expected, atol=1e-6)


def test_the_order_of_kinds_is_the_order_of_columns():
    streams, lengths = torch.randn(2, 3, 4), torch.tensor([3, 2])
    mean, largest = pool(streams, lengths, ["mean"]), pool(streams, lengths, ["max"])
    assert pool(streams, lengths, ["max", "mean"]).equal(torch.cat([largest, mean], dim=1))


def test_gradients_reach_real_rows_only():
    streams = torch.full((2, 3, 2), math.nan)
    streams[0, :2] = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    streams.requires_grad_()
    pool(streams, torch.tensor([2, 0]), ["mean", "max"]).sum().backward()
    assert streams.grad[0].tolist() == [[0.5, 1.5], [1.5, 0.5], [0.0, 0.0]]
    assert (streams.grad[1] == 0).all()


def test_no_clips_at_all():
    assert pool(torch.empty(0, 4, 3), torch.empty(0, dtype=torch.int64), ["mean", "max"]).shape == (0, 6)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'median'"):
        pool(torch.zeros(1, 1, 1), torch.ones(1, dtype=torch.int64), ["median"])
