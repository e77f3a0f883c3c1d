"""Needs, spans, and which frame is on display."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.media.clip import FrameNeed, cut
from features.media.frames import FramePicker, on_display, scaled_size, steady

times_lists = st.lists(st.integers(0, 10_000), min_size=1, max_size=20).map(
    lambda ms: [value / 1000 for value in sorted(ms)]
)


def spans(end, clip_seconds=None):
    made = cut("a/b.mp4", np.array([[0.0, end]]), clip_seconds)
    return [(span.clip_id, span.start_s, span.end_s) for span in made]


def test_clip_ids_and_scaled_sizes():
    for end, seconds in ((30.0, None), (30.03, None), (0.04, None), (12.0, 10.0)):
        assert spans(end, seconds) == [("a/b.mp4", 0.0, end)]
    assert spans(31.0)[::2] == [("a/b.mp4#t=0,10", 0.0, 10.0), ("a/b.mp4#t=20,31", 20.0, 31.0)]
    assert [name for name, _, _ in spans(35.5)][-2:] == ["a/b.mp4#t=20,30", "a/b.mp4#t=30,35.5"]
    assert spans(2.0, 1 / 3)[1][0] == "a/b.mp4#t=0.333,0.667"
    for clip_seconds in (0.0, -1.0, 0.01, float("inf"), float("nan")):
        with pytest.raises(InputError, match="clip_seconds"):
            spans(1.0, clip_seconds)
    stored = [(360, 640), (640, 360), (576, 720 * 64 / 45), (48, 64), (10, 10_000), (10_000, 10)]
    scaled = [(112, 199), (199, 112), (112, 199), (112, 149), (112, 448), (448, 112)]
    assert [scaled_size(*size, 112) for size in stored] == scaled


EDGES = [(5.0, 2.5, [0, 2.5, 5]), (6.2, 2.5, [0, 2.5, 6.2]), (6.3, 2.5, [0, 2.5, 5, 6.3]), (3.7, 2.5, [0, 3.7])]
EDGES += [(1.0, 2.5, [0, 1]), (1.0, 1 / 3, [0, 0.333, 0.667, 1])]


@pytest.mark.parametrize(("end", "seconds", "edges"), EDGES)
def test_spans_share_their_edges_and_a_short_last_piece_joins_the_one_before(end, seconds, edges):
    assert [(start, stop) for _, start, stop in spans(end, seconds)] == list(pairwise(edges))
    held = np.array([[0.0, 1.0], [36000.0, 36001.0]])
    assert [span.start_s for span in cut("v", held, 10)] == [0.0, 35990.0]  # no empty pieces


@given(frames=times_lists, wanted=times_lists)
def test_the_last_frame_at_or_before_is_on_display_and_the_last_time_is_known_at_the_end(frames, wanted):
    picker = FramePicker(iter([(time, number) for number, time in enumerate(frames)]))
    picked = [picker.at(time) for time in wanted]
    plain = [max([n for n, time in enumerate(frames) if time <= want + 1e-4], default=0) for want in wanted]
    assert picked == plain
    assert on_display(np.array(frames), np.array(wanted)).tolist() == plain
    picker = FramePicker(iter([(0.0, "a"), (1.0, "b")]))
    assert picker.last_time is None
    assert picker.at(5.0) == "b"
    assert picker.last_time == 1.0
    assert FramePicker(iter(())).at(0.0) is None


STAMPS = [([None, None, 0.5, None], [0.0, 0.1, 0.5, 0.6]), ([5.0, 5.1, 5.2, 0.0, 0.1], [5.0, 5.1, 5.2, 5.3, 5.4])]
STAMPS += [([0.0, 0.1, 0.2, 0.08, 0.18, 0.28, 0.38], [0.0, 0.1, 0.2, 0.25, 0.265, 0.28, 0.38])]
STAMPS += [([0.0, 900.0, 0.2, 0.3], [0.0, 0.1, 0.2, 0.3])]


@pytest.mark.parametrize(("stamps", "expected"), STAMPS, ids=["missing", "restarted", "stepped back", "one ahead"])
def test_times_of_frames_never_fall(stamps, expected):
    timed = steady(((stamp, number) for number, stamp in enumerate(stamps)), 0.1)
    assert [round(time, 6) for time, _ in timed] == expected


@given(count=st.integers(1, 60), window=st.integers(1, 9), stride=st.integers(1, 9))
def test_windows_reach_the_last_frame(count, window, stride):
    windows = FrameNeed(fps=1, size=8, window=window, stride=stride).windows(count)
    assert windows[0, 0] == 0
    assert windows[-1, -1] == count - 1
    assert (np.diff(windows[:, 0]) > 0).all()
    assert (np.diff(windows[:-1, 0]) == stride).all()  # only the last may come early
    if count >= window:
        assert (np.diff(windows, axis=1) == 1).all()
    need = FrameNeed(fps=1, size=8, window=4, stride=4)  # a short clip repeats its last frame
    assert need.windows(2).tolist() == [[0, 1, 1, 1]]
    assert need.windows(11).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [7, 8, 9, 10]]
    assert need.windows(0).shape == (0, 4)
