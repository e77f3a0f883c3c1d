"""A checkpoint: a directory in the hub's convention, enough to rebuild the model without its training data.

    config.json         format version and ModelConfig
    model.safetensors   weights and buffers
    text/               what the text encoder needs besides: its vocabulary, a pretrained one's own config
    towers/<expert>/    the same of an expert's own text tower
    training.json       how it was trained: settings, data, validation scores (mee train writes it)

Loading is strict: a setting, a weight or a shape too many or too few is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, cast

import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mee.config import ModelConfig, tower_settings
from mee.errors import InputError
from mee.text import TextEncoder, encoder_class, tower_class

FORMAT = 2
CONFIG, WEIGHTS, TRAINING = "config.json", "model.safetensors", "training.json"
TEXT, TOWERS = "text", "towers"


class Checkpointed(
    nn.Module,
    ModelHubMixin,
    library_name="mee",
    license="apache-2.0",
    paper_url="https://arxiv.org/abs/1804.02516",
    tags=["text-to-video-retrieval"],
):
    """Saving and loading for the model: what `ModelHubMixin` offers, with strict reading."""

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
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **_: Any,
    ) -> Self:
        directory = Path(model_id)
        if not directory.is_dir():
            directory = Path(
                snapshot_download(
                    model_id,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                    allow_patterns=[CONFIG, WEIGHTS, TRAINING, f"{TEXT}/*", f"{TOWERS}/*"],
                )
            )
        return cls._from_directory(directory)

    @classmethod
    def _from_directory(cls, directory: Path) -> Self:
        check_directory(directory)
        config = read_config(directory)
        text_encoder = encoder_class(config.text).load(config.text, directory / TEXT)
        towers = {
            expert.name: tower_class().load(tower_settings(expert.text), directory / TOWERS / expert.name)
            for expert in config.experts
            if expert.text
        }
        model = cls(config, text_encoder, towers)
        try:
            weights: dict[str, Tensor] = load_file(directory / WEIGHTS)
            model.load_state_dict(weights, strict=True)
        except (SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{directory / WEIGHTS}: the weights do not fit {CONFIG}: {reason}") from error
        return model.eval()


def unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same, contiguous and each with memory of its own, as safetensors wants them: some models tie weights."""
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone(memory_format=torch.contiguous_format) if memory in seen else tensor.contiguous()
        seen.add(memory)
    return own


def check_directory(directory: Path) -> None:
    """Say clearly what is wrong with a local checkpoint, its weights apart.

    Raises:
        InputError: it is no directory, one of its files is not there, or its settings cannot be used.
    """
    if not directory.is_dir():
        raise InputError(f"no model at '{directory}'; make one with: mee train STORE CAPTIONS {directory}")
    absent = [name for name in (CONFIG, WEIGHTS, TEXT) if not (directory / name).exists()]
    if absent:
        raise InputError(f"'{directory}' is not a whole model: it has no {' and no '.join(absent)}")
    read_config(directory)


def read_config(directory: Path) -> ModelConfig:
    """The model's settings, of a checkpoint directory.

    Raises:
        InputError: the file is of another format, or a setting is unknown, missing or senseless.
    """
    path = directory / CONFIG
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(settings, dict) or settings.pop("model_type", None) != "mee":
        raise InputError(f"{path} does not describe a MEE model")
    if (version := settings.pop("format", None)) != FORMAT:
        raise InputError(f"{path} is of format {version}, this version of mee reads format {FORMAT}")
    try:
        config = TypeAdapter(ModelConfig).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}") from error
    if json.loads(json.dumps(asdict(config))) != settings:  # what is left out would silently be a default
        raise InputError(f"{path} lacks some of the model's settings")
    return config


def read_training(directory: Path) -> dict[str, Any]:
    """What training.json says; empty for a model saved without it.

    Raises:
        InputError: the file is damaged.
    """
    path = directory / TRAINING
    if not path.is_file():
        return {}
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return record


def fingerprint(directory: Path) -> str:
    """Twelve hexadecimal digits that stand for config, weights and vocabularies of a checkpoint directory."""
    check_directory(directory)
    besides = sorted(path for part in (TEXT, TOWERS) for path in (directory / part).rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in (directory / CONFIG, directory / WEIGHTS, *besides):
        digest.update(path.relative_to(directory).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
