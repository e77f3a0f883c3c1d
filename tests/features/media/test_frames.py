"""Needs, clips, and which frame is on display."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.media.clip import FrameNeed
from features.media.frames import FramePicker, on_display, steady
from features.media.orientation import upright_size

times_lists = st.lists(st.integers(0, 10_000), min_size=1, max_size=20).map(
    lambda ms: [value / 1000 for value in sorted(ms)]
)


@settings(deadline=None)
@given(frames=times_lists, wanted=times_lists)
def test_the_last_frame_at_or_before_is_on_display(frames, wanted):
    picker = FramePicker(iter([(time, number) for number, time in enumerate(frames)]))
    walked = [picker.at(time) for time in wanted]
    plain = [max([n for n, time in enumerate(frames) if time <= want + 1e-4], default=0) for want in wanted]
    assert walked == plain
    assert on_display(np.array(frames), np.array(wanted)).tolist() == plain


def test_last_time_is_known_at_the_end_only():
    picker = FramePicker(iter([(0.0, "a"), (1.0, "b")]))
    assert picker.last_time is None
    assert picker.at(5.0) == "b"
    assert picker.last_time == 1.0
    assert FramePicker(iter(())).at(0.0) is None


def test_missing_times_follow_the_frame_before():
    timed = steady(iter([(None, 0), (None, 1), (0.5, 2), (None, 3)]), 0.1)
    assert [round(time, 6) for time, _ in timed] == [0.0, 0.1, 0.5, 0.6]


def test_times_never_fall():
    restarted = steady(iter([(5.0, 0), (5.1, 1), (5.2, 2), (0.0, 3), (0.1, 4)]), 0.1)
    assert [round(time, 6) for time, _ in restarted] == [5.0, 5.1, 5.2, 5.3, 5.4]
    stepped = steady(iter([(0.0, 0), (0.1, 1), (0.2, 2), (0.08, 3), (0.18, 4), (0.28, 5), (0.38, 6)]), 0.1)
    assert [round(time, 6) for time, _ in stepped] == [0.0, 0.1, 0.2, 0.25, 0.265, 0.28, 0.38]
    lone_jump = steady(iter([(0.0, 0), (900.0, 1), (0.2, 2), (0.3, 3)]), 0.1)
    assert [round(time, 6) for time, _ in lone_jump] == [0.0, 0.1, 0.2, 0.3]


@given(count=st.integers(1, 60), window=st.integers(1, 9), stride=st.integers(1, 9))
def test_windows_reach_the_last_frame(count, window, stride):
    windows = FrameNeed(fps=1, size=8, window=window, stride=stride).windows(count)
    assert windows[0, 0] == 0
    assert windows[-1, -1] == count - 1
    assert (np.diff(windows[:, 0]) > 0).all()
    assert (np.diff(windows[:-1, 0]) == stride).all()  # only the last may come early
    if count >= window:
        assert (np.diff(windows, axis=1) == 1).all()


def test_a_short_clip_repeats_its_last_frame():
    need = FrameNeed(fps=1, size=8, window=4, stride=4)
    assert need.windows(2).tolist() == [[0, 1, 1, 1]]
    assert need.windows(11).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [7, 8, 9, 10]]
    assert need.windows(0).shape == (0, 4)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ((640, 360, 1.0, False), (112, 199)),
        ((640, 360, 1.0, True), (199, 112)),
        ((720, 576, 64 / 45, False), (112, 199)),
        ((64, 48, 1.0, False), (112, 149)),
        ((10_000, 10, 1.0, False), (112, 448)),
        ((10, 10_000, 1.0, False), (448, 112)),
    ],
)
def test_upright_size(stored, expected):
    assert upright_size(*stored, 112) == expected
