"""Masks over the tables of an index."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from index.request.selection import both, of_video, of_videos, without_clip
from mee.errors import InputError


class Table:
    """As a segment's table is."""

    def __init__(self, videos):
        self.names = [f"{video}#{number}" for number, video in enumerate(videos)]
        columns = {"clip_id": self.names, "video": videos}
        self.arrow = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})

    def find(self, clip_id):
        return self.names.index(clip_id) if clip_id in self.names else None


@pytest.fixture
def index():
    """Two segments and an empty one; b#1 of the first is replaced by that of the second."""
    live = np.array([True, False, True])
    return SimpleNamespace(
        segments=[
            SimpleNamespace(table=Table(["a", "b", "c"]), live=live),
            SimpleNamespace(table=Table(["a", "b"]), live=None),
            SimpleNamespace(table=Table([]), live=None),
        ]
    )


def rows(selection):
    return [None if mask is None else mask.astype(int).tolist() for mask in selection]


def test_clips_of_videos(index):
    assert rows(of_videos(index, {"b"})) == [[0, 1, 0], [0, 1], []]
    assert rows(of_videos(index, ["b", "c"], outside=True)) == [[1, 0, 0], [1, 0], []]
    assert rows(of_videos(index, [])) == [[0, 0, 0], [0, 0], []]
    assert rows(of_video(index, "c")) == [[0, 0, 1], [0, 0], []]


def test_all_clips_but_one(index):
    assert rows(without_clip(index, "b#1")) == [None, [1, 0], None]
    assert rows(without_clip(index, "c#2")) == [[1, 1, 0], None, None]


def test_what_both_let_through():
    left, right = [None, np.array([True, False])], [np.array([True]), np.array([True, True])]
    assert rows(both(left, right)) == [[1], [1, 0]]
    assert both(None, None) is None
    assert both(left, None) is left
    assert both(None, right) is right


def test_what_is_not_there(index):
    with pytest.raises(InputError, match=r"^there is no clip 'a#7' in the index"):
        without_clip(index, "a#7")
    index.segments[1].live = np.array([True, False])
    with pytest.raises(InputError, match=r"^there is no clip 'b#1' in the index"):
        without_clip(index, "b#1")
    with pytest.raises(InputError, match=r"^there is no video 'b' in the index$"):
        of_video(index, "b")
