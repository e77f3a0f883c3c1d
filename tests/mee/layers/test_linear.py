"""The linear map in oneDNN gives what torch gives, in value and in gradient."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mee.layers.linear import Linear


def both(inputs, outputs, bias=True):
    torch.manual_seed(inputs * 31 + outputs)
    ours = Linear(inputs, outputs, bias=bias)
    plain = nn.Linear(inputs, outputs, bias=bias)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def trained(layer, x, upstream):
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(upstream)
    return [y, x.grad, *(p.grad for p in layer.parameters())]


@given(rows=st.integers(0, 9), inputs=st.integers(1, 40), outputs=st.integers(1, 40), bias=st.booleans())
def test_it_is_the_linear_map_and_its_gradients(rows, inputs, outputs, bias):
    ours, plain = both(inputs, outputs, bias)
    x, upstream = torch.randn(rows, inputs), torch.randn(rows, outputs)
    for got, expected in zip(trained(ours, x, upstream), trained(plain, x, upstream)):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_views_and_broadcast_gradients_are_read_rightly():
    ours, plain = both(6, 4)
    x = torch.randn(12, 20).T[3:9:2, ::2]  # (3, 6), no stride is 1
    upstream = torch.ones(1, 1).expand(3, 4)
    for got, expected in zip(trained(ours, x, upstream), trained(plain, x, upstream)):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_a_frozen_map_passes_gradients_on():
    ours, plain = (layer.requires_grad_(False) for layer in both(5, 3))
    x, upstream = torch.randn(4, 5), torch.randn(4, 3)
    torch.testing.assert_close(trained(ours, x, upstream)[1], trained(plain, x, upstream)[1])


def test_an_input_that_needs_no_gradient_gets_none():
    ours, plain = both(5, 3)
    x = torch.randn(4, 5)
    for layer in (ours, plain):
        layer(x).square().sum().backward()
    assert x.grad is None
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_take_torchs_own_path(dtype):
    ours, plain = (layer.to(dtype) for layer in both(5, 3))
    x = torch.randn(4, 5, dtype=dtype)
    assert ours(x).equal(plain(x))


def test_mixed_precision_is_as_torchs():
    ours, plain = both(5, 3)
    x = torch.randn(4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).dtype == torch.bfloat16
        assert ours(x).equal(plain(x))


def test_it_can_be_copied_and_keeps_its_names():
    ours, plain = both(5, 3)
    x = torch.randn(4, 5)
    assert ours.state_dict().keys() == plain.state_dict().keys()
    assert copy.deepcopy(ours)(x).equal(ours(x))


def test_two_threads_and_one_agree():
    ours, _ = both(300, 200)
    x, before = torch.randn(64, 300), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(ours(x))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
