"""A checkpoint's weights -> a model of transformers, strictly; items of many clips -> vectors, a batch at a time.

    missing      a parameter of the model without weights      an error, save for modules that forward never runs
    unexpected   weights inside a module of the model, unused  an error: config.json tells of another model
                 weights of other modules: heads, text towers  ignored

A batch that does not fit into a GPU's memory is halved, and so are those after it. The mean of tokens counts each
for as many patches as it stands for (Bolya et al., *Token Merging*, section 3):

    mean = sum over n of s_n x_n / sum over n of s_n,   s_n = 1 where nothing is merged
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from features.errors import InputError
from features.extractors.pretrained.checkpoint import Architecture
from features.extractors.spec import ExtractorSpec, RunConfig
from features.extractors.token_merging import MergeSchedule

log = logging.getLogger(__name__)

_BUFFERS = ("position_ids", "inv_freq")  # old files hold them; models compute them


def load_weights(architecture: Architecture, folder: Path, source: str) -> nn.Module:
    """A model in evaluation mode, float32, on the CPU.

    Args:
        architecture: class of transformers, and how it is made.
        folder: of the checkpoint.
        source: what the user calls it, for the sentences.

    Raises:
        InputError: the weights are not in safetensors, lack, are damaged, or do not fit config.json.
    """
    if not list(folder.glob("model*.safetensors")):
        raise InputError(
            f"'{source}' has no weights in the safetensors format, and others may be pickles, which are never "
            "read; if the hub has converted them, name that revision (OWNER/MODEL@refs/pr/NUMBER), else convert "
            'them once, where you trust them: python -c "from transformers import AutoModel as A; '
            f"A.from_pretrained('{source}').save_pretrained('DIRECTORY')\""
        )
    load: Any = getattr(transformers, architecture.name).from_pretrained
    try:
        with quiet():
            model, report = load(
                folder,
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # told below, in a sentence
                output_loading_info=True,
                **{"attn_implementation": "sdpa", **architecture.settings},
            )
    except Exception as error:  # whatever a type's own checks raise
        raise InputError(f"'{source}': its weights cannot be loaded: {_said(error)}") from error
    _check(model, report, architecture, source)
    for name in architecture.unused:
        setattr(model, name, None)
    made: nn.Module = model.requires_grad_(False).eval()
    return made


def _check(model: Any, report: dict[str, Any], architecture: Architecture, source: str) -> None:
    needless = tuple(f"{name}." for name in architecture.unused)
    mismatched = sorted(str(entry[0]) for entry in report["mismatched_keys"])
    if mismatched:
        raise InputError(
            f"'{source}': {len(mismatched)} of its weights are not of the size that its config.json says, such as "
            f"{mismatched[0]}"
        )
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(needless))
    if missing:
        raise InputError(f"'{source}': its weights are not whole: {len(missing)} lack, such as {missing[0]}")
    modules = {name for name, _ in model.named_children()}
    prefix = f"{model.base_model_prefix}."
    surplus = sorted(
        key
        for key in report["unexpected_keys"]
        if not modules.isdisjoint(_tops(key, prefix)) and not key.endswith(_BUFFERS)
    )
    if surplus:
        raise InputError(
            f"'{source}': its weights are of a larger model than its config.json says: {len(surplus)} are left, "
            f"such as {surplus[0]}"
        )


def _tops(key: str, prefix: str) -> set[str]:
    """The module that a weight belongs to, whether the checkpoint names the model before it or not."""
    return {key.partition(".")[0], key.removeprefix(prefix).partition(".")[0]}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' bars and reports off the screen: what matters is checked here."""
    screen: Any = transformers_logging
    level, bars = screen.get_verbosity(), screen.is_progress_bar_enabled()
    screen.set_verbosity_error()
    screen.disable_progress_bar()
    try:
        yield
    finally:
        screen.set_verbosity(level)
        if bars:
            screen.enable_progress_bar()


def _said(error: Exception) -> str:
    return " ".join(str(error).split()).split(". ")[0] or type(error).__name__


TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Items = Sequence[NDArray[Any]]
Prepare = Callable[[Items], Mapping[str, Tensor]]
Forward = Callable[[Any, Mapping[str, Tensor]], Tensor]


def pick_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" stands for; of several GPUs the one that LOCAL_RANK says."""
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
        """
        self.device, self.type = pick_device(run.device), TYPES[run.precision]
        if self.device.type == "cpu" and self.type is torch.float16:
            raise InputError("--precision fp16 needs a GPU; on a CPU use bf16 or fp32")
        self.spec, self.batch_size = spec, run.batch_size
        source = spec.source or spec.stream
        self.model = load_weights(architecture, spec.checkpoints[0].path, source).to(self.device, self.type)
        self.merging: Any = None
        if merge is not None:
            from features.extractors.token_merging import merge_tokens

            self.merging = merge_tokens(self.model, MergeSchedule.parse(merge))

    def vectors(self, items: Items, prepare: Prepare, forward: Forward) -> NDArray[np.float32]:
        """(N, D) rows of N items, N at least 1."""
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


def mean_token(states: Tensor, sizes: Tensor | None, first: int = 0) -> Tensor:
    """Average a layer's states.

    Args:
        states: (B, N, D), any float type.
        sizes: (B, N) how many patches each token stands for; None: one each.
        first: tokens at the start that are no patches: class and register tokens.

    Returns:
        (B, D) float32
    """
    patches = states[:, first:].float()
    if sizes is None:
        return patches.mean(1)
    weights = sizes[:, first:, None].float()
    return (patches * weights).sum(1) / weights.sum(1)
