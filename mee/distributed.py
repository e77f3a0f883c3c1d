"""What several training processes compute as one.

Every process holds its share of a batch, and all of them compute the same loss L of the whole batch from all rows:

    d(L_1 + ... + L_P) / d(row) = P * dL / d(row)

so a process gives its rows P times their gradient, and the mean over processes, which DistributedDataParallel
takes of every parameter's gradient, is the gradient of one process with the whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_number() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def share(rows: int) -> slice:
    """Which of `rows` rows of a batch are this process's: shares of a size, or one row more or less."""
    return _share(rows, process_number())


def _share(rows: int, number: int) -> slice:
    count = processes()
    return slice(rows * number // count, rows * (number + 1) // count)


def joint_sum(x: Tensor) -> Tensor:
    """Sum over all processes, of a tensor that has the same shape in each; gradients flow back."""
    if processes() == 1:
        return x
    from torch.distributed.nn.functional import all_reduce

    summed: Tensor = all_reduce(x)
    return summed


def joint_rows(x: Tensor, rows: int) -> Tensor:
    """The rows of all processes, in order, each having given its `share(rows)`.

    Gradients flow back, under the condition that every process computes the same loss from the result.

    Args:
        x: (its share, ...) of any dtype.
        rows: of all processes together.

    Returns:
        (rows, ...).
    """
    if processes() == 1:
        return x
    joined: Tensor = _JointRows.apply(x, rows)  # type: ignore[no-untyped-call]
    return joined


def joint_numbers(numbers: list[float], device: torch.device) -> list[float]:
    """The numbers of process 0, in every process; all bring equally many."""
    if processes() == 1:
        return numbers
    told = torch.tensor(numbers, dtype=torch.float64, device=device)
    dist.broadcast(told, src=0)
    told_numbers: list[float] = told.tolist()
    return told_numbers


class _JointRows(Function):
    """What reaches the rows is the same in every process, so its sum over the processes needs no message.

    Not torch's differentiable all_gather: that sends every gradient round, and wants shares of one size.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int) -> Tensor:
        ctx.rows, count = rows, processes()
        longest = -(-rows // count)
        padded = torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])]).contiguous()
        gathered = [torch.empty_like(padded) for _ in range(count)]
        dist.all_gather(gathered, padded)
        shares = [_share(rows, number) for number in range(count)]
        return torch.cat([part[: its.stop - its.start] for part, its in zip(gathered, shares)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[share(ctx.rows)] * processes(), None
