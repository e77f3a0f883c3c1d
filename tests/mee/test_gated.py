"""The gated embedding unit: golden values, gradients and running statistics."""

import pytest
import torch

from mee.gated import GatedEmbeddingUnit

NAMES = {"fc": "linear", "cg.fc": "gate", "cg.batch_norm": "norm"}  # theirs -> ours
EXACT = {"atol": 1e-10, "rtol": 1e-9}


def ours(tensors, prefix):
    """Tensors under a prefix, by our parameter names."""
    found = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            part, _, leaf = name.removeprefix(prefix).rpartition(".")
            found[f"{NAMES[part]}.{leaf}"] = tensor
    return found


@pytest.fixture
def golden(load_golden):
    return load_golden("gated_embedding_unit.safetensors")


def golden_unit(golden, case):
    state = ours(golden, f"{case}.state.")
    unit = GatedEmbeddingUnit(*reversed(state["linear.weight"].shape)).double()
    unit.load_state_dict(state)
    return unit


@pytest.mark.parametrize("case", ["gated", "batch1"])
def test_eval_output_matches_golden(golden, case):
    unit = golden_unit(golden, case).eval()
    torch.testing.assert_close(unit(golden[f"{case}.in"]), golden[f"{case}.eval.out"], **EXACT)


def test_training_step_matches_golden(golden):
    unit = golden_unit(golden, "gated").train()
    inputs = golden["gated.in"].requires_grad_()
    out = unit(inputs)
    (out * golden["gated.upstream_grad"]).sum().backward()
    torch.testing.assert_close(out, golden["gated.train.out"], **EXACT)
    torch.testing.assert_close(inputs.grad, golden["gated.train.grad_input"], **EXACT)
    gradients = ours(golden, "gated.train.grad.")
    assert set(gradients) == {name for name, _ in unit.named_parameters()}
    for name, parameter in unit.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], **EXACT)
    buffers = dict(unit.named_buffers())
    for name, expected in ours(golden, "gated.train.buffer_after.").items():
        torch.testing.assert_close(buffers[name], expected, **EXACT)


def test_a_lone_row_in_training_is_normed_by_the_running_statistics_and_leaves_them_alone(golden):
    unit = golden_unit(golden, "batch1").train()
    before = {name: buffer.clone() for name, buffer in unit.named_buffers()}
    out = unit(golden["batch1.in"].requires_grad_())
    torch.testing.assert_close(out, golden["batch1.eval.out"], **EXACT)
    (out * golden["batch1.upstream_grad"]).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in unit.parameters())
    assert all(buffer.equal(before[name]) for name, buffer in unit.named_buffers())


@pytest.mark.parametrize("training", [True, False])
def test_no_row_at_all_works_and_has_no_effect(training):
    unit = GatedEmbeddingUnit(5, 4).train(training)
    before = {name: buffer.clone() for name, buffer in unit.named_buffers()}
    out = unit(torch.empty(0, 5))
    out.sum().backward()
    assert out.shape == (0, 4)
    assert all(buffer.equal(before[name]) for name, buffer in unit.named_buffers())
    assert all(p.grad is None or (p.grad == 0).all() for p in unit.parameters())


def test_every_row_has_unit_length_whatever_the_scale():
    torch.manual_seed(0)
    unit = GatedEmbeddingUnit(6, 9).eval()
    for scale in (1e-3, 1.0, 1e4):
        torch.testing.assert_close(unit(scale * torch.randn(8, 6)).norm(dim=1), torch.ones(8))


def test_eval_rows_do_not_depend_on_their_batch():
    torch.manual_seed(0)
    unit, rows = GatedEmbeddingUnit(6, 9).eval(), torch.randn(8, 6)
    torch.testing.assert_close(unit(rows)[3:4], unit(rows[3:4]))
