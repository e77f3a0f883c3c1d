"""Padded streams of several clips."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.streams import Streams, availability


@given(st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=6))
def test_padding_keeps_every_row(lengths):
    rng = np.random.default_rng(0)
    rows = [None if length is None else rng.normal(size=(length, 3)) for length in lengths]
    streams = Streams.pad(rows, 3)
    sizes = [length or 0 for length in lengths]
    assert streams.padded.shape == (len(rows), max([1, *sizes]), 3)
    assert streams.padded.dtype == torch.float32
    assert streams.lengths.tolist() == sizes
    assert streams.lengths.dtype == torch.int64
    for number, stream in enumerate(rows):
        if stream is not None:
            np.testing.assert_array_equal(streams.padded[number, : len(stream)], stream.astype(np.float32))


def test_streams_are_hidden_where_they_are_not_kept():
    streams = Streams.pad([np.ones((2, 3)), None, np.ones((4, 3))], 3)
    hidden = streams.where(torch.tensor([False, True, True]))
    assert hidden.lengths.tolist() == [0, 0, 4]
    assert hidden.lengths.dtype == torch.int64
    assert hidden.available.tolist() == [False, False, True]
    assert streams.lengths.tolist() == [2, 0, 4]
    assert hidden.padded is streams.padded


def test_a_mark_of_pooling_goes_along():
    streams = Streams(torch.ones(2, 1, 3), torch.tensor([1, 1]), pooled=True)
    assert streams.to(torch.device("cpu")).pooled
    assert streams.where(torch.tensor([True, False])).pooled


def test_availability_follows_the_order_asked_for():
    clips = {
        "audio": Streams.pad([None, np.ones((1, 2)), None], 2),
        "motion": Streams.pad([np.ones((3, 4)), np.ones((1, 4)), None], 4),
    }
    assert availability(clips, ["motion", "audio"]).tolist() == [[True, False], [True, True], [False, False]]
    assert availability(clips, ["audio"]).dtype == torch.bool
