"""Which frames make a window."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.media.clip import FrameNeed


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
