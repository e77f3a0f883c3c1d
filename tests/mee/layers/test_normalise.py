"""Standardising; batch norm in one process is torch's own (several: tests/test_distributed.py); gated units."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import mee.layers.normalise
from mee.layers.normalise import GatedEmbeddingUnit, JointBatchNorm, Kernel, Names, Standardise


@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(2, 40),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    offset=st.sampled_from([0.0, -5.0, 100.0]),
)
def test_fitted_rows_have_mean_zero_and_deviation_one(seed, rows, scale, offset):
    x = scale * torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed)) + offset * scale
    standardise = Standardise(4)
    standardise.fit(x.split(7))
    y = standardise(x).double()
    rounding = 2**-22 * float((x.abs().amax(0) / standardise.deviation).max())  # of a float32 mean, in deviations
    torch.testing.assert_close(y.mean(0), torch.zeros(4).double(), atol=1e-4 + rounding, rtol=0)
    torch.testing.assert_close(y.std(0, unbiased=False), torch.ones(4).double(), atol=1e-4 + rounding, rtol=0)


def test_it_is_the_identity_until_fitted_and_a_column_that_never_changes_keeps_deviation_one():
    standardise, x = Standardise(3), torch.stack([torch.full((9,), 0.1), torch.arange(9.0), torch.zeros(9)], dim=1)
    assert standardise(x).equal(x)
    standardise.fit([torch.empty(0, 3)])
    assert standardise(x).equal(x)
    standardise.fit([x[:4], x[4:4], x[4:]])
    assert standardise.deviation[[0, 2]].tolist() == [1, 1]
    assert standardise(x).abs()[:, [0, 2]].max() < 1e-6
    standardise.fit([x[:1]])
    assert standardise(x[:1]).tolist() == [[0, 0, 0]]


def norms(width=4):
    torch.manual_seed(0)
    ours, theirs = JointBatchNorm(width).double(), nn.BatchNorm1d(width).double()
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_it_is_torchs_batch_norm(monkeypatch, joint, training):
    if joint:  # the formulas of several processes, with one that has all rows
        monkeypatch.setattr(mee.layers.normalise, "processes", lambda: 2)
    ours, theirs = (norm.train(training) for norm in norms())
    for rows in (2, 7, 30):
        x = (3 + 5 * torch.randn(rows, 4, dtype=torch.float64)).requires_grad_()
        y = x.detach().clone().requires_grad_()
        weight = torch.randn(rows, 4, dtype=torch.float64)
        torch.testing.assert_close(ours(x), theirs(y))
        (ours(x) * weight).sum().backward()
        (theirs(y) * weight).sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
    for (name, one), other in zip(ours.state_dict().items(), theirs.state_dict().values()):
        torch.testing.assert_close(one, other, msg=name)
    for one, other in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_are_normed_by_the_running_statistics_and_leave_them(monkeypatch, joint, rows):
    if joint:
        monkeypatch.setattr(mee.layers.normalise, "processes", lambda: 2)
    norm, _ = norms()
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(9.0)
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    x = torch.randn(rows, 4, dtype=torch.float64, requires_grad=True)
    y = norm.train()(x)
    torch.testing.assert_close(y, (x - 2) / (9 + norm.eps) ** 0.5 * norm.weight + norm.bias)
    y.sum().backward()
    assert x.grad.shape == (rows, 4)
    assert all(tensor.equal(before[name]) for name, tensor in norm.state_dict().items())
    if joint:  # rows of half precision are summed in single
        norm, halves = JointBatchNorm(2), (100 + torch.randn(2000, 2)).bfloat16()
        out = norm.train()(halves)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(norm.running_mean, 0.1 * halves.float().mean(0), rtol=1e-4, atol=0)
        assert out.float().std(0).sub(1).abs().max() < 0.05


def test_a_gated_unit_gives_unit_rows_starts_as_the_identity_and_learns_from_two_rows():
    torch.manual_seed(0)
    unit = GatedEmbeddingUnit(6, 9).eval()
    for scale in (1e-3, 1.0, 1e4):
        rows = scale * torch.randn(8, 6)
        torch.testing.assert_close(unit(rows).norm(dim=1), torch.ones(8))
        torch.testing.assert_close(unit(rows)[3:4], unit(rows[3:4]))
    unit, rows = GatedEmbeddingUnit(5, 5), torch.randn(7, 5)
    unit.start_as_identity()
    for mode in (True, False):
        torch.testing.assert_close(unit.train(mode)(rows), nn.functional.normalize(rows, dim=1))
    (unit.train()(rows) * torch.randn(7, 5)).sum().backward()
    assert unit.linear.weight.grad.abs().max() > 0
    assert unit.norm.weight.grad.abs().max() > 0  # the gate opens by the scale of its norm
    unit, rows = GatedEmbeddingUnit(5, 4).train(), torch.randn(2, 5)
    gates = unit.gate(unit.linear(rows)).detach()
    unit(rows)
    torch.testing.assert_close(unit.norm.running_mean, 0.1 * gates.mean(0))
    torch.testing.assert_close(unit.norm.running_var, 0.9 + 0.1 * gates.var(0))


def test_a_kernel_is_one_at_its_centres_and_falls_with_the_distance():
    kernel = Kernel(5, 3, 4)
    generator = torch.Generator().manual_seed(0)
    kernel.directions.copy_(torch.randn(5, 3, generator=generator))
    z = torch.randn(4, 5, generator=generator)
    kernel.centres.copy_(z @ kernel.directions.float())
    likeness = kernel(z)
    own = z.double().numpy() @ kernel.directions.double().numpy()
    square = ((own[:, None] - kernel.centres.double().numpy()) ** 2).sum(2)
    np.testing.assert_allclose(likeness, np.exp(-square), atol=1e-5)
    torch.testing.assert_close(likeness.diagonal(), torch.ones(4), atol=1e-4, rtol=0)
    assert kernel(torch.full((1, 5), 1e18)).tolist() == [[0, 0, 0, 0]]


def test_names_are_combined_by_square_roots_and_no_value_is_no_name():
    names = Names(3, 2)
    names.vectors.copy_(torch.tensor([[1.0, 0], [0, 1], [-1, 0]]))
    values = torch.tensor([[0.64, 0.36, 0.0], [0, 0, 0], [-1, 0, 1]])
    expected = torch.tensor([[0.8 / 1.4, 0.6 / 1.4], [0, 0], [-1, 0]])
    torch.testing.assert_close(names(values), expected)
