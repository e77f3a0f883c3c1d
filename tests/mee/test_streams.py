"""Padded and ragged streams: what is cut out of a block is what a loop would pad."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.streams import Ragged, availability

LENGTHS = st.lists(st.integers(0, 5), max_size=8)
LIKE = torch.empty(0, 2)


def made(lengths, dtype=torch.float32):
    """Rows that are all different; 0 rows: a missing stream."""
    total, streams = 0, []
    for length in lengths:
        rows = torch.arange(total, total + 2 * length).view(length, 2)
        streams.append(rows.to(dtype) if length else None)
        total += 2 * length
    return Ragged.of(streams, LIKE.to(dtype)), streams


def rows_of(streams, number):
    """One stream of a padded batch, without its padding."""
    return streams.padded[number, : streams.lengths[number]]


@given(lengths=LENGTHS, data=st.data())
def test_a_batch_is_what_a_loop_would_pad(lengths, data):
    ragged, streams = made(lengths)
    some = st.lists(st.integers(0, len(lengths) - 1), max_size=9) if lengths else st.just([])
    chosen = data.draw(some)  # some twice, in any order, perhaps none
    batch = ragged.take(torch.tensor(chosen, dtype=torch.int64))
    expected = [0 if streams[number] is None else len(streams[number]) for number in chosen]
    assert batch.lengths.tolist() == expected
    assert batch.available.tolist() == [length > 0 for length in expected]
    assert batch.padded.shape == (len(chosen), max([1, *expected]), 2)
    for row, number in enumerate(chosen):
        if streams[number] is not None:
            assert rows_of(batch, row).equal(streams[number])


@given(LENGTHS)
def test_all_of_them_are_every_stream_in_order(lengths):
    ragged, streams = made(lengths)
    assert len(ragged) == len(lengths)
    assert ragged.present.tolist() == [length > 0 for length in lengths]
    batch = ragged.all()
    assert batch.lengths.tolist() == lengths
    assert all(stream is None or rows_of(batch, row).equal(stream) for row, stream in enumerate(streams))


@given(lengths=LENGTHS.filter(len), data=st.data())
def test_some_of_them_are_a_collection_of_their_own(lengths, data):
    ragged, _ = made(lengths)
    chosen = torch.tensor(data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=9)), dtype=torch.int64)
    few, expected = ragged.only(chosen), ragged.take(chosen)
    assert len(few) == len(chosen)
    batch = few.all()
    assert batch.lengths.equal(expected.lengths)
    assert all(rows_of(batch, row).equal(rows_of(expected, row)) for row in range(len(chosen)))
    assert len(few.values) == int(expected.lengths.sum())


@given(st.lists(LENGTHS, min_size=1, max_size=4))
def test_several_are_joined_as_if_made_together(parts):
    together, _ = made([length for part in parts for length in part])
    pieces, before = [], 0
    for part in parts:
        pieces.append(together.only(torch.arange(before, before + len(part))))
        before += len(part)
    joined = Ragged.join(pieces, [len(part) for part in parts])
    assert joined.values.equal(together.values)
    assert joined.offsets.equal(together.offsets)


def test_a_collection_that_is_not_there_is_missing_streams():
    ragged, _ = made([2, 0, 1])
    joined = Ragged.join([ragged, None, ragged], [3, 2, 3])
    assert joined.present.tolist() == [True, False, True, False, False, True, False, True]
    assert joined.values.equal(torch.cat([ragged.values, ragged.values]))


def test_halves_come_out_as_floats_and_tokens_as_they_are():
    halves, _ = made([2, 1], torch.float16)
    assert halves.values.dtype == torch.float16
    assert halves.all().padded.dtype == torch.float32
    tokens = Ragged.of([torch.tensor([3, 1, 2]), torch.tensor([7])], torch.empty(0, dtype=torch.int64))
    batch = tokens.take(torch.tensor([1, 0]))
    assert batch.padded.dtype == torch.int64
    assert batch.padded.shape == (2, 3)
    assert rows_of(batch, 0).tolist() == [7]
    assert rows_of(batch, 1).tolist() == [3, 1, 2]


@pytest.mark.parametrize("pooled", [True, False])
def test_what_was_pooled_stays_marked(pooled):
    ragged = Ragged.of([torch.ones(1, 2), None], LIKE, pooled=pooled)
    parts = (ragged.all(), ragged.only(torch.tensor([0])), Ragged.join([ragged, None], [2, 1]).all())
    parts += (parts[0].to(torch.device("cpu")), parts[0].where(torch.tensor([True, False])))
    assert all(part.pooled is pooled for part in parts)


def test_values_that_are_no_numbers_do_not_spread():
    ragged = Ragged.of([torch.full((3, 2), math.nan), torch.ones(1, 2)], LIKE)
    batch = ragged.take(torch.tensor([1]))
    assert batch.padded.tolist() == [[[1, 1]]]


def test_streams_are_hidden_where_they_are_not_kept():
    streams = made([2, 0, 4])[0].all()
    hidden = streams.where(torch.tensor([False, True, True]))
    assert hidden.lengths.tolist() == [0, 0, 4]
    assert hidden.lengths.dtype == torch.int64
    assert hidden.available.tolist() == [False, False, True]
    assert streams.lengths.tolist() == [2, 0, 4]
    assert hidden.padded is streams.padded


def test_availability_follows_the_order_asked_for():
    clips = {
        "audio": made([0, 1, 0])[0].all(),
        "motion": made([3, 1, 0])[0].all(),
    }
    assert availability(clips, ["motion", "audio"]).tolist() == [[True, False], [True, True], [False, False]]
    assert availability(clips, ["audio"]).dtype == torch.bool
