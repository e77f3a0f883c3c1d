"""Pooling over time against plain loops (NetVLAD: tests/golden); padding is not read, missing streams are 0."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mee.layers.pooling import Pool, pool_rows
from mee.layers.pooling_kinds import PLAIN, check_pooling, parse_pooling, pooled_size

EVERY = (*PLAIN, "netvlad-3", "transformer", "transformer-2")
LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=5)
JUNK = st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e30])
SEEDS = st.integers(0, 2**31)
LOOPS = {
    "mean": lambda rows: rows.mean(0),
    "max": lambda rows: rows.max(0),
    "first": lambda rows: rows[0],
    "last": lambda rows: rows[-1],
}


def padded(rows, junk=0.0, extra=0):
    """Streams as a batch, junk beyond their lengths."""
    lengths = [len(stream) for stream in rows]
    streams = np.full((len(rows), max(1, *lengths) + extra, rows[0].shape[1]), junk)
    for number, stream in enumerate(rows):
        streams[number, : len(stream)] = stream
    return torch.from_numpy(streams), torch.tensor(lengths)


def made_pool(kinds, dim=3, seed=0):
    """In eval mode, in float64, with a batch norm that has seen something."""
    torch.manual_seed(seed)
    pool = Pool(kinds, dim).double()
    for name, buffer in pool.named_buffers():
        if "running" in name:
            buffer.add_(torch.rand_like(buffer))
    return pool.eval()


def random_streams(lengths, seed, dim=3):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, dim)) - 2 for length in lengths]  # mostly negative: zeros would win a maximum


@given(lengths=LENGTHS, extra=st.integers(0, 3), junk=JUNK, seed=SEEDS)
def test_pooling_equals_a_loop_and_never_reads_padding(lengths, extra, junk, seed):
    rows = random_streams(lengths, seed)
    streams, sizes = padded(rows, junk, extra)
    for kind, loop in LOOPS.items():
        expected = np.stack([loop(stream) if len(stream) else np.zeros(3) for stream in rows])
        np.testing.assert_allclose(Pool([kind], 3)(streams, sizes), expected, atol=1e-12)
        alone = torch.from_numpy(np.concatenate(rows))
        np.testing.assert_allclose(pool_rows(alone, sizes, kind), expected, atol=1e-12)


@given(lengths=LENGTHS, junk=JUNK, seed=SEEDS, kind=st.sampled_from(EVERY))
def test_neither_padding_nor_the_rest_of_the_batch_changes_a_stream(lengths, junk, seed, kind):
    rows, pool = random_streams(lengths, seed), made_pool([kind], seed=seed)
    together = pool(*padded(rows, junk, extra=2))
    for number, stream in enumerate(rows):
        alone = pool(*padded([stream]))
        torch.testing.assert_close(together[number : number + 1], alone, atol=1e-10, rtol=1e-9)
        assert len(stream) or (alone == 0).all()


@given(lengths=LENGTHS, seed=SEEDS, kind=st.sampled_from(EVERY), training=st.booleans())
def test_junk_in_the_padding_reaches_no_gradient(lengths, seed, kind, training):
    rows = random_streams(lengths, seed)
    pool = made_pool([kind], seed=seed).train(training)
    state = {name: tensor.clone() for name, tensor in pool.state_dict().items()}
    results = []
    for junk in (0.0, math.nan):
        pool.load_state_dict(state)
        pool.zero_grad()
        streams, sizes = padded(rows, junk, extra=1)
        streams.requires_grad_()
        torch.manual_seed(seed)  # of the dropout
        out = pool(streams, sizes)
        if out.requires_grad:
            (out * torch.linspace(-1, 1, out.shape[1])).sum().backward()
        beyond = torch.arange(streams.shape[1]) >= sizes[:, None]
        gradient = torch.zeros_like(streams) if streams.grad is None else streams.grad
        assert gradient.isfinite().all()
        assert (gradient[beyond] == 0).all()
        learnt = {name: p.grad for name, p in pool.named_parameters() if p.grad is not None}
        assert all(value.isfinite().all() for value in learnt.values())
        results.append({"out": out, "streams": gradient, **learnt, **pool.state_dict()})
    one, other = results
    assert one.keys() == other.keys()
    assert all(tensor.equal(other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_clips_and_no_rows_at_all_and_the_same_bits_for_the_same_streams(kind, dtype, training):
    torch.manual_seed(0)
    pool = Pool([kind], 3).to(dtype).train(training)
    before = {name: tensor.clone() for name, tensor in pool.state_dict().items()}
    for clips, longest in ((0, 4), (3, 4), (3, 0), (0, 0)):
        out = pool(torch.full((clips, longest, 3), torch.nan, dtype=dtype), torch.zeros(clips, dtype=torch.int64))
        assert out.equal(torch.zeros(clips, pool.dim, dtype=dtype))
        if out.requires_grad:
            out.sum().backward()
            assert all(p.grad is None or (p.grad == 0).all() for p in pool.parameters())
        assert all(tensor.equal(before[name]) for name, tensor in pool.state_dict().items())
    streams, sizes = torch.randn(5, 7, 3, dtype=dtype), torch.tensor([7, 0, 2, 5, 1])
    one, other = (pool.eval()(streams, sizes) for _ in range(2))
    assert one.dtype == dtype
    assert one.equal(other)
    if dtype == torch.float64:  # gradients agree with finite differences
        streams, sizes = padded(random_streams([3, 0, 1, 4], 5))
        whole = made_pool([kind])
        assert torch.autograd.gradcheck(lambda x: whole(x, sizes), streams.requires_grad_())


def test_the_order_of_kinds_is_the_order_of_columns():
    streams, sizes = padded(random_streams([3, 2], 0))
    kinds = ["max", "netvlad-3", "mean", "transformer", "last"]
    pool = made_pool(kinds)
    parts = []
    for kind in kinds:
        single = made_pool([kind])
        if kind in pool.learnt:
            single.learnt[kind].load_state_dict(pool.learnt[kind].state_dict())
        parts.append(single(streams, sizes))
    assert pool(streams, sizes).equal(torch.cat(parts, dim=1))
    assert pool.dim == 3 + 9 + 3 + 256 + 3


def test_tied_maxima_share_their_gradient_and_a_long_mean_of_halves_loses_nothing():
    rows = torch.tensor([[2.0], [1.0], [2.0]], requires_grad=True)
    pool_rows(rows, torch.tensor([3]), "max").sum().backward()
    assert rows.grad.flatten().tolist() == [0.5, 0.0, 0.5]
    for dtype in (torch.float16, torch.bfloat16):  # added up in bfloat16, ones stop at 256
        mean = pool_rows(torch.ones(5000, 2, dtype=dtype), torch.tensor([4000, 0, 1000]), "mean")
        assert mean.dtype == dtype
        assert mean.tolist() == [[1, 1], [0, 0], [1, 1]]


# ---- names of poolings


def test_a_kind_is_a_name_and_a_number_and_kinds_are_some_once_each():
    kinds = {"mean": 0, "last": 0, "netvlad-16": 16, "netvlad-1": 1, "transformer": 1, "transformer-3": 3}
    assert {kind: parse_pooling(kind) for kind in kinds} == {k: (k.partition("-")[0], n) for k, n in kinds.items()}
    check_pooling("'audio'", ("mean", "netvlad-4", "netvlad-8"))
    some = {(): "at least one", ("mean", "max", "mean"): "once, got mean, max, mean", ("netvlad",): "'netvlad'"}
    for several, says in some.items():
        with pytest.raises(ValueError, match=f"'audio': .*{says}"):
            check_pooling("'audio'", several)


NO_KINDS = "MEAN median mean-1 max- netvlad netvlad- netvlad-0 netvlad-00 netvlad-08 netvlad--3 netvlad-3x"
NO_KINDS += " netvlad-1.5 netvlad-³ netvlad-١ transformer- transformer-0 transformer-00 transformer-a"


@pytest.mark.parametrize("kind", ["", " mean", "mean ", *NO_KINDS.split()])
def test_what_is_no_kind_is_refused_by_its_name(kind):
    for refuse in (parse_pooling, lambda kind: Pool([kind], 3), lambda kind: check_pooling("'audio'", [kind])):
        with pytest.raises(ValueError, match=f"pooling must be one of .*got '{kind}'"):
            refuse(kind)
    for plain in (kind, "netvlad-3"):
        with pytest.raises(ValueError, match=f"one of mean, max, first, last, got '{plain}'"):
            pool_rows(torch.zeros(1, 1), torch.ones(1, dtype=torch.int64), plain)


@given(kinds=st.lists(st.sampled_from([*EVERY[:-1], "netvlad-5"]), min_size=1, unique=True), dim=st.integers(1, 9))
def test_the_size_is_that_of_what_a_pool_makes(kinds, dim):
    sizes = {"netvlad-3": 3 * dim, "netvlad-5": 5 * dim, "transformer": 256}
    size = sum(sizes.get(kind, dim) for kind in kinds)
    assert pooled_size(kinds, dim) == size
    assert Pool(kinds, dim)(torch.zeros(1, 1, dim), torch.ones(1, dtype=torch.int64)).shape == (1, size)


@given(lengths=LENGTHS, seed=SEEDS)
@torch.no_grad()
def test_netvlad_is_its_equation_and_its_statistics_are_those_of_the_real_rows(lengths, seed):
    rows, pool = random_streams(lengths, seed, 5), made_pool(["netvlad-3"], 5, seed)
    module = pool.learnt["netvlad-3"]
    norm, mean, var = module.norm, module.norm.running_mean.clone(), module.norm.running_var.clone()
    nn.init.uniform_(norm.weight, 0.5, 2), nn.init.normal_(norm.bias)
    for stream, found in zip(rows, pool(*padded(rows))):
        vectors = torch.zeros(5, 3).double()
        for x in torch.from_numpy(stream):
            logits = (x @ module.assign - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias
            vectors += logits.exp() / logits.exp().sum() * (x[:, None] - module.centres)
        expected = vectors / vectors.norm(dim=0) / math.sqrt(3) if len(stream) else vectors
        torch.testing.assert_close(found, expected.flatten())
    pool.train()(*padded(rows, math.nan))
    logits = torch.from_numpy(np.concatenate(rows)) @ module.assign
    if len(logits) > 1:
        torch.testing.assert_close(norm.running_mean, 0.9 * mean + 0.1 * logits.mean(0))
        torch.testing.assert_close(norm.running_var, 0.9 * var + 0.1 * logits.var(0))


@given(st.permutations(range(6)))
def test_netvlad_ignores_the_order_of_rows_and_how_often_all_of_them_come(order):
    """Residuals double, and their direction stays."""
    generator = torch.Generator().manual_seed(1)
    pool, rows = made_pool(["netvlad-3"], 5), torch.randn(1, 6, 5, generator=generator).double()
    expected = pool(rows, torch.tensor([6]))
    torch.testing.assert_close(pool(rows[:, order], torch.tensor([6])), expected)
    torch.testing.assert_close(pool(torch.cat([rows, rows], dim=1), torch.tensor([12])), expected)
