"""Which part of a sound each row tells of."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.extractors.pretrained.sound import cut_pieces, piece_of


def test_full_windows_the_last_moved_to_end_with_the_sound():
    assert cut_pieces(25, 10, 10) == [(0, 10), (10, 20), (15, 25)]
    assert cut_pieces(20, 10, 10) == [(0, 10), (10, 20)]
    assert cut_pieces(7, 10, 10) == [(0, 7)]
    assert cut_pieces(0, 10, 10) == [(0, 0)]


def test_what_a_codec_appends_is_no_row():
    assert cut_pieces(1_049, 1_000, 1_000) == [(0, 1_000)]
    assert cut_pieces(1_050, 1_000, 1_000) == [(0, 1_000), (50, 1_050)]


def test_frames_follow_at_one_pace_from_window_to_window():
    assert cut_pieces(2 * 163_840 + 240, 164_080, 163_840) == [(0, 164_080), (163_840, 327_920)]


@given(samples=st.integers(0, 10_000), window=st.integers(1, 3_000), overlap=st.integers(0, 100))
def test_all_is_heard_but_a_twentieth_of_a_window(samples, window, overlap):
    pieces = cut_pieces(samples, window, max(1, window - overlap))
    assert pieces[0][0] == 0
    assert samples - max(1, 0.05 * window) < pieces[-1][1] <= samples
    assert all(end - start == min(window, samples) for start, end in pieces)
    assert all(before[0] < after[0] <= before[1] for before, after in pairwise(pieces))


def test_pieces_are_finite_in_range_and_long_enough():
    sound = np.array([0.5, np.nan, np.inf, -3.0], np.float32)
    piece = piece_of(sound, 0, 4, 16_000)
    assert piece[:4].tolist() == [0.5, 0.0, 1.0, -1.0]
    assert (len(piece), piece.dtype, np.abs(piece[4:]).max()) == (400, np.float32, 0.0)
    assert len(piece_of(np.zeros(500, np.float32), 0, 500, 16_000)) == 500
