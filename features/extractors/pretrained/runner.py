"""A checkpoint's weights -> a model of transformers, strictly; items of many clips -> vectors, a batch at a time.

    missing      a parameter of the model without weights      an error, except in modules that never run
    unexpected   weights inside a module of the model, unused  an error: config.json describes another model
                 weights of other modules: heads, text towers  ignored

A batch that does not fit into a GPU's memory is halved, and so are those after it.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import thread_time
from typing import Any, final

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook as on_parameter
from transformers.utils import logging as transformers_logging

from features.errors import InputError
from features.extractors.pretrained.checkpoint import INDEX, LITE, WEIGHTS, Architecture, readable
from features.extractors.pretrained.efficientnet import load_efficientnet
from features.extractors.spec import ExtractorSpec, MergeSchedule, RunConfig

log = logging.getLogger(__name__)

_SLACK, _A_TENSOR = 1 << 24, 1 << 14  # numbers that may be in no file; each tensor counts as so many more
_LOAD = {"trust_remote_code": False, "use_safetensors": True, "local_files_only": True, "dtype": torch.float32}
_LOAD |= {"ignore_mismatched_sizes": True, "output_loading_info": True}  # reported by _check, in one sentence
_BUFFERS = ("position_ids", "inv_freq")  # old files hold them; models compute them


def load_weights(architecture: Architecture, folder: Path, source: str) -> nn.Module:
    """A checkpoint's model in evaluation mode, float32, on the CPU; messages call it ``source``, as users do.

    ``folder``: of the checkpoint; of a package its file.
    """
    if source == LITE:
        return load_efficientnet(folder)
    if not any(os.path.lexists(folder / name) for name in (WEIGHTS, INDEX)):
        code = f'A.from_pretrained({json.dumps(source)}).save_pretrained("DIRECTORY")'
        raise InputError(
            f"'{source}' has no weights in the safetensors format, and others may be pickles, which are never "
            "read; if the hub has converted them, name that revision (OWNER/MODEL@refs/pr/NUMBER), else convert "
            "them once, where you trust them: python -c "
            + shlex.quote(f"from transformers import AutoModel as A; {code}")
        )
    load: Any = getattr(transformers, architecture.name).from_pretrained
    try:
        with quiet(), readable(folder) as view, _bounded(view, source):
            model, report = load(view, **_LOAD, **{"attn_implementation": "sdpa", **architecture.settings})
    except InputError:
        raise
    except Exception as error:  # whatever a type's own checks raise
        reason = " ".join(str(error).split()).split(". ")[0] or type(error).__name__
        raise InputError(f"'{source}': its weights cannot be loaded: {reason}") from error
    _check(model, report, architecture, source)
    for name in architecture.unused:
        setattr(model, name, None)
    made: nn.Module = model.requires_grad_(False).eval()
    return made


def _check(model: Any, report: dict[str, Any], architecture: Architecture, source: str) -> None:
    unused = tuple(f"{name}." for name in architecture.unused)
    mismatched = sorted(str(entry[0]) for entry in report["mismatched_keys"])
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(unused))
    modules = {name for name, _ in model.named_children()}
    prefix = f"{model.base_model_prefix}."  # some checkpoints put it before each name
    surplus = sorted(
        key
        for key in report["unexpected_keys"]
        if not modules.isdisjoint(name.partition(".")[0] for name in (key, key.removeprefix(prefix)))
        and not key.endswith(_BUFFERS)
    )
    for keys, problem in (
        (mismatched, "are not of the size that its config.json says"),
        (missing, "are missing"),
        (surplus, "are of a larger model than its config.json says"),
    ):
        if keys:
            raise InputError(f"'{source}': {len(keys)} of its weights {problem}, such as {keys[0]}")
    for name, tensor in model.named_parameters():
        if not name.startswith(unused) and not (tensor.is_floating_point() and tensor.norm().isfinite()):
            raise InputError(f"'{source}': its weights '{name}' hold numbers that are not finite, or beyond use")


@contextmanager
def _bounded(folder: Path, source: str) -> Iterator[None]:
    """Refuse a model of many more numbers, or tensors, than the weights have, while it is built without memory."""
    left = 3 * sum(path.stat().st_size for path in folder.glob("*.safetensors")) + _SLACK  # of 2 to 4 bytes

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal left
        left -= 0 if tensor is None else tensor.numel() + _A_TENSOR
        if left < 0:
            raise InputError(f"'{source}': its config.json describes a larger model than its weights are of")

    with on_parameter(count):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Turn off transformers' progress bars and reports: what matters in them is checked here."""
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


TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Items = Sequence[NDArray[Any]]
Prepare = Callable[[Items], Mapping[str, Tensor]]
Forward = Callable[[Any, Mapping[str, Tensor]], Tensor]


def pick_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" stands for; of several GPUs the one that LOCAL_RANK says."""
    available = torch.cuda.is_available()
    if name == "cpu" or (name == "auto" and not available):
        return torch.device("cpu")
    if not available:
        raise InputError(
            "--device cuda: torch sees no GPU here; use --device cpu, or a torch that is built for CUDA"
        )
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


@cache
def pays_on_cpu(kind: torch.dtype) -> bool:
    """Whether a product takes at most 3/4 of the time that it takes in float32, as mee.products measures it.

    With instructions for bfloat16 it is half or less; without them torch is up to 20 times slower in it.
    """
    x = torch.ones(256, 256)
    reduced, full = (min(_product_s(each) for _ in range(4)) for each in (x.to(kind), x))
    return reduced <= 0.75 * full


def _product_s(x: Tensor) -> float:
    begun = thread_time()  # not the clock's: other load counts for nothing
    _ = x @ x
    return thread_time() - begun


@final
class ModelRunner:
    """A model with its weights, ready."""

    def __init__(self, spec: ExtractorSpec, architecture: Architecture, run: RunConfig, merge: str | None) -> None:
        """Load the weights of a resolved spec; ``merge``: token merging, as MergeSchedule.parse reads it."""
        self.device, self.type = pick_device(run.device), TYPES[run.precision]
        if run.precision != "fp32" and self.device.type == "cpu" and not pays_on_cpu(self.type):
            raise InputError(
                f"--precision {run.precision}: this processor computes in {run.precision} no faster than in "
                "float32; give --precision fp32"
            )
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
        while items:
            batch = items[: self.batch_size]
            rows = self._pass(batch, prepare, forward)
            if rows is None:
                self._halve(len(batch))
                continue
            done.append(rows)
            items = items[len(batch) :]
        return np.concatenate(done)

    @torch.inference_mode()
    def _pass(self, items: Items, prepare: Prepare, forward: Forward) -> NDArray[np.float32] | None:
        """(B, D) rows of one batch; None where the GPU's memory does not hold it."""
        try:
            inputs = {name: value.to(self.device) for name, value in prepare(items).items()}
            floating = {name: value.to(self.type) for name, value in inputs.items() if value.is_floating_point()}
            return np.asarray(forward(self.model, inputs | floating).float().cpu().numpy())
        except torch.OutOfMemoryError:
            return None

    def _halve(self, size: int) -> None:
        torch.cuda.empty_cache()
        if size == 1:
            raise InputError(
                f"'{self.spec}': not even one row at a time fits into the GPU's memory; try --precision bf16, a "
                "smaller model, or --device cpu"
            )
        self.batch_size = size // 2
        words = "%s: %d rows at a time do not fit into the GPU's memory; continuing with %d (--batch-size)"
        log.warning(words, self.spec.stream, size, self.batch_size)
