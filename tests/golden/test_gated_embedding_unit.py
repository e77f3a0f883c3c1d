"""The gated embedding unit: the reference's values, gradients and running statistics.

Ours always has its gate, and a batch norm in it. The cases without one or the other are reproduced by a norm that
does nothing, and by one that opens every gate: sigmoid(40) is 1 in float64.
"""

import pytest
import torch

from mee.layers.normalise import GatedEmbeddingUnit

EXACT = {"atol": 1e-10, "rtol": 1e-9}
ROUNDED = {"atol": 5e-6, "rtol": 0.0, "check_dtype": False}
NAMES = {"fc": "linear", "cg.fc": "gate", "cg.batch_norm": "norm"}  # theirs -> ours
OPEN = 40.0


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("gated_embedding_unit.safetensors")


def ours(golden, prefix):
    """Tensors under a prefix, by our parameter names."""
    found = {}
    for name, tensor in golden.items():
        if name.startswith(prefix):
            part, _, leaf = name.removeprefix(prefix).rpartition(".")
            found[f"{NAMES[part]}.{leaf}"] = tensor
    return found


@pytest.fixture
def golden_unit(golden, without_norm):
    """golden_unit(case, dtype)."""

    def make(case, dtype=torch.float64):
        state = ours(golden, f"{case}.state.")
        unit = GatedEmbeddingUnit(*reversed(state["linear.weight"].shape)).to(dtype)
        unit.load_state_dict(state)
        if case == "gated_no_bn":
            without_norm(unit)
        if case == "no_gating":
            with torch.no_grad():
                unit.norm.weight.zero_()
                unit.norm.bias.fill_(OPEN)
        return unit

    return make


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, EXACT), (torch.float32, ROUNDED)])
@pytest.mark.parametrize("case", ["gated", "no_gating", "gated_no_bn", "batch1"])
def test_eval_output_is_the_references(golden, golden_unit, case, dtype, tolerance):
    out = golden_unit(case, dtype).eval()(golden[f"{case}.in"].to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out, golden[f"{case}.eval.out"], **tolerance)


@pytest.mark.parametrize("case", ["gated", "no_gating", "gated_no_bn"])
def test_a_training_step_is_the_references(golden, golden_unit, case):
    unit, inputs = golden_unit(case).train(), golden[f"{case}.in"].clone().requires_grad_()
    out = unit(inputs)
    (out * golden[f"{case}.upstream_grad"]).sum().backward()
    torch.testing.assert_close(out, golden[f"{case}.train.out"], **EXACT)
    torch.testing.assert_close(inputs.grad, golden[f"{case}.train.grad_input"], **EXACT)
    gradients = ours(golden, f"{case}.train.grad.")
    if case == "no_gating":
        assert set(gradients) == {"linear.weight", "linear.bias"}
    else:
        assert set(gradients) == {name for name, _ in unit.named_parameters()}
    parameters = dict(unit.named_parameters())
    for name, gradient in gradients.items():
        torch.testing.assert_close(parameters[name].grad, gradient, **EXACT)
    if case == "gated":
        buffers, expected = dict(unit.named_buffers()), ours(golden, f"{case}.train.buffer_after.")
        assert len(expected) == 2
        for name, statistic in expected.items():
            torch.testing.assert_close(buffers[name], statistic, **EXACT)


def test_a_lone_row_trains_by_the_running_statistics_where_the_reference_raises(golden, golden_unit, load_golden):
    """One row has no variance: the reference's batch norm raises. Ours norms it as in eval mode, and learns."""
    assert (
        "Expected more than 1 value"
        in load_golden("gated_embedding_unit.json")["cases"]["batch1"]["train_mode_error"]
    )
    unit = golden_unit("batch1").train()
    before = {name: buffer.clone() for name, buffer in unit.named_buffers()}
    out = unit(golden["batch1.in"].clone().requires_grad_())
    torch.testing.assert_close(out, golden["batch1.eval.out"], **EXACT)
    (out * golden["batch1.upstream_grad"]).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in unit.parameters())
    assert all(buffer.equal(before[name]) for name, buffer in unit.named_buffers())
