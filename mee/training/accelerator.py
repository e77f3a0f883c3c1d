"""What accelerate does for a run: device, mixed precision, several processes."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import is_tensorboard_available

from mee.distributed import processes
from mee.errors import InputError
from mee.training.config import TrainConfig


def make_accelerator(device: torch.device, config: TrainConfig, scalars: Path | None = None) -> Accelerator:
    """What accelerate does for this run. Its state is the whole program's; a run forgets that of runs before it,
    whose device and precision may have been others, but not the group that its process belongs to.

    Args:
        device: cpu, or the kind of device of which each process gets its own.
        config: its mixed_precision.
        scalars: directory for TensorBoard.

    Raises:
        InputError: the device has not the precision, or TensorBoard is wanted and not installed.
    """
    if config.mixed_precision == "fp16" and device.type == "cpu":
        raise InputError("mixed precision fp16 needs a GPU; on the CPU take --mixed-precision bf16 or no")
    if scalars is not None and not is_tensorboard_available():
        raise InputError("--tensorboard needs TensorBoard: pip install 'mee[tensorboard]'")
    AcceleratorState._reset_state(reset_partial_state=True)
    # Told of unused parameters, torch does not rearrange its buckets after the first step: sums over processes
    # then have one order, in a run that goes on too. Pretrained encoders have such parameters besides.
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=config.mixed_precision,
        log_with=None if scalars is None else "tensorboard",
        project_dir=scalars,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
    )
    if accelerator.num_processes != processes():
        raise ValueError("start several processes with accelerate launch or torch.distributed.run")
    return accelerator
