"""A checkpoint: a directory in the hub's convention, enough to rebuild the model without its training data.

    config.json         format version and ModelConfig
    model.safetensors   weights and buffers
    text/               the rest of the text encoder: its vocabulary, a pretrained one's own config
    towers/<expert>/    the same for an expert's own text tower
    training.json       how it was trained, written by mee train; a record of an earlier version lacks some keys:
        protocol, train_list, files   whose captions: a named protocol's or "folder"; name and SHA-256 of each file
        videos                        the store's names: train, val (or test, if it chose the epoch), images
        contents                      of train and images: name -> first 16 digits of the file's SHA-256, if known
        selected_on                   validation, test or nothing (then the last epoch counts)
        training, history, …          settings, figures of each epoch, the best one

Loading is strict: missing and unknown settings and weights, and other shapes, are errors.
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
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Self:
        directory = Path(model_id)
        if not directory.is_dir():
            names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
            files = [CONFIG, WEIGHTS, TRAINING, f"{TEXT}/*", f"{TOWERS}/*"]
            hub = {name: options[name] for name in names}
            directory = Path(snapshot_download(model_id, allow_patterns=files, **hub))
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
    """The same tensors, contiguous and without shared memory, as safetensors needs: some models tie weights."""
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone(memory_format=torch.contiguous_format) if memory in seen else tensor.contiguous()
        seen.add(memory)
    return own


def check_directory(directory: Path) -> None:
    """Check a local checkpoint, apart from its weights.

    Raises:
        InputError: it is no directory, a file is missing, or its settings cannot be used.
    """
    if not directory.is_dir():
        raise InputError(f"no model at '{directory}'; make one with: mee train STORE CAPTIONS {directory}")
    missing = [name for name in (CONFIG, WEIGHTS, TEXT) if not (directory / name).exists()]
    if missing:
        raise InputError(f"'{directory}' is not a whole model: it has no {' and no '.join(missing)}")
    read_config(directory)


def read_config(directory: Path) -> ModelConfig:
    """A checkpoint directory's model settings.

    Raises:
        InputError: the file is of another format, or a setting is unknown, missing or invalid.
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
    if json.loads(json.dumps(asdict(config))) != settings:  # a missing one would silently be a default
        raise InputError(f"{path} lacks some of the model's settings")
    return config


def read_training(directory: Path) -> dict[str, Any]:
    """The content of training.json; empty for a model saved without it.

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
    """Twelve hexadecimal digits of the SHA-256 of a checkpoint's config, weights and vocabularies."""
    check_directory(directory)
    others = sorted(path for part in (TEXT, TOWERS) for path in (directory / part).rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in (directory / CONFIG, directory / WEIGHTS, *others):
        digest.update(path.relative_to(directory).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
