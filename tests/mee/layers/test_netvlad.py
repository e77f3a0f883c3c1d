"""NetVLAD: the equation by a loop, and its laws. Its numbers: tests/golden/test_netvlad.py."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.layers.pooling import NetVLAD


def made(seed=0, dim=5, clusters=3):
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
    module = made(seed)
    rows = torch.randn(length, 5, dtype=torch.float64)
    torch.testing.assert_close(module(rows[None], torch.tensor([length]))[0], by_loop(module, rows))


@given(st.permutations(range(6)))
def test_the_order_of_rows_does_not_matter(order):
    module, rows = made(), torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(module(rows[:, order], torch.tensor([6])), module(rows, torch.tensor([6])))


def test_a_stream_said_twice_is_the_same_stream():
    """Residuals double, and their direction stays."""
    module, rows = made(), torch.randn(1, 4, 5, dtype=torch.float64)
    twice = module(torch.cat([rows, rows], dim=1), torch.tensor([8]))
    torch.testing.assert_close(twice, module(rows, torch.tensor([4])))


def test_batch_statistics_are_those_of_the_real_rows_of_all_streams():
    module, streams, lengths = made().train(), torch.randn(3, 4, 5).double(), torch.tensor([4, 0, 2])
    before = {name: buffer.clone() for name, buffer in module.norm.named_buffers()}
    module(streams, lengths)
    logits = torch.cat([streams[0], streams[2, :2]]) @ module.assign.detach()
    torch.testing.assert_close(module.norm.running_mean, 0.9 * before["running_mean"] + 0.1 * logits.mean(0))
    torch.testing.assert_close(module.norm.running_var, 0.9 * before["running_var"] + 0.1 * logits.var(0))
