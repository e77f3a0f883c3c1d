"""Paired differences and their standard errors: by hand, against a bootstrap over clips, and as laws."""

from math import isnan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.evaluation.paired import paired_difference


def test_a_case_by_hand():
    """D = 1; the sums of d - D are (1 - 1) + (3 - 1) = 2, 0 - 1 = -1 and 0 - 1 = -1; 3 / 2 * 6 = 9; 3 / 4."""
    assert paired_difference([0, 1, 5, 2], [1, 4, 5, 2], ["x", "x", "y", "z"]) == (1.0, 0.75)
    assert paired_difference(0, [1, 3, 0, 0], [7, 7, 9, 8]) == (1.0, 0.75)
    difference, error = paired_difference([1, 2], [2, 4], [0, 0])
    assert difference == 1.5
    assert isnan(error)


VALUES = st.lists(st.tuples(*[st.floats(-100, 100)] * 2, st.integers(0, 5)), min_size=2, max_size=30)


@given(VALUES, st.randoms())
def test_laws(rows, random):
    a, b, cluster = (np.array(column) for column in zip(*rows))
    difference, error = paired_difference(a, b, cluster)
    assert difference == pytest.approx(np.mean(b - a))
    random.shuffle(rows)
    assert paired_difference(*zip(*rows)) == pytest.approx((difference, error), abs=1e-9, nan_ok=True)
    assert paired_difference(b, a, cluster) == pytest.approx((-difference, error), abs=1e-9, nan_ok=True)
    alone = np.arange(len(rows))
    plain = np.std(b - a, ddof=1) / sqrt(len(rows))
    assert paired_difference(a, b, alone) == pytest.approx((difference, plain), abs=1e-9)
    again = (np.repeat(values, 20) for values in (a, b, alone))  # twenty equal captions say what one says
    assert paired_difference(*again) == pytest.approx((difference, plain), abs=1e-9)


def test_a_bootstrap_over_clips_has_the_same_standard_error():
    rng = np.random.default_rng(0)
    clips, draws = 200, 4000
    cluster = np.repeat(np.arange(clips), rng.integers(1, 20, clips))
    skill = rng.normal(size=clips)[cluster]  # what the captions of a clip share
    a, b = ((skill + rng.normal(size=len(cluster)) > bound) * 100.0 for bound in (0.3, 0.0))
    error = paired_difference(a, b, cluster)[1]
    sums, sizes = np.bincount(cluster, b - a), np.bincount(cluster)
    drawn = rng.multinomial(clips, np.full(clips, 1 / clips), draws)
    resampled = drawn @ sums / (drawn @ sizes)
    assert error == pytest.approx(resampled.std(), rel=5 / sqrt(2 * draws))
    single = paired_difference(a - a, b, np.arange(len(b)))[1]
    assert paired_difference(0, b, cluster)[1] > 1.5 * single  # a standard error over captions is too small


@pytest.mark.parametrize(
    ("a", "b", "cluster", "said"),
    [
        ([1, 2], [1], [0], r"one length, got \(2,\), \(1,\) and \(1,\)"),
        ([1], [1, 2], [0, 1], "one length"),
        ([1, 2], [1, 2], [0], "one length"),
        ([[1]], [[1]], [[0]], "vectors"),
        ([], [], [], "no query"),
        ([1, np.nan], [1, 2], [0, 1], "finite"),
        ([1, 2], [1, np.inf], [0, 1], "finite"),
    ],
)
def test_what_cannot_be_paired_is_refused(a, b, cluster, said):
    with pytest.raises(ValueError, match=said):
        paired_difference(a, b, cluster)
