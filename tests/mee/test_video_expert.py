"""The video side of one expert: pooling once, standardisation of what is there, statistics of present rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mee.model
from mee.config import ExpertConfig
from mee.data.source import load_ragged
from mee.model import VideoExpert
from mee.streams import Ragged

CONFIG = ExpertConfig(name="audio", input_dim=3, embed_dim=4)
POOLINGS = [("mean", "max"), ("first", "last"), ("netvlad-2",), ("transformer",), ("mean", "netvlad-3")]


def made(pooling=("mean", "max"), dropout=0.0, **fields):
    torch.manual_seed(0)
    return VideoExpert(replace(CONFIG, pooling=pooling, **fields), dropout).eval()


def ragged_streams(lengths, seed=0, dtype=np.float16):
    rng = np.random.default_rng(seed)
    rows = [torch.from_numpy((rng.normal(size=(n, 3)) + 2).astype(dtype)) if n else None for n in lengths]
    return Ragged.of(rows, torch.from_numpy(np.empty((0, 3), dtype)))


@pytest.mark.parametrize("pooling", POOLINGS, ids=", ".join)
@given(lengths=st.lists(st.integers(0, 5), max_size=7), seed=st.integers(0, 2**31))
def test_pooling_beforehand_changes_no_embedding(pooling, lengths, seed):
    expert, streams = made(pooling), ragged_streams(lengths, seed)
    read = expert.prepool(streams)
    assert read.pooled is not expert.pool.learns
    assert read.present.equal(streams.present)
    torch.testing.assert_close(expert(read.all()), expert(streams.all()), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 100])
def test_blocks_make_no_difference(monkeypatch, block):
    expert, streams = made(("mean", "first", "max", "last")), ragged_streams([2, 0, 5, 1, 0, 0, 3])
    expected = expert.prepool(streams)
    monkeypatch.setattr(mee.model, "BLOCK", block)
    read = expert.prepool(streams)
    assert read.values.equal(expected.values)
    assert read.offsets.equal(expected.offsets)


def test_a_pooled_stream_is_one_row_in_float32():
    read = made().prepool(ragged_streams([2, 0, 5]))
    assert read.values.shape == (2, 6)
    assert read.values.dtype == torch.float32
    assert read.offsets.tolist() == [0, 1, 1, 2]
    assert made().prepool(ragged_streams([0, 0])).all().lengths.tolist() == [0, 0]
    assert len(made().prepool(ragged_streams([]))) == 0


@pytest.mark.parametrize("pooling", POOLINGS, ids=", ".join)
def test_a_missing_stream_is_zeros_and_a_present_one_has_unit_length(pooling):
    embedded = made(pooling)(ragged_streams([2, 0, 5, 0]).all())
    torch.testing.assert_close(embedded.norm(dim=1), torch.tensor([1.0, 0, 1, 0]))
    assert (embedded[[1, 3]] == 0).all()


@pytest.mark.parametrize("pooling", POOLINGS, ids=", ".join)
def test_absent_rows_take_no_part_in_the_batch_statistics(pooling):
    streams, expert = ragged_streams([2, 0, 5, 0, 1, 3]), made(pooling).train()
    for pool in expert.pool.learnt.values():
        for layer in getattr(pool, "layers", ()):
            layer.dropout = 0.0  # what it drops depends on the shape of the batch
    state = {name: tensor.clone() for name, tensor in expert.state_dict().items()}
    expert(streams.all())
    after = {name: tensor.clone() for name, tensor in expert.state_dict().items()}
    expert.load_state_dict(state)
    expert(streams.take(torch.tensor([0, 2, 4, 5])))
    for name, tensor in expert.state_dict().items():
        torch.testing.assert_close(tensor, after[name], atol=1e-6, rtol=1e-5)


def test_standardisation_is_fitted_on_the_present_streams_only(model, source):
    ids = list(source.clips.index)
    for modality, streams in load_ragged(source, model.modalities, ids).items():
        expert = model.expert(modality)
        expert.fit(expert.prepool(streams))
        rows = [stream.astype(np.float64) for stream in source.streams[modality].values()]
        pooled = np.array([np.concatenate([stream.mean(0), stream.max(0)]) for stream in rows])
        np.testing.assert_allclose(expert.standardise.mean, pooled.mean(0), atol=1e-5)
        np.testing.assert_allclose(expert.standardise.deviation, pooled.std(0), atol=1e-5)


def test_a_pooling_that_learns_gets_standardised_rows():
    expert, streams = made(("netvlad-2",)), ragged_streams([2, 0, 5, 1], dtype=np.float32)
    expert.fit(expert.prepool(streams))
    torch.testing.assert_close(expert.standardise.mean, streams.values.mean(0))
    plain = (streams.values - streams.values.mean(0)) / streams.values.std(0, unbiased=False)
    direct = expert.pool(Ragged(plain, streams.offsets).all().padded, streams.all().lengths)
    torch.testing.assert_close(expert.pooled(streams.all()), direct[streams.present])


def test_an_expert_that_does_not_standardise_fits_nothing():
    expert, streams = made(standardise=False), ragged_streams([2, 5])
    expert.fit(expert.prepool(streams))
    assert (expert.standardise.mean == 0).all()
    assert (expert.standardise.deviation == 1).all()


def test_dropout_acts_in_training_only():
    expert, streams = made(dropout=0.5), ragged_streams([2, 5, 1, 3]).all()
    assert expert(streams).equal(expert(streams))
    expert.unit.eval()
    expert.training = True
    assert not expert(streams).equal(expert(streams))
