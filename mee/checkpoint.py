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
        selecting_captions            how many captions the history's figures are of
        training, history, …          settings, figures of each epoch, the best one

Loading is strict: missing and unknown settings and weights, other shapes and types, and numbers that are not
finite are errors. A directory may come from anyone: its files are opened by `mee.files`, and no model is built
that is larger than its weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self, cast

import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from pydantic import StrictInt, StringConstraints, TypeAdapter, ValidationError, create_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_buffer_registration_hook as on_buffer
from torch.nn.modules.module import register_module_parameter_registration_hook as on_parameter

from mee.config import ModelConfig, tower_settings
from mee.errors import InputError, usable
from mee.files import LARGEST_JSON, check_folder, entry, open_file, parse_json, read_json
from mee.text import TextEncoder, encoder_class, tower_class

FORMAT = 4
CONFIG, WEIGHTS, TRAINING = "config.json", "model.safetensors", "training.json"
TEXT, TOWERS = "text", "towers"
LARGEST_HEAD = 1 << 20  # bytes, of config.json and of the list of tensors that precedes the weights
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
                if expert.text
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


def read_head(path: Path) -> dict[str, Any]:
    """What precedes the tensors in a safetensors file: the names, types and shapes of all."""
    with open_file(path) as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            head = parse_json(file.read(length) if 0 < length <= LARGEST_HEAD else "")
            return {name: dict(part) for name, part in head.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(f"'{path}': the weights cannot be loaded: it is no whole safetensors file") from error


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


def check_directory(directory: Path) -> ModelConfig:
    """The settings of a local checkpoint, which is checked apart from its weights.

    Raises:
        InputError: it is no directory, a file is missing, or its settings cannot be used.
    """
    if not directory.is_dir():
        command = f"mee train STORE CAPTIONS {shlex.quote(str(directory))}"
        raise InputError(f"no model at '{directory}'; make one with: {command}")
    missing = [name for name in (CONFIG, WEIGHTS, TEXT) if not (directory / name).exists()]
    if missing:
        raise InputError(f"'{directory}' is not a whole model: it has no {' and no '.join(missing)}")
    for names in _files(directory):
        entry(directory, *names)
    return read_config(directory)


_adapter = cache(TypeAdapter)  # made when it is needed first


def read_config(directory: Path) -> ModelConfig:
    """A checkpoint directory's model settings.

    Raises:
        InputError: the file is of another format, or a setting is unknown, missing or invalid.
    """
    path = directory / CONFIG
    try:
        settings = read_json(entry(directory, CONFIG), LARGEST_HEAD)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(settings, dict) or settings.pop("model_type", None) != "mee":
        raise InputError(f"{path} does not describe a MEE model")
    if (version := settings.pop("format", None)) != FORMAT:
        raise InputError(f"{path} is of format {version}, this version of mee reads format {FORMAT}")
    try:
        config: ModelConfig = _adapter(ModelConfig).validate_python(settings)
    except (ValidationError, UnicodeEncodeError) as error:
        raise InputError(f"{path}: {_first(error)}") from error
    if json.loads(json.dumps(asdict(config))) != settings:  # a missing one would silently be a default
        raise InputError(f"{path} lacks some of the model's settings")
    return config


_Words = Annotated[str, StringConstraints(pattern=r"^[ -~]*$")]
READ: dict[str, Any] = {  # keys of training.json that evaluation reads: their types, and that they may be absent
    "protocol": (_Words, ""),
    "train_list": (_Words | None, ""),
    "videos": (dict[str, list[str]], {}),
    "contents": (dict[str, dict[str, str]], {}),
    "training": (create_model("settings", seed=(StrictInt | None, None)), {}),
    "selects": (bool, True),
    "selected_on": (_Words, ""),
}


def read_training(directory: Path) -> dict[str, Any]:
    """The content of training.json; empty for a model saved without it.

    Raises:
        InputError: the file is damaged.
    """
    path = directory / TRAINING
    if not os.path.lexists(path):
        return {}
    record = read_json(entry(directory, TRAINING), LARGEST_JSON)
    try:
        create_model("training", __config__={"strict": True}, **READ).model_validate(record)
    except (ValidationError, UnicodeEncodeError) as error:
        raise InputError(f"'{path}' cannot be used: {_first(error)}") from error
    return cast(dict[str, Any], record)


def _first(error: ValidationError | UnicodeEncodeError) -> str:
    """What is wrong first, and where."""
    if isinstance(error, UnicodeEncodeError):  # of pydantic
        return "it holds text that is no Unicode"
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])):.200}: {first['msg']:.300}".removeprefix(": ")


def fingerprint(directory: Path) -> str:
    """Twelve hexadecimal digits of the SHA-256 of a checkpoint's config, weights and vocabularies."""
    check_directory(directory)
    digest = hashlib.sha256()
    for names in _files(directory):
        digest.update("/".join(names).encode())
        with open_file(entry(directory, *names)) as file:
            digest.update(hashlib.file_digest(cast(Any, file), "sha256").digest())
    return digest.hexdigest()[:12]


def _files(directory: Path) -> list[tuple[str, ...]]:
    """The files of a model, as names of folders and file; hidden files and further folders are never read."""
    check_folder(directory / TOWERS)
    folders = [directory / TEXT, *sorted((directory / TOWERS).glob("[!.]*"))]
    for folder in folders:
        check_folder(folder)
    found = [path for folder in folders for path in folder.glob("[!.]*") if path.is_symlink() or not path.is_dir()]
    return [(CONFIG,), (WEIGHTS,), *(path.relative_to(directory).parts for path in sorted(found))]
