"""Which spans a file is cut into."""

from itertools import pairwise

import numpy as np
import pytest

from features.media.cutting import Cutting


def spans(end: float, clip_seconds: float | None = None) -> list[tuple[str, float, float]]:
    made = Cutting(clip_seconds=clip_seconds).spans("a/b.mp4", np.array([[0.0, end]]))
    return [(span.clip_id, span.start_s, span.end_s) for span in made]


@pytest.mark.parametrize(("end", "seconds"), [(30.0, None), (30.03, None), (0.04, None), (12.0, 10.0)])
def test_a_short_file_and_a_lone_piece_are_the_whole_file(end, seconds):
    assert spans(end, seconds) == [("a/b.mp4", 0.0, end)]


def test_long_file_is_cut_every_ten_seconds():
    assert spans(31.0)[::2] == [("a/b.mp4#t=0,10", 0.0, 10.0), ("a/b.mp4#t=20,31", 20.0, 31.0)]
    assert [name for name, _, _ in spans(35.5)][-2:] == ["a/b.mp4#t=20,30", "a/b.mp4#t=30,35.5"]


@pytest.mark.parametrize(
    ("end", "edges"),
    [(5.0, [0, 2.5, 5]), (6.2, [0, 2.5, 6.2]), (6.3, [0, 2.5, 5, 6.3]), (3.7, [0, 3.7]), (1.0, [0, 1])],
)
def test_a_short_last_piece_joins_the_one_before(end, edges):
    assert [(start, stop) for _, start, stop in spans(end, 2.5)] == list(pairwise(edges))


def test_pieces_in_which_nothing_is_there_are_left_out():
    held = np.array([[0.0, 1.0], [36000.0, 36001.0]])
    assert [span.start_s for span in Cutting(clip_seconds=10).spans("v", held)] == [0.0, 35990.0]


def test_edges_are_shared_and_told_to_the_millisecond():
    made = spans(2.0, 1 / 3)
    assert [start for _, start, _ in made[1:]] == [stop for _, _, stop in made[:-1]]
    assert made[1][0] == "a/b.mp4#t=0.333,0.667"


@pytest.mark.parametrize("clip_seconds", [0.0, -1.0, 0.01, float("inf"), float("nan")])
def test_senseless_lengths_are_refused(clip_seconds):
    with pytest.raises(ValueError, match="clip_seconds"):
        Cutting(clip_seconds=clip_seconds)
