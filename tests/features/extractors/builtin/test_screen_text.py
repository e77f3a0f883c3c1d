"""Lines on screen: how they are merged over time, and what PP-OCR reads of drawn ones."""

import socket

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from features.errors import InputError
from features.extractors.builtin import screen_text
from features.extractors.builtin.screen_text import ScreenTextExtractor, merged
from features.extractors.registry import make_extractor
from tests.features.clips import clip_of

LINES = st.lists(st.tuples(st.sampled_from(["ab", "abcdefgh", "abcdefgx", "12 34", "1234"]), st.floats(0, 1)))


def rows(*frames):
    shown = [(float(time), [line if isinstance(line, tuple) else (line, 0.9) for line in frame])
             for time, frame in enumerate(frames)]  # fmt: skip
    return [(line.text, line.start, line.last) for line in merged(shown)]


def test_a_line_that_stays_is_one_row_and_the_best_reading_is_kept():
    assert rows(
        ["Breaking news"], [("BREAKING NEWS", 0.95)], [], ["Breaking new5"], [], [], ["Breaking news"]
    ) == [
        ("BREAKING NEWS", 0.0, 3.0),
        ("Breaking news", 6.0, 6.0),
    ]
    assert rows(["one", "two"], ["two", "three"]) == [("one", 0, 0), ("two", 0, 1), ("three", 1, 1)]
    assert rows(["same", "same"], ["same", "same"]) == [("same", 0, 1)]
    assert rows(["10:41"], ["10:59"], ["12:03"]) == [("10:41", 0, 0), ("10:59", 1, 1), ("12:03", 2, 2)]


@given(frames=st.lists(LINES, max_size=5))
def test_every_line_of_a_frame_is_in_a_row_of_that_time(frames):
    found = rows(*frames)
    for time, lines in enumerate(frames):
        there = [text for text, start, last in found if start <= time <= last]
        assert len(there) >= len({screen_text._letters(text) for text, _ in lines})
    assert {time for _, *span in found for time in span} <= {time for time, lines in enumerate(frames) if lines}
    starts = [start for _, start, _ in found]
    assert starts == sorted(starts)


class Reader:
    """In place of a rapidocr.RapidOCR: reads what is in `seen`."""

    def __init__(self, *seen):
        self.seen = list(seen)

    def __call__(self, picture):
        self.txts, self.scores = zip(*self.seen) if self.seen else (None, None)
        return self


def test_weak_and_short_lines_do_not_count_and_a_clip_without_any_misses_the_stream():
    extractor = make_extractor("text")
    extractor._read = Reader(("Good line", 0.9), ("weak line", 0.5), ("I", 0.99), ("?!", 0.99), ("漢字", 0.85))
    picture = np.zeros((48, 64, 3), np.uint8)
    (found,) = extractor.extract([clip_of(extractor, picture, picture, start=5.0)])
    assert (found.lines, found.times.tolist()) == (("Good line", "漢字"), [[5.0, 7.0]] * 2)
    extractor._read = Reader()
    assert extractor.extract([clip_of(extractor, picture), clip_of(extractor)]) == [None, None]


def test_what_is_not_installed_is_one_sentence(monkeypatch, says):
    made = ScreenTextExtractor().fingerprint
    assert (made.dim, made.model, made.revision[:7]) == (0, "rapidocr", "sha256:")
    monkeypatch.setattr(screen_text, "find_spec", lambda name: None)
    with pytest.raises(InputError) as raised:
        make_extractor("text")
    says(raised.value)


@pytest.mark.slow
def test_drawn_lines_are_read_from_top_to_bottom_without_a_network(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it uses the network"))
    extractor = make_extractor("text")
    lines = ["Meeting starts at 9:45 in Room 12", "A red kite over the harbour", "subscribe now"]
    blurred = cv2.GaussianBlur(
        np.random.default_rng(1).integers(0, 255, (480, 853, 3)).astype(np.uint8), (0, 0), 9
    )
    drawn = Image.fromarray(blurred)
    for number, (line, size) in enumerate(zip(lines, (18, 24, 36))):
        place = (40, 60 + 100 * number)
        font = ImageFont.load_default(size)
        ImageDraw.Draw(drawn).text(place, line, font=font, fill="white", stroke_width=1, stroke_fill="black")
    drawn = np.asarray(drawn)
    (found,) = extractor.extract([clip_of(extractor, blurred, drawn, drawn, blurred)])
    assert [screen_text._letters(line) for line in found.lines] == [screen_text._letters(line) for line in lines]
    assert found.times.tolist() == [[1.0, 3.0]] * 3
    (again,) = extractor.extract([clip_of(extractor, drawn)])
    assert again.lines == found.lines
