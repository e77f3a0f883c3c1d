"""What is kept of the pairs that are found, and what is counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.near_duplicates.overlap import NearestTrain, Side, at_moments


def side(*videos, digests=None):
    return Side(tuple(videos), tuple(digests or ("",) * len(videos)))


def test_pairs_are_counted_all_and_the_nearest_are_kept():
    nearest = NearestTrain(side(*"abcdef"), side("x", "y"), "bits", keep=2)
    values = np.array([9.0, 3, 7, 1, 5, 40])
    for first in (0, 3):
        nearest.add(1, first, values[first : first + 3], values[first : first + 3] <= 20)
    overlap = nearest.result(20, [])
    assert [(pair.train, pair.test, pair.value) for pair in overlap.pairs] == [("d", "y", 1), ("b", "y", 3)]
    assert overlap.found == 5
    assert overlap.leaked == ("y",)
    assert overlap.compared == 12


def test_the_more_similar_is_the_nearer():
    nearest = NearestTrain(side("a", "b"), side("x"), "similarity")
    nearest.add(0, 0, np.array([0.9, 0.95]), np.array([True, True]))
    assert [(pair.train, pair.value) for pair in nearest.result(0.9, []).pairs] == [("b", 0.95), ("a", 0.9)]


def test_the_same_is_found_whatever_its_frames_say():
    train = side("a", "b", "c", digests=("1", "2", "1"))
    nearest = NearestTrain(train, side("b", "copy", "other", digests=("9", "1", "")), "bits")
    assert [nearest.has_same(test) for test in range(3)] == [True, True, False]
    for test in range(3):
        nearest.add(test, 0, np.array([60, np.nan, np.nan]), np.zeros(3, bool))
    overlap = nearest.result(32, ["b", "c"])
    assert [(pair.train, pair.test, pair.why, pair.value) for pair in overlap.pairs] == [
        ("b", "b", "same name", None),
        ("a", "copy", "same file", 60),
        ("c", "copy", "same file", None),
    ]
    assert overlap.found == 3
    assert overlap.blank == ("b", "c")


def test_the_same_is_found_in_whichever_block_it_is():
    train = side(*"abcdefg", digests=("", "", "", "1", "", "1", "2"))
    nearest = NearestTrain(train, side("x", "f", digests=("1", "2")), "bits")
    for test in range(2):
        for first, last in ((0, 2), (2, 5), (5, 7)):
            nearest.add(test, first, np.full(last - first, 60.0), np.zeros(last - first, bool))
    found = [(pair.train, pair.test, pair.why) for pair in nearest.result(32, []).pairs]
    assert found == [
        ("d", "x", "same file"), ("f", "x", "same file"), ("f", "f", "same name"), ("g", "f", "same file")
    ]  # fmt: skip


def test_a_same_file_goes_before_a_nearer_one():
    train = side("a", "b", "c", digests=("", "", "1"))
    nearest = NearestTrain(train, side("x", digests=["1"]), "bits", keep=2)
    nearest.add(0, 0, np.array([2.0, 1.0, 5.0]), np.ones(3, bool))
    assert [pair.train for pair in nearest.result(32, []).pairs] == ["c", "b"]


def test_files_of_unknown_content_are_not_the_same():
    nearest = NearestTrain(side("a"), side("x"), "bits")
    nearest.add(0, 0, np.array([99.0]), np.array([False]))
    assert nearest.result(32, []).pairs == ()


@given(values=st.lists(st.integers(0, 12), min_size=1, max_size=12), cut=st.integers(1, 5), keep=st.integers(1, 4))
def test_how_pairs_are_cut_into_blocks_changes_nothing(values, cut, keep):
    train, test = side(*(f"v{place}" for place in range(len(values)))), side("x")
    results = []
    for step in (len(values), cut):
        nearest = NearestTrain(train, test, "bits", keep)
        for first in range(0, len(values), step):
            some = np.array(values[first : first + step], float)
            nearest.add(0, first, some, some <= 8)
        results.append(nearest.result(8, []))
    assert results[0] == results[1]
    expected = sorted((value, place) for place, value in enumerate(values) if value <= 8)
    assert [(pair.value, pair.train) for pair in results[0].pairs] == [
        (value, f"v{place}") for value, place in expected[:keep]
    ]
    assert results[0].found == len(expected)


def test_moments_are_told_where_they_are_known():
    nearest = NearestTrain(side("a", "b"), side("x"), "bits")
    nearest.add(0, 0, np.zeros(2), np.ones(2, bool))
    first, second = at_moments(nearest.result(32, []), [(1.5, 2.5), None]).pairs
    assert (first.train_s, first.test_s) == (1.5, 2.5)
    assert (second.train_s, second.test_s) == (None, None)


def test_a_side_names_each_video_once():
    for wrong in (lambda: side("a", "a"), lambda: Side(("a",), ())):
        with pytest.raises(ValueError, match="each video once"):
            wrong()
    with pytest.raises(ValueError, match="at least one pair"):
        NearestTrain(side("a"), side("b"), "bits", keep=0)
