"""NetVLAD: the reference's values, gradients and running statistics, padding passed off as rows; and ours,
masked."""

import pytest
import torch

from mee.layers.pooling import NetVLAD

EXACT = {"atol": 1e-10, "rtol": 1e-9}
ROUNDED = {"atol": 5e-6, "rtol": 0.0, "check_dtype": False}
OURS = {"clusters": "assign", "clusters2": "centres", "batch_norm": "norm"}
RUNS = {"": "in", "padded.": "padded.in", "ragged.": "ragged.in"}  # plain, 4 rows of zeros more, zeros at the end


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("netvlad.safetensors")


@pytest.fixture(params=["bn", "no_bn"])
def case(request):
    return request.param


def ours(golden, prefix, *, normed):
    """Tensors under a prefix, by our parameter names and in our shapes; without a norm, its tensors are left
    out."""
    found = {}
    for name, tensor in golden.items():
        if name.startswith(prefix):
            part, _, leaf = name.removeprefix(prefix).partition(".")
            if normed or part != "batch_norm":
                found[".".join(filter(None, (OURS[part], leaf)))] = (
                    tensor.squeeze(0) if part == "clusters2" else tensor
                )
    return found


@pytest.fixture
def netvlad(golden, case, without_norm):
    """netvlad(dtype): with the golden weights."""

    def make(dtype=torch.float64):
        module = NetVLAD(6, 4).to(dtype)
        if case == "no_bn":
            without_norm(module)
        module.load_state_dict(ours(golden, f"{case}.state.", normed=case == "bn"))
        return module

    return make


def every_row(streams):
    return torch.full((len(streams),), streams.shape[1])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, EXACT), (torch.float32, ROUNDED)])
@pytest.mark.parametrize("run", RUNS)
def test_eval_output_is_the_references_where_padding_counts_as_rows(golden, case, netvlad, run, dtype, tolerance):
    streams = golden[f"{case}.{RUNS[run]}"].to(dtype)
    out = netvlad(dtype).eval()(streams, every_row(streams))
    assert out.dtype == dtype
    torch.testing.assert_close(out, golden[f"{case}.{run}eval.out"], **tolerance)


@pytest.mark.parametrize("run", RUNS)
def test_a_training_step_is_the_references_where_padding_counts_as_rows(golden, case, netvlad, run):
    module, streams = netvlad().train(), golden[f"{case}.{RUNS[run]}"].clone().requires_grad_()
    out = module(streams, every_row(streams))
    (out * golden[f"{case}.upstream_grad"]).sum().backward()
    torch.testing.assert_close(out, golden[f"{case}.{run}train.out"], **EXACT)
    torch.testing.assert_close(streams.grad, golden[f"{case}.{run}train.grad_input"], **EXACT)
    gradients = ours(golden, f"{case}.{run}train.grad.", normed=True)
    assert set(gradients) == {name for name, _ in module.named_parameters()}
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], **EXACT)
    statistics = ours(golden, f"{case}.{run}train.buffer_after.", normed=case == "bn")
    assert (len(statistics) == 2) is (case == "bn")
    buffers = dict(module.named_buffers())
    for name, expected in statistics.items():
        torch.testing.assert_close(buffers[name], expected, **EXACT)


@pytest.mark.parametrize("junk", [0.0, torch.nan, torch.inf])
def test_our_padding_takes_no_part(golden, case, netvlad, junk):
    """The reference gives softmax mass to zero rows, so its vectors change with the padding. Ours are those of the
    rows alone: what the reference gives item by item without padding."""
    lengths, masked = golden[f"{case}.ragged.lengths"], golden[f"{case}.ragged.eval.out_masked"]
    streams = golden[f"{case}.ragged.in"]
    beyond = torch.arange(7) >= lengths[:, None]
    out = netvlad().eval()(streams.masked_fill(beyond[..., None], junk), lengths)
    torch.testing.assert_close(out, masked, **EXACT)
    assert (masked - golden[f"{case}.ragged.eval.out"]).abs().max() > 0.3
    plain, longer = golden[f"{case}.in"], golden[f"{case}.padded.in"].clone()
    longer[:, 7:] = junk
    torch.testing.assert_close(netvlad().eval()(longer, every_row(plain)), golden[f"{case}.eval.out"], **EXACT)


def test_our_padding_takes_no_part_in_training_either(golden, case, netvlad):
    """Seven rows, or the same seven and four of padding: one training step, to the gradients and statistics."""
    module, streams = netvlad().train(), golden[f"{case}.padded.in"].clone()
    streams[:, 7:] = torch.nan
    streams.requires_grad_()
    out = module(streams, torch.full((5,), 7))
    (out * golden[f"{case}.upstream_grad"]).sum().backward()
    torch.testing.assert_close(out, golden[f"{case}.train.out"], **EXACT)
    torch.testing.assert_close(streams.grad[:, :7], golden[f"{case}.train.grad_input"], **EXACT)
    assert (streams.grad[:, 7:] == 0).all()
    for name, gradient in ours(golden, f"{case}.train.grad.", normed=True).items():
        torch.testing.assert_close(dict(module.named_parameters())[name].grad, gradient, **EXACT)
    for name, statistic in ours(golden, f"{case}.train.buffer_after.", normed=case == "bn").items():
        torch.testing.assert_close(dict(module.named_buffers())[name], statistic, **EXACT)


def test_absence_cannot_be_read_off_the_references_output_and_can_off_ours(golden, case, netvlad):
    """A stream of zeros gives the reference a vector of unit length. Ours agrees where the zeros are rows, and
    gives zeros where nothing is there."""
    zeros, module = golden[f"{case}.ragged.in"].new_zeros(2, 7, 6), netvlad().eval()
    expected = golden[f"{case}.allzero.eval.out"]
    torch.testing.assert_close(module(zeros, every_row(zeros)), expected, **EXACT)
    torch.testing.assert_close(expected.norm(dim=1), torch.ones(2).double())
    assert (module(zeros, torch.zeros(2, dtype=torch.int64)) == 0).all()
