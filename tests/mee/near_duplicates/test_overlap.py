"""What is kept of the pairs that are found, and what is counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.near_duplicates.overlap import Side, find_pairs


def side(videos, digests=None):
    """Each video has one item, at the second of its place."""
    times = [np.array([float(place)]) for place in range(len(videos))]
    return Side.of(videos, digests or [""] * len(videos), [np.ones((1, 2), np.uint64)] * len(videos), times)


def found(train, test, values, measure="bits", threshold=20, keep=10):
    return find_pairs(train, test, np.array(values, np.float32), measure, threshold, keep)


def test_pairs_are_counted_all_and_the_nearest_are_kept():
    overlap = found(side("abcdef"), side("xy"), [[40] * 6, [9, 3, 7, 1, 5, 40]], keep=2)
    assert [(pair.train, pair.test, pair.value) for pair in overlap.pairs] == [("d", "y", 1), ("b", "y", 3)]
    assert (overlap.pairs[0].train_s, overlap.pairs[0].test_s) == (3, 1)
    assert (overlap.found, overlap.leaked) == (5, ("y",))
    overlap = found(side("ab"), side("x"), [[0.5, 0.75]], "similarity", 0.5)  # the more similar is the nearer
    assert [(pair.train, pair.value) for pair in overlap.pairs] == [("b", 0.75), ("a", 0.5)]
    with pytest.raises(InputError, match="no videos to compare"):
        side("")


def test_the_same_file_or_name_is_found_whatever_its_frames_and_comes_first():
    train = side("abc", ["1", "2", "1"])
    test = side(["b", "copy", "other"], ["9", "1", ""])
    overlap = found(train, test, [[60, np.nan, np.nan]] * 3)
    assert [(pair.train, pair.test, pair.why, pair.value, pair.train_s) for pair in overlap.pairs] == [
        ("b", "b", "same name", None, None),
        ("a", "copy", "same file", 60, 0),
        ("c", "copy", "same file", None, None),
    ]
    assert overlap.found == 3
    overlap = found(side("abc", ["", "", "1"]), side("x", ["1"]), [[2, 1, 5]], keep=2)
    assert [pair.train for pair in overlap.pairs] == ["c", "b"]
    assert found(side("a"), side("x"), [[99]]).pairs == ()  # files of unknown content are not the same


@given(values=st.lists(st.integers(0, 12), min_size=1, max_size=12), keep=st.integers(1, 4))
def test_equally_near_ones_come_in_the_order_of_the_side(values, keep):
    train = side([f"v{place}" for place in range(len(values))])
    overlap = found(train, side("x"), [values], threshold=8, keep=keep)
    expected = sorted((value, place) for place, value in enumerate(values) if value <= 8)
    assert [(pair.value, int(pair.train[1:])) for pair in overlap.pairs] == expected[:keep]
    assert overlap.found == len(expected)
