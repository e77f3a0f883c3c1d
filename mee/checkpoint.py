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
        start                         path and fingerprint of the model that training started from, if any
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
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from mee.config import ModelConfig
from mee.errors import InputError
from mee.files import LARGEST_JSON, check_folder, entry, open_file, parse_json, read_json

if TYPE_CHECKING:
    from pydantic import ValidationError

FORMAT = 5
CONFIG, WEIGHTS, TRAINING = "config.json", "model.safetensors", "training.json"
TEXT, TOWERS = "text", "towers"
LARGEST_HEAD = 1 << 20  # bytes, of config.json and of the list of tensors that precedes the weights


def read_head(path: Path) -> dict[str, Any]:
    """What precedes the tensors in a safetensors file: the names, types and shapes of all."""
    with open_file(path) as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            head = parse_json(file.read(length) if 0 < length <= LARGEST_HEAD else "")
            return {name: dict(part) for name, part in head.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(f"'{path}': the weights cannot be loaded: it is no whole safetensors file") from error


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


def read_config(directory: Path) -> ModelConfig:
    """A checkpoint directory's model settings.

    Raises:
        InputError: the file is of another format, or a setting is unknown, missing or invalid.
    """
    from pydantic import TypeAdapter, ValidationError  # here: a search reads no settings of a model

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
        config: ModelConfig = TypeAdapter(ModelConfig).validate_python(settings)
    except (ValidationError, UnicodeEncodeError) as error:
        raise InputError(f"{path}: {_first(error)}") from error
    if json.loads(json.dumps(asdict(config))) != settings:  # a missing one would silently be a default
        raise InputError(f"{path} lacks some of the model's settings")
    return config


def read_training(directory: Path) -> dict[str, Any]:
    """The content of training.json; empty for a model saved without it.

    Raises:
        InputError: the file is damaged.
    """
    from pydantic import StrictInt, StringConstraints, ValidationError, create_model

    path = directory / TRAINING
    if not os.path.lexists(path):
        return {}
    record = read_json(entry(directory, TRAINING), LARGEST_JSON)
    words = Annotated[str, StringConstraints(pattern=r"^[ -~]*$")]
    read: dict[str, Any] = {  # keys that evaluation reads: their types, and that they may be absent
        "protocol": (words, ""),
        "train_list": (words | None, ""),
        "videos": (dict[str, list[str]], {}),
        "contents": (dict[str, dict[str, str]], {}),
        "training": (create_model("settings", seed=(StrictInt | None, None)), {}),
        "selects": (bool, True),
        "selected_on": (words, ""),
    }
    try:
        create_model("training", __config__={"strict": True}, **read).model_validate(record)
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


def changed_since(directory: Path, time: float) -> bool:
    """Whether a file of a model was written after a time (in seconds, as of `os.stat`), or is missing."""
    paths = [directory.joinpath(*names) for names in _files(directory)]
    return any(not path.exists() or path.stat().st_mtime > time for path in paths)


def _files(directory: Path) -> list[tuple[str, ...]]:
    """The files of a model, as names of folders and file; hidden files and further folders are never read."""
    check_folder(directory / TOWERS)
    folders = [directory / TEXT, *sorted((directory / TOWERS).glob("[!.]*"))]
    for folder in folders:
        check_folder(folder)
    found = [path for folder in folders for path in folder.glob("[!.]*") if path.is_symlink() or not path.is_dir()]
    return [(CONFIG,), (WEIGHTS,), *(path.relative_to(directory).parts for path in sorted(found))]
