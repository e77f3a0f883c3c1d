"""The weights of a checkpoint: saving them, and building the model that they fit (files: mee.checkpoint)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, cast

import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_buffer_registration_hook as on_buffer
from torch.nn.modules.module import register_module_parameter_registration_hook as on_parameter

from mee.checkpoint import CONFIG, FORMAT, TEXT, TOWERS, TRAINING, WEIGHTS, check_directory, read_head
from mee.config import ModelConfig, tower_settings
from mee.errors import InputError, usable
from mee.files import entry
from mee.text import TextEncoder, encoder_class, tower_class

SLACK, A_TENSOR = 1 << 24, 1 << 14  # numbers of a model that may be in no file; each tensor counts as so many more


class Checkpointed(
    nn.Module,
    ModelHubMixin,
    library_name="mee",
    license="apache-2.0",
    paper_url="https://arxiv.org/abs/1804.02516",
    tags=["text-to-video-retrieval"],
):
    """Saving and loading for the model: `ModelHubMixin`, with strict loading."""

    config: ModelConfig
    text_encoder: TextEncoder
    towers: nn.ModuleDict

    def _save_pretrained(self, save_directory: Path) -> None:
        settings = {"format": FORMAT, "model_type": "mee", **asdict(self.config)}
        (save_directory / CONFIG).write_text(json.dumps(settings, indent=2) + "\n")
        parts = {TEXT: self.text_encoder, **{f"{TOWERS}/{name}": tower for name, tower in self.towers.items()}}
        for place, encoder in parts.items():
            (save_directory / place).mkdir(parents=True, exist_ok=True)
            cast(TextEncoder, encoder).save(save_directory / place)
        save_file(unshared(self.state_dict()), save_directory / WEIGHTS, metadata={"format": "pt"})

    @classmethod
    def from_pretrained(cls, model: str | Path, **options: Any) -> Self:  # type: ignore[override]
        """A model in eval mode.

        Args:
            model: its directory, or its name on the hub.
            options: of `huggingface_hub.snapshot_download`, for a name: revision, cache_dir, token, …

        Raises:
            InputError: a file is missing, damaged, or does not fit the others.
        """
        directory = Path(model)
        if not directory.is_dir():
            files = [CONFIG, WEIGHTS, TRAINING, f"{TEXT}/*", f"{TOWERS}/*"]
            directory = Path(snapshot_download(str(model), allow_patterns=files, **options))
        config = check_directory(directory)
        path = directory / WEIGHTS
        weights = _read_weights(entry(directory, WEIGHTS))
        impossible = f"{path}: no model can be built as {CONFIG} describes it"  # torch says why
        with usable(impossible), at_most(path.stat().st_size, path):  # a number takes four: text is built twice
            text_encoder = encoder_class(config.text).load(config.text, directory / TEXT)
            towers = {
                expert.name: tower_class().load(tower_settings(expert.text), directory / TOWERS / expert.name)
                for expert in config.experts
                if expert.own_tower
            }
            made = cls(config, text_encoder, towers)
        _check_fit(weights, made.state_dict(), path)
        made.load_state_dict(weights)
        return made.eval()


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, their numbers finite; these stay in the file until they are used."""
    read_head(path)
    with usable(f"'{path}': the weights cannot be read"):
        weights: dict[str, Tensor] = load_file(path)
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.norm().isfinite():
            raise InputError(f"'{path}' is damaged: '{name:.80}' holds numbers that are not finite, or beyond use")
    return weights


@contextmanager
def at_most(numbers: int, path: Path) -> Iterator[None]:
    """Refuse to build modules of more numbers, or of very many tensors; `path`: of their weights.

    Torch registers a parameter before it is initialised, and memory that was not written to is not taken.
    """
    left = numbers + SLACK

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal left
        left -= 0 if tensor is None else tensor.numel() + A_TENSOR
        if left < 0:
            raise InputError(f"'{path}': the weights do not fit {CONFIG}, which describes a larger model")

    with on_parameter(count), on_buffer(count):
        yield


def _check_fit(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> None:
    for name in sorted(weights.keys() | own.keys()):
        found, wanted = weights.get(name), own.get(name)
        counts = name.endswith(("running_var", "num_batches_tracked"))
        if found is None or wanted is None:
            problem = "is missing" if found is None else "is not known"
        elif _form(found) != _form(wanted):
            problem = f"is {_form(found)} and not {_form(wanted)}"
        elif name.endswith("deviation") and not (found > 0).all():
            problem = "holds a deviation of 0 or less"
        elif counts and not ((found >= 0) & (found < 1 << 60)).all():
            problem = "is out of range"
        else:
            continue
        raise InputError(f"{path}: the weights do not fit {CONFIG}: '{name:.80}' {problem}")


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, contiguous and without shared memory, as safetensors needs: some models tie weights."""
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone(memory_format=torch.contiguous_format) if memory in seen else tensor.contiguous()
        seen.add(memory)
    return own
