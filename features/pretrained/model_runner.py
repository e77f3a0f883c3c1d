"""Items of many clips -> vectors, a batch at a time, on one device.

A batch that does not fit into a GPU's memory is halved, and so are those after it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.errors import InputError
from features.extractor_spec import ExtractorSpec
from features.merge_schedule import MergeSchedule
from features.pretrained.architecture import Architecture
from features.pretrained.weights import load_weights
from features.run_config import RunConfig

log = logging.getLogger(__name__)

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Items = Sequence[NDArray[Any]]
Prepare = Callable[[Items], Mapping[str, Tensor]]
Forward = Callable[[Any, Mapping[str, Tensor]], Tensor]


def pick_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" stands for; of several GPUs the one that LOCAL_RANK says.

    Raises:
        InputError: there is no GPU, and one was asked for.
    """
    there = torch.cuda.is_available()
    if name == "cpu" or (name == "auto" and not there):
        return torch.device("cpu")
    if not there:
        raise InputError(
            "--device cuda: torch sees no GPU here; use --device cpu, or a torch that is built for CUDA"
        )
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


@final
class ModelRunner:
    """A model with its weights, ready."""

    def __init__(self, spec: ExtractorSpec, architecture: Architecture, run: RunConfig, merge: str | None) -> None:
        """Load the weights.

        Args:
            spec: resolved: whose model it is.
            architecture: which class of transformers.
            run: device, precision and batch size.
            merge: token merging, or None.

        Raises:
            InputError: the weights cannot be loaded, or the device does not have this precision.
        """
        self.device, self.type = pick_device(run.device), TYPES[run.precision]
        if self.device.type == "cpu" and self.type is torch.float16:
            raise InputError("--precision fp16 needs a GPU; on a CPU use bf16 or fp32")
        self.spec, self.batch_size = spec, run.batch_size
        source = spec.source or spec.stream
        self.model = load_weights(architecture, spec.checkpoints[0].path, source).to(self.device, self.type)
        self.merging: Any = None
        if merge is not None:
            from features.merged_transformers import merge_tokens

            self.merging = merge_tokens(self.model, MergeSchedule.parse(merge))

    def vectors(self, items: Items, prepare: Prepare, forward: Forward) -> NDArray[np.float32]:
        """(N, D) rows of N items, N at least 1.

        Raises:
            InputError: not even one item fits into the GPU's memory.
        """
        done: list[NDArray[np.float32]] = []
        at = 0
        while at < len(items):
            batch = items[at : at + self.batch_size]
            rows = self._pass(batch, prepare, forward)
            if rows is None:
                self._halve(len(batch))
                continue
            done.append(rows)
            at += len(batch)
        return np.concatenate(done)

    @torch.inference_mode()
    def _pass(self, items: Items, prepare: Prepare, forward: Forward) -> NDArray[np.float32] | None:
        """(B, D) rows of one batch; None where the GPU's memory does not hold it."""
        try:
            inputs = {name: self._placed(value) for name, value in prepare(items).items()}
            return np.asarray(forward(self.model, inputs).float().cpu().numpy())
        except torch.OutOfMemoryError:
            return None

    def _placed(self, value: Tensor) -> Tensor:
        moved = value.to(self.device)
        return moved.to(self.type) if moved.is_floating_point() else moved

    def _halve(self, size: int) -> None:
        torch.cuda.empty_cache()
        if size == 1:
            raise InputError(
                f"'{self.spec}': not even one row at a time fits into the GPU's memory; try --precision bf16, a "
                "smaller model, or --device cpu"
            )
        self.batch_size = size // 2
        log.warning(
            "%s: %d rows at a time do not fit into the GPU's memory; going on with %d (--batch-size)",
            self.spec.stream,
            size,
            self.batch_size,
        )
