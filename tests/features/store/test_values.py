"""One clip's array becomes a stream, or is missing, or is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from features.errors import InputError
from features.store.values import MissingRule, as_stream

PLAIN = MissingRule()
NAN, ZERO = MissingRule(nan_is_missing=True), MissingRule(zero_is_missing=True)


def stream(array, rule=PLAIN):
    return as_stream(array, rule, "x.npy: 'a'")


@given(
    hnp.arrays(
        st.sampled_from(["f2", "f4", ">f8", "i4", "u1"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=4),
        elements=st.integers(0, 100),
    )
)
def test_what_float16_holds_comes_through_unchanged(array):
    for rule in (PLAIN, NAN):
        found = stream(array, rule)
        assert found.dtype == np.float16
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, array)
    assert (stream(array, ZERO) is None) == (not array.any())


def test_one_row_may_come_without_its_axis():
    np.testing.assert_array_equal(stream(np.array([1.0, 2])), [[1, 2]])


@pytest.mark.parametrize("rule", [PLAIN, NAN, ZERO])
@pytest.mark.parametrize("array", [None, np.ones((0, 4)), np.ones(0)])
def test_nothing_is_missing(array, rule):
    assert stream(array, rule) is None


def test_rows_of_nan_are_missing_only_when_it_is_said():
    nothing = np.full((2, 3), np.nan)
    padded = np.vstack([np.ones((2, 3)), nothing])
    assert stream(nothing, NAN) is None
    assert stream(nothing[0], NAN) is None
    np.testing.assert_array_equal(stream(padded, NAN), np.ones((2, 3)))
    for array in (nothing, nothing[0], padded):
        with pytest.raises(InputError, match=r"x\.npy: 'a' holds a row of NaN.*--nan-is-missing"):
            stream(array)


def test_zeros_are_missing_only_when_it_is_said():
    assert stream(np.zeros((2, 3)), ZERO) is None
    np.testing.assert_array_equal(stream(np.zeros((2, 3))), np.zeros((2, 3)))
    assert stream(np.array([[0.0, 0], [0, 1]]), ZERO).shape == (2, 2)
    assert (
        stream(np.vstack([np.zeros(2), [np.nan, np.nan]]), MissingRule(nan_is_missing=True, zero_is_missing=True))
        is None
    )


@pytest.mark.parametrize(
    ("array", "says"),
    [
        ([[1, np.nan]], "holds NaN among numbers"),
        ([[1, np.inf]], "holds infinite values"),
        ([[1, -np.inf], [np.nan, np.nan]], "--nan-is-missing"),
        ([[1, 70000.0]], "goes up to 70000, and a store's float16 to 65504; divide"),
        ([[1, -1e30]], "goes up to 1e\\+30"),
        (np.array([[2**40]]), "goes up to 1.09951e\\+12"),
        ([[1e-9, -1e-9]], "goes up to 1e-09 only, which is 0 in a store's float16; multiply"),
        (np.ones((1, 2, 3)), r"has shape \(1, 2, 3\), and a stream is \(D,\) or \(T, D\)"),
        (np.array(1.0), r"has shape \(\)"),
        (np.ones((3, 0)), "rows without numbers"),
        (np.array([["a"]]), "is of type <U1, and a stream is made of plain numbers"),
        (np.array([[1j]]), "is of type complex128"),
        (np.array([[True]]), "is of type bool"),
        (np.array([[None]]), "is of type object"),
    ],
)
def test_what_cannot_be_stored_is_one_sentence(array, says):
    with pytest.raises(InputError, match=says) as refusal:
        stream(np.asarray(array))
    assert str(refusal.value).startswith("x.npy: 'a' ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("rule", [NAN, ZERO])
def test_a_rule_hides_no_damage(rule):
    for array in ([[1, np.nan]], [[np.inf, 1]], [[0, np.nan]]):
        with pytest.raises(InputError, match="mend it"):
            stream(np.array(array), rule)
