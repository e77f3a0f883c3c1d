"""The state of an unfinished run: one safetensors file, rewritten whole after each epoch.

model.*, best.*, loss.*       weights now, weights of the best epoch, the loss's own parameters
optimizer.<number>.<name>     moments and step counts, a parameter each
random.torch, random.order    generators of dropout, and of order and stream dropout
metadata                      Progress and the run's signature, as JSON
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mee.errors import InputError

if TYPE_CHECKING:
    from mee.train import Trainer


def save_state(path: Path, trainer: Trainer, signature: dict[str, Any]) -> None:
    """Write the run's state aside, then put it in place."""
    optimizer = trainer.optimizer.state_dict()["state"]
    tensors: dict[str, Tensor] = {
        **{f"model.{name}": tensor for name, tensor in trainer.model.state_dict().items()},
        **{f"best.{name}": tensor for name, tensor in trainer.best.items()},
        **{f"loss.{name}": tensor for name, tensor in trainer.loss.state_dict().items()},
        **{f"optimizer.{number}.{name}": t for number, state in optimizer.items() for name, t in state.items()},
        "random.torch": torch.get_rng_state(),
        "random.order": trainer.generator.get_state(),
    }
    if trainer.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(trainer.device)
    metadata = {"progress": json.dumps(asdict(trainer.progress)), "signature": json.dumps(signature)}
    aside = path.with_suffix(".aside")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside, metadata=metadata)
    os.replace(aside, path)


def load_state(path: Path, trainer: Trainer, signature: dict[str, Any]) -> None:
    """Put a run back to where its state file says.

    Raises:
        InputError: the file is damaged, or belongs to a run with other settings or data.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}); start again with --overwrite") from error
    if not {"signature", "progress"} <= set(metadata):
        raise InputError(f"{path} is not the state of a run; start again with --overwrite")
    was, now = json.loads(metadata["signature"]), json.loads(json.dumps(signature))
    other = [name for name in now if was.get(name) != now[name]]
    if other:
        raise InputError(
            f"{path.parent} holds an unfinished run with other settings or data ({', '.join(other)}). Run it with "
            "its own settings to finish it, or start again with --overwrite"
        )

    def under(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    trainer.model.load_state_dict(under("model."))
    trainer.best = under("best.")
    trainer.loss.load_state_dict(under("loss."))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in under("optimizer.").items():
        number, _, name = key.partition(".")
        moments.setdefault(int(number), {})[name] = tensor
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], trainer.device)
    trainer.generator.set_state(tensors["random.order"])
    for name, value in json.loads(metadata["progress"]).items():
        setattr(trainer.progress, name, value)
