"""Pooling over time: against plain loops; padding is never read, missing streams are zeros.

NetVLAD's numbers: tests/golden/test_netvlad.py.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.layers.pooling import NetVLAD, Pool, pool_rows
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


@pytest.mark.parametrize("kind", EVERY)
def test_gradients_agree_with_finite_differences(kind):
    streams, sizes = padded(random_streams([3, 0, 1, 4], 5))
    pool = made_pool([kind])
    assert torch.autograd.gradcheck(lambda x: pool(x, sizes), streams.requires_grad_())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize(("clips", "longest"), [(0, 4), (3, 4), (3, 0), (0, 0)])
def test_no_clips_and_no_rows_at_all(kind, clips, longest, training):
    pool = Pool([kind], 3).train(training)
    before = {name: tensor.clone() for name, tensor in pool.state_dict().items()}
    out = pool(torch.full((clips, longest, 3), torch.nan), torch.zeros(clips, dtype=torch.int64))
    assert out.equal(torch.zeros(clips, pool.dim))
    if out.requires_grad:
        out.sum().backward()
        assert all(p.grad is None or (p.grad == 0).all() for p in pool.parameters())
    assert all(tensor.equal(before[name]) for name, tensor in pool.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", EVERY)
def test_the_same_streams_give_the_same_bits_in_their_own_dtype(kind, dtype):
    torch.manual_seed(0)
    pool, streams = Pool([kind], 3).to(dtype).eval(), torch.randn(5, 7, 3, dtype=dtype)
    sizes = torch.tensor([7, 0, 2, 5, 1])
    assert pool(streams, sizes).dtype == dtype
    assert pool(streams, sizes).equal(pool(streams, sizes))


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


def test_a_maximum_in_two_rows_shares_its_gradient():
    rows = torch.tensor([[2.0], [1.0], [2.0]], requires_grad=True)
    pool_rows(rows, torch.tensor([3]), "max").sum().backward()
    assert rows.grad.flatten().tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_long_mean_of_half_precision_loses_nothing(dtype):
    """Added up in bfloat16, ones stop at 256."""
    mean = pool_rows(torch.ones(5000, 2, dtype=dtype), torch.tensor([4000, 0, 1000]), "mean")
    assert mean.dtype == dtype
    assert mean.tolist() == [[1, 1], [0, 0], [1, 1]]


def test_an_unknown_kind_is_refused():
    for kind in ("median", "netvlad-3"):
        with pytest.raises(ValueError, match=f"one of mean, max, first, last, got '{kind}'"):
            pool_rows(torch.zeros(1, 1), torch.ones(1, dtype=torch.int64), kind)
    with pytest.raises(ValueError, match="'median'"):
        Pool(["median"], 3)


# ---- names of poolings


def test_a_kind_is_a_name_and_a_number():
    kinds = ("mean", "last", "netvlad-16", "netvlad-1", "transformer", "transformer-3")
    numbers = (0, 0, 16, 1, 1, 3)
    assert [parse_pooling(kind) for kind in kinds] == [(k.partition("-")[0], n) for k, n in zip(kinds, numbers)]


NO_KINDS = "MEAN median mean-1 max- netvlad netvlad- netvlad-0 netvlad-00 netvlad-08 netvlad--3 netvlad-3x"
NO_KINDS += " netvlad-1.5 netvlad-³ netvlad-١ transformer- transformer-0 transformer-00 transformer-a"


@pytest.mark.parametrize("kind", ["", " mean", "mean ", *NO_KINDS.split()])
def test_what_is_no_kind_is_refused_by_its_name(kind):
    with pytest.raises(ValueError, match=f"pooling must be one of .*got '{kind}'"):
        parse_pooling(kind)


@given(kinds=st.lists(st.sampled_from([*EVERY[:-1], "netvlad-5"]), min_size=1, unique=True), dim=st.integers(1, 9))
def test_the_size_is_that_of_what_a_pool_makes(kinds, dim):
    sizes = {"netvlad-3": 3 * dim, "netvlad-5": 5 * dim, "transformer": 256}
    size = sum(sizes.get(kind, dim) for kind in kinds)
    assert pooled_size(kinds, dim) == size
    assert Pool(kinds, dim)(torch.zeros(1, 1, dim), torch.ones(1, dtype=torch.int64)).shape == (1, size)


def test_none_at_all_the_same_twice_and_unknown_ones_are_refused():
    check_pooling("'audio'", ("mean", "netvlad-4", "netvlad-8"))
    for kinds, says in (
        ((), "at least one"), (("mean", "max", "mean"), "once, got mean, max, mean"), (("netvlad",), "'netvlad'")
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"'audio': .*{says}"):
            check_pooling("'audio'", kinds)


# ---- NetVLAD


def made_netvlad(seed=0, dim=5, clusters=3):
    torch.manual_seed(seed)
    module = NetVLAD(dim, clusters).double()
    module.norm.running_mean.normal_()
    module.norm.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        module.norm.weight.uniform_(0.5, 2)
        module.norm.bias.normal_()
    return module.eval()


@torch.no_grad()
def by_loop(module, rows):
    """The equation in plain floats, one stream."""
    norm = module.norm
    clusters, dim = len(norm.weight), rows.shape[1]
    vectors = [[0.0] * dim for _ in range(clusters)]
    for x in rows.tolist():
        logits = []
        for k in range(clusters):
            inner = sum(x[d] * float(module.assign[d, k]) for d in range(dim))
            deviation = math.sqrt(float(norm.running_var[k]) + norm.eps)
            logits.append(
                (inner - float(norm.running_mean[k])) / deviation * float(norm.weight[k]) + float(norm.bias[k])
            )
        total = sum(math.exp(logit) for logit in logits)
        for k in range(clusters):
            for d in range(dim):
                vectors[k][d] += math.exp(logits[k]) / total * (x[d] - float(module.centres[d, k]))
    lengths = [math.sqrt(sum(value * value for value in vector)) for vector in vectors]
    flat = [vectors[k][d] / lengths[k] for d in range(dim) for k in range(clusters)]
    return torch.tensor(flat, dtype=torch.float64) / math.sqrt(clusters)


@given(st.integers(1, 6), st.integers(0, 2**31))
def test_it_is_the_equation(length, seed):
    module = made_netvlad(seed)
    rows = torch.randn(length, 5, dtype=torch.float64)
    torch.testing.assert_close(module(rows[None], torch.tensor([length]))[0], by_loop(module, rows))


@given(st.permutations(range(6)))
def test_the_order_of_rows_does_not_matter(order):
    module, rows = made_netvlad(), torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(module(rows[:, order], torch.tensor([6])), module(rows, torch.tensor([6])))


def test_a_stream_said_twice_is_the_same_stream():
    """Residuals double, and their direction stays."""
    module, rows = made_netvlad(), torch.randn(1, 4, 5, dtype=torch.float64)
    twice = module(torch.cat([rows, rows], dim=1), torch.tensor([8]))
    torch.testing.assert_close(twice, module(rows, torch.tensor([4])))


def test_batch_statistics_are_those_of_the_real_rows_of_all_streams():
    module, streams, lengths = made_netvlad().train(), torch.randn(3, 4, 5).double(), torch.tensor([4, 0, 2])
    before = {name: buffer.clone() for name, buffer in module.norm.named_buffers()}
    module(streams, lengths)
    logits = torch.cat([streams[0], streams[2, :2]]) @ module.assign.detach()
    torch.testing.assert_close(module.norm.running_mean, 0.9 * before["running_mean"] + 0.1 * logits.mean(0))
    torch.testing.assert_close(module.norm.running_var, 0.9 * before["running_var"] + 0.1 * logits.var(0))
