"""Near-duplicates by frames: the definition in plain loops, copies that it finds, and which pairs are kept."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.near_duplicates import frames as module
from mee.near_duplicates.frames import near_frames
from mee.near_duplicates.overlap import Side, find_pairs


def random_frames(rng, count):
    return rng.integers(0, 2**64, (count, 2), dtype=np.uint64)


def changed(frames, bits, rng):
    """Each frame with so many of its 128 bits turned over."""
    rows = np.unpackbits(frames.view(np.uint8), axis=1)
    for row in rows:
        row[rng.permutation(128)[:bits]] ^= 1
    return np.packbits(rows, axis=1).view(np.uint64)


def frame_hashes(prefix, videos, digests=None):
    """A side of these videos, (F, 2) hashes each, at two frames a second."""
    names = [f"{prefix}{number}" for number in range(len(videos))]
    times = [np.arange(len(video), dtype=np.float32) / 2 for video in videos]
    return Side.of(names, digests or [""] * len(videos), videos, times)


def plain_apart(one, other, share):
    """The docstring's equation, frame by frame and bit by bit."""

    def met(a, b):
        least = sorted(min(sum(int(one ^ other).bit_count() for one, other in zip(x, y)) for y in b) for x in a)
        return next(n for n in range(129) if sum(value <= n for value in least) >= share * len(a) - 1e-9)

    return min(met(one, other), met(other, one)) if len(one) and len(other) else math.nan


@given(
    seed=st.integers(0, 2**31),
    share=st.sampled_from([0.1, 0.3, 0.5, 0.75, 1.0]),
    cells=st.sampled_from([1, 7, 1 << 19]),
    run=st.sampled_from([1, 5, 8192]),
)
def test_values_are_those_of_plain_loops_however_it_is_cut(seed, share, cells, run):
    rng = np.random.default_rng(seed)
    pool = random_frames(rng, 6)

    def videos(count):
        draws = [(rng.integers(0, 6, rng.integers(0, 6)), int(rng.integers(0, 40))) for _ in range(count)]
        return [changed(pool[places], bits, rng) for places, bits in draws]

    train, test = map(videos, rng.integers(1, 6, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CELLS", cells)
        patch.setattr(module, "RUN", run)
        sides = frame_hashes("a", train), frame_hashes("b", test)
        overlap = near_frames(*sides, threshold=60, share=share, keep=len(train))
    pairs = [(f"a{i}", f"b{j}", a, b) for i, a in enumerate(train) for j, b in enumerate(test)]
    expected = {(one, other): plain_apart(a, b, share) for one, other, a, b in pairs}
    found = {(pair.train, pair.test): pair.value for pair in overlap.pairs}
    assert found == {pair: value for pair, value in expected.items() if value <= 60}
    assert overlap.found == len(found)
    assert set(overlap.blank) == {
        f"{name}{n}" for name, videos in (("a", train), ("b", test)) for n, v in enumerate(videos) if not len(v)
    }


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_a_part_of_a_longer_video_is_found_with_its_moment(rng):
    film = random_frames(rng, 200)
    others = [random_frames(rng, 30) for _ in range(3)]
    part = changed(film[120:130], 12, rng)
    part[4] = film[124]  # the frame that is nearest
    sides, steps = (frame_hashes("a", [*others, film]), frame_hashes("b", [part])), []
    overlap = near_frames(*sides, on_done=lambda *done: steps.append(done))
    assert steps[-1] == ((3 * 30 + 200) * 10,) * 2
    assert steps == sorted(steps)
    (pair,) = overlap.pairs
    assert (pair.train, pair.test, pair.why, pair.value) == ("a3", "b0", "alike", 12)
    assert (pair.train_s, pair.test_s) == (62.0, 2.0)
    (other_way,) = near_frames(frame_hashes("a", [part]), frame_hashes("b", [film])).pairs
    assert (other_way.train_s, other_way.test_s) == (2.0, 62.0)


def test_a_share_of_frames_must_be_near_within_the_threshold_and_is_not_rounded_up(rng):
    title = random_frames(rng, 7)  # 0.07 * 100 is a little more than 7 in floating point
    one, other = (frame_hashes(name, [np.concatenate([title, random_frames(rng, 93)])]) for name in "ab")
    assert near_frames(one, other).pairs == ()  # a title picture in common makes no pair
    assert [near_frames(one, other, share=share).found for share in (0.07, 0.08)] == [1, 0]
    assert near_frames(one, other, share=0.07).pairs[0].value == 0
    video = random_frames(rng, 5)
    train, test = frame_hashes("a", [video]), frame_hashes("b", [changed(video, 32, rng)])
    assert [near_frames(train, test, threshold=bits).found for bits in (32, 31)] == [1, 0]


@pytest.mark.parametrize("settings", [{"threshold": 128}, {"threshold": -1}, {"share": 0.0}, {"share": 1.5}])
def test_settings_that_tell_nothing(rng, settings):
    video = frame_hashes("a", [random_frames(rng, 2)])
    ((name, value),) = settings.items()
    with pytest.raises(InputError, match=f"--{name}.* {value:g}"):
        near_frames(video, video, **settings)


# ---- which pairs are kept and counted


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
    overlap = found(train, side(["b", "copy", "other"], ["9", "1", ""]), [[60, np.nan, np.nan]] * 3)
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
