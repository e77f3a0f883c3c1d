"""Which frame is on display."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.media.frames import FramePicker, on_display, steady

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
