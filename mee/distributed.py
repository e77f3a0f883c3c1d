"""Several training processes that compute as one.

Every process holds its share of a batch, and all of them compute the same loss L of the whole batch from all rows:

    d(L_1 + ... + L_P) / d(row) = P * dL / d(row)

so a process gives its rows P times their gradient, and the mean over processes, which DistributedDataParallel
takes of every parameter's gradient, is the gradient of one process with the whole batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from mee.errors import InputError
from mee.products import require_pays
from mee.streams import Ragged

if TYPE_CHECKING:
    from accelerate import Accelerator


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_number() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def share(rows: int, number: int | None = None) -> slice:
    """Which of `rows` rows of a batch are this process's, or another one's: of a size, or one row more or less."""
    number, count = process_number() if number is None else number, processes()
    return slice(rows * number // count, rows * (number + 1) // count)


def joint_sum(x: Tensor) -> Tensor:
    """Sum over all processes, of a tensor that has the same shape in each; gradients flow back."""
    if processes() == 1:
        return x
    from torch.distributed.nn.functional import all_reduce

    return cast(Tensor, all_reduce(x))


def joint_rows(x: Tensor, rows: int) -> Tensor:
    """(rows, ...) of all processes, in order; x: (its `share(rows)`, ...) of each, of any dtype.

    Gradients flow back, under the condition that every process computes the same loss from the result.
    """
    if processes() == 1:
        return x
    return cast(Tensor, _JointRows.apply(x, rows))  # type: ignore[no-untyped-call]


def joint_streams(streams: Ragged, rows: int) -> Ragged:
    """The same of streams of float rows: (rows,) streams of all processes, in order."""
    if processes() == 1:
        return streams
    own = streams.offsets.diff().to(streams.values.device)
    lengths = joint_rows(own, rows)
    place = torch.arange(int(lengths.max()), device=own.device)
    padded = streams.values.new_zeros(len(own), len(place), *streams.values.shape[1:])
    padded = joint_rows(padded.index_put((place < own[:, None],), streams.values), rows)
    return Ragged(padded[place < lengths[:, None]], F.pad(lengths.cumsum(0), (1, 0)).cpu())


def joint_numbers(numbers: list[float], device: torch.device) -> list[float]:
    """The numbers of process 0, in every process; all pass equally many."""
    if processes() == 1:
        return numbers
    sent = torch.tensor(numbers, dtype=torch.float64, device=device)
    dist.broadcast(sent, src=0)
    return cast(list[float], sent.tolist())


class _JointRows(Function):
    """The gradient of the rows is the same in every process, so its sum over processes needs no communication.

    torch's differentiable all_gather sends every gradient, and needs shares of one size.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int) -> Tensor:
        ctx.rows, count = rows, processes()
        longest = -(-rows // count)
        padded = torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])]).contiguous()
        gathered = [torch.empty_like(padded) for _ in range(count)]
        dist.all_gather(gathered, padded)
        shares = [share(rows, number) for number in range(count)]
        return torch.cat([part[: rows.stop - rows.start] for part, rows in zip(gathered, shares)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[share(ctx.rows)] * processes(), None


def make_accelerator(device: torch.device, mixed_precision: str, scalars: Path | None = None) -> Accelerator:
    """Device, mixed precision, processes, and trackers (TensorBoard, in `scalars`) of one training run.

    accelerate keeps its state for the whole program. A run resets it, because earlier runs may have had another
    device and precision, but stays in the process group. `device`: cpu, or the kind of which each gets its own.

    Raises:
        InputError: the device has not the precision, or TensorBoard is requested and not installed.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState
    from accelerate.utils import is_tensorboard_available

    if mixed_precision == "fp16" and device.type == "cpu":
        raise InputError("mixed precision fp16 needs a GPU; on the CPU take --mixed-precision no")
    if mixed_precision == "bf16":
        require_pays(torch.bfloat16, device, "--mixed-precision bf16", "--mixed-precision no")
    if scalars is not None and not is_tensorboard_available():
        raise InputError("--tensorboard needs TensorBoard: pip install 'mee[tensorboard]'")
    AcceleratorState._reset_state(reset_partial_state=True)
    # With find_unused_parameters, torch does not rearrange its buckets after the first step: sums over processes
    # then have one order, in a resumed run, too. Pretrained encoders also have such parameters.
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=mixed_precision,
        log_with=None if scalars is None else "tensorboard",
        project_dir=scalars,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
    )
    if accelerator.num_processes != processes():
        raise ValueError("start several processes with accelerate launch or torch.distributed.run")
    return accelerator
