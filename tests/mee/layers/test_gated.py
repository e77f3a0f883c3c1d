"""The gated embedding unit: its laws. Its numbers: tests/golden/test_gated_embedding_unit.py."""

import torch

from mee.layers.gated import GatedEmbeddingUnit


def test_every_row_has_unit_length_whatever_the_scale_and_the_rest_of_the_batch():
    torch.manual_seed(0)
    unit = GatedEmbeddingUnit(6, 9).eval()
    for scale in (1e-3, 1.0, 1e4):
        rows = scale * torch.randn(8, 6)
        torch.testing.assert_close(unit(rows).norm(dim=1), torch.ones(8))
        torch.testing.assert_close(unit(rows)[3:4], unit(rows[3:4]))


def test_it_starts_as_the_identity_and_learns_from_there():
    torch.manual_seed(0)
    unit, rows = GatedEmbeddingUnit(5, 5), torch.randn(7, 5)
    unit.start_as_identity()
    for mode in (True, False):
        torch.testing.assert_close(unit.train(mode)(rows), torch.nn.functional.normalize(rows, dim=1))
    (unit.train()(rows) * torch.randn(7, 5)).sum().backward()
    assert unit.linear.weight.grad.abs().max() > 0
    assert unit.norm.weight.grad.abs().max() > 0  # the gate opens by the scale of its norm


def test_two_rows_are_enough_for_batch_statistics():
    torch.manual_seed(0)
    unit, rows = GatedEmbeddingUnit(5, 4).train(), torch.randn(2, 5)
    gates = unit.gate(unit.linear(rows)).detach()
    unit(rows)
    torch.testing.assert_close(unit.norm.running_mean, 0.1 * gates.mean(0))
    torch.testing.assert_close(unit.norm.running_var, 0.9 + 0.1 * gates.var(0))
