"""Padded and ragged streams: what is cut out of a block is what a loop would pad."""

import math
from dataclasses import replace
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit
from signal import SIG_IGN, SIGXFSZ, signal
from tempfile import TemporaryDirectory

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
        streams.append(torch.arange(total, total + 2 * length).view(length, 2).to(dtype) if length else None)
        total += 2 * length
    return Ragged.of(streams, LIKE.to(dtype)), streams


def rows_of(streams, number):
    """One stream of a padded batch, without its padding."""
    return streams.padded[number, : streams.lengths[number]]


@given(lengths=LENGTHS, data=st.data())
def test_a_batch_is_what_a_loop_would_pad(lengths, data):
    ragged, streams = made(lengths)
    assert (len(ragged), ragged.present.tolist()) == (len(lengths), [length > 0 for length in lengths])
    some = st.lists(st.integers(0, len(lengths) - 1), max_size=9) if lengths else st.just([])
    chosen = data.draw(some)  # some twice, in any order, perhaps none
    numbers = torch.tensor(chosen, dtype=torch.int64)
    few = ragged.only(numbers)
    assert len(few.values) == sum(lengths[number] for number in chosen)
    for batch, of in ((ragged.take(numbers), chosen), (few.all(), chosen), (ragged.all(), range(len(lengths)))):
        expected = [lengths[number] for number in of]
        assert batch.lengths.tolist() == expected
        assert batch.available.tolist() == [length > 0 for length in expected]
        assert batch.padded.shape == (len(of), max([1, *expected]), 2)
        for row, number in enumerate(of):
            assert streams[number] is None or rows_of(batch, row).equal(streams[number])


@given(st.lists(LENGTHS, min_size=1, max_size=5), st.sampled_from([0, 9, 40, 1 << 20]), st.data())
def test_blocks_are_gathered_as_if_made_together_in_memory_or_in_a_file_without_a_name(lengths, limit, data):
    whole = [length for block in lengths for length in block]
    (together, _), blocks, before = made(whole, torch.float16), [], 0
    for own in lengths:
        blocks.append(together.only(torch.arange(before, before + len(own))))
        before += len(own)
    blocks = [b if len(b.values) else replace(b, values=b.values.double()) for b in blocks]  # nothing, of any type
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("mee.streams.IN_MEMORY", limit)
        gathered = Ragged.gather(iter(blocks), Path(folder))
        assert not list(Path(folder).iterdir())
    assert (gathered.mapped is not None) is (together.values.nbytes > limit)
    assert gathered.values.equal(together.values)
    assert gathered.offsets.equal(together.offsets)
    chosen = torch.tensor(data.draw(st.permutations(range(len(whole)))), dtype=torch.int64)
    for ragged in (gathered, gathered):  # what was dropped from the map is read again
        assert ragged.take(chosen).padded.equal(together.take(chosen).padded)
        read = [block.values for block in ragged.blocks(chosen)]
        assert torch.cat([LIKE.half(), *read]).equal(together.only(chosen).values)


def test_a_file_that_cannot_be_written_is_an_error_and_no_signal(tmp_path, monkeypatch):
    monkeypatch.setattr("mee.streams.IN_MEMORY", 0)
    before, after = (getrlimit(RLIMIT_FSIZE)), signal(SIGXFSZ, SIG_IGN)
    setrlimit(RLIMIT_FSIZE, (1 << 16, before[1]))  # as a full disk
    try:
        with pytest.raises(OSError, match="large"):
            Ragged.gather([Ragged.of([torch.zeros(1 << 16)], torch.empty(0))], tmp_path)
    finally:
        setrlimit(RLIMIT_FSIZE, before)
        signal(SIGXFSZ, after)


def test_halves_come_out_as_floats_and_tokens_as_they_are_and_nan_does_not_spread():
    halves, _ = made([2, 1], torch.float16)
    assert (halves.values.dtype, halves.all().padded.dtype) == (torch.float16, torch.float32)
    tokens = Ragged.of([torch.tensor([3, 1, 2]), torch.tensor([7])], torch.empty(0, dtype=torch.int64))
    batch = tokens.take(torch.tensor([1, 0]))
    assert (batch.padded.dtype, batch.padded.shape) == (torch.int64, (2, 3))
    assert [rows_of(batch, row).tolist() for row in range(2)] == [[7], [3, 1, 2]]
    ragged = Ragged.of([torch.full((3, 2), math.nan), torch.ones(1, 2)], LIKE)
    assert ragged.take(torch.tensor([1])).padded.tolist() == [[[1, 1]]]


def test_streams_are_hidden_where_they_are_not_kept_and_availability_follows_the_order_of_names():
    streams = made([2, 0, 4])[0].all()
    hidden = streams.where(torch.tensor([False, True, True]))
    assert (hidden.lengths.tolist(), hidden.lengths.dtype) == ([0, 0, 4], torch.int64)
    assert hidden.available.tolist() == [False, False, True]
    assert streams.lengths.tolist() == [2, 0, 4]
    assert hidden.padded is streams.padded
    for pooled in (True, False):  # pooled streams stay marked
        ragged = Ragged.of([torch.ones(1, 2), None], LIKE, pooled=pooled)
        parts = (ragged.all(), ragged.only(torch.tensor([0])), Ragged.gather([ragged, ragged]).all())
        parts += (parts[0].to(torch.device("cpu")), parts[0].where(torch.tensor([True, False])))
        assert all(part.pooled is pooled for part in parts)
    clips = {"audio": made([0, 1, 0])[0].all(), "motion": made([3, 1, 0])[0].all()}
    assert availability(clips, ["motion", "audio"]).tolist() == [[True, False], [True, True], [False, False]]
    assert availability(clips, ["audio"]).dtype == torch.bool
