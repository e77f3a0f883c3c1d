"""Kernel and named columns, written out."""

import numpy as np
import torch

from mee.layers import Kernel, Names


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
