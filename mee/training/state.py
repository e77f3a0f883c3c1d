"""The state of an unfinished run: one safetensors file, replaced atomically after each epoch.

model.*, best.*, loss.*       weights now, weights of the best epoch, the loss's own parameters
optimizer.<number>.<name>     moments and step counts, a parameter each
random.torch, random.cuda     (processes, n) generators of dropout, one a process
random.order                  generator of order and stream dropout, the same in every process
scaler                        of float16, in the metadata
metadata                      Progress and the run's signature, as JSON

It may come from anyone: nothing is restored before every tensor has the shape and type that this run would save.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mee.distributed import joint_rows, process_number, processes
from mee.errors import InputError, require
from mee.files import MOST_BYTES, parse_json, regular_size, whole_file
from mee.model import MEE
from mee.training.config import TrainConfig
from mee.weights import unshared


@dataclass
class Progress:
    """The part of a run's state that is not tensors."""

    epoch: int = 0  # epochs done
    step: int = 0  # optimiser steps done
    best_epoch: int = 0
    best_score: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)  # one entry an epoch

    def done(self, config: TrainConfig) -> bool:
        """All epochs done, or no better score for too long."""
        return self.epoch >= config.epochs or self.epoch - self.best_epoch >= config.patience


class Run(Protocol):
    """The parts of a trainer that are saved and restored."""

    model: MEE
    loss: Any
    optimizer: Any
    accelerator: Any
    generator: torch.Generator
    device: torch.device
    best: dict[str, Tensor]
    progress: Progress
    config: TrainConfig


def learnt_state(module: nn.Module) -> dict[str, Tensor]:
    """The part of a module's state that training changes: all but frozen parameters."""
    frozen = {name for name, p in module.named_parameters(remove_duplicate=False) if not p.requires_grad}
    return {name: tensor for name, tensor in module.state_dict().items() if name not in frozen}


def load_learnt_state(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Restore what `learnt_state` returned."""
    missing, unknown = module.load_state_dict(state, strict=False)
    wrong = set(missing) & set(learnt_state(module)) | set(unknown)
    if wrong:
        raise ValueError(f"the state does not fit the model: {', '.join(sorted(wrong))}")


def save_state(path: Path, trainer: Run, signature: dict[str, Any]) -> None:
    """Replace the state file atomically; every process calls this, one writes."""
    tensors = _tensors(trainer, trainer.optimizer.state_dict()["state"])
    scaler = trainer.accelerator.scaler
    metadata = {
        "progress": json.dumps(asdict(trainer.progress)),
        "signature": json.dumps(signature),
        "scaler": json.dumps(scaler.state_dict() if scaler else {}),
    }
    if trainer.accelerator.is_main_process:
        with whole_file(path, "states of a run") as aside:
            try:
                save_file(unshared(tensors), aside, metadata=metadata)
            except SafetensorError as error:  # also that of a full disk
                raise OSError(str(error)) from error
    trainer.accelerator.wait_for_everyone()


def load_state(path: Path, trainer: Run, signature: dict[str, Any]) -> None:
    """Restore a run from its state file."""
    parameters = [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]
    step = {"step": torch.zeros(())}
    wanted = _tensors(trainer, {n: {"exp_avg": p, "exp_avg_sq": p, **step} for n, p in enumerate(parameters)})
    try:
        regular_size(path, sum(tensor.nbytes for tensor in wanted.values()) + MOST_BYTES)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = set(file.keys())
            tensors = {name: file.get_tensor(name) for name in sorted(names & set(wanted))}
        was, progress, scaler = (parse_json(metadata[name]) for name in ("signature", "progress", "scaler"))
    except (KeyError, ValueError) as error:
        raise InputError(f"'{path}' is not the state of a run; start again with --overwrite") from error
    except (OSError, SafetensorError) as error:
        raise InputError(f"'{path}' is damaged ({error}); start again with --overwrite") from error
    _check_signature(path, was, json.loads(json.dumps(signature)))
    try:
        require(names - {"random.cuda"} <= set(wanted), "it has tensors that are not this run's")
        for name, tensor in tensors.items():
            fits = (tensor.shape, tensor.dtype) == (wanted[name].shape, wanted[name].dtype)
            require(fits and bool(tensor.isfinite().all()), f"{name} is of another shape or type, or not finite")
        _restore(trainer, tensors, _progress(progress, trainer.config), scaler)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"'{path}' is damaged ({reason}); start again with --overwrite") from error


def _tensors(trainer: Run, moments: dict[int, dict[str, Tensor]]) -> dict[str, Tensor]:
    """What a state holds, by name; `moments`: of the optimiser, or others of their shapes and types."""
    tensors: dict[str, Tensor] = {
        **{f"model.{name}": tensor for name, tensor in learnt_state(trainer.model).items()},
        **{f"best.{name}": tensor for name, tensor in trainer.best.items()},
        **{f"loss.{name}": tensor for name, tensor in trainer.loss.state_dict().items()},
        **{f"optimizer.{number}.{name}": t for number, state in moments.items() for name, t in state.items()},
        "random.torch": joint_rows(torch.get_rng_state()[None].to(trainer.device), processes()),
        "random.order": trainer.generator.get_state(),
    }
    if trainer.device.type == "cuda":
        state = torch.cuda.get_rng_state(trainer.device)
        tensors["random.cuda"] = joint_rows(state[None].to(trainer.device), processes())
    return tensors


def _progress(found: Any, config: TrainConfig) -> Progress:
    """Progress as it was recorded; what it counts and measures must be possible."""
    progress = Progress(**found)
    require(asdict(progress) == found and isinstance(progress.history, list), "its progress is incomplete")
    counts = [progress.best_epoch, progress.epoch, progress.step]
    figures = [progress.best_score, *(figure for entry in progress.history for figure in dict(entry).values())]
    possible = all(type(number) is int for number in counts) and _numbers(figures)
    possible = possible and 0 <= counts[0] <= counts[1] <= config.epochs and counts[1] <= counts[2] < 2**53
    require(possible, "its progress is impossible")
    return progress


def _numbers(found: Iterable[Any]) -> bool:
    return all(type(number) in (int, float) and -1e300 < number < 1e300 for number in found)


def _check_signature(path: Path, was: Any, now: dict[str, Any]) -> None:
    was = was if isinstance(was, dict) else {}
    other = [name for name in now if was.get(name) != now[name]]
    what, how = f"with other settings or data ({', '.join(other)})", "run it with its own settings to finish it"
    if other == ["processes"]:
        what = f"of {was.get('processes')!s:.20} processes, which {now['processes']} cannot go on with"
        how = "start as many as it had"
    if other:
        raise InputError(f"{path.parent} holds an unfinished run {what}; {how}, or start again with --overwrite")


def _restore(trainer: Run, tensors: dict[str, Tensor], progress: Progress, scaler: dict[str, Any]) -> None:
    def under(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    load_learnt_state(trainer.model, under("model."))
    trainer.best = under("best.")
    if set(trainer.best) != set(learnt_state(trainer.model)):
        raise ValueError("the weights of the best epoch are not those of the model")
    trainer.loss.load_state_dict(under("loss."))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in under("optimizer.").items():
        number, _, name = key.partition(".")
        moments.setdefault(int(number), {})[name] = tensor
    require(all(len(state) == 3 for state in moments.values()), "it lacks moments of a parameter")
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    mine = process_number()
    torch.set_rng_state(tensors["random.torch"][mine].clone())  # torch reads from the start of the memory
    if trainer.device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"][mine].clone(), trainer.device)
    if trainer.accelerator.scaler:
        require(_numbers(dict(scaler).values()), "its scaler is impossible")
        trainer.accelerator.scaler.load_state_dict(scaler)
    trainer.generator.set_state(tensors["random.order"])
    trainer.progress = progress
