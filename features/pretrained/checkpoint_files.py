"""The JSON files of a checkpoint in the hub's format; nothing here imports torch.

config.json                        what the model is: model_type, sizes
preprocessor_config.json           how its input is made: pictures, or sound
video_preprocessor_config.json     the same for videos
processor_config.json              newer: both, under "image_processor", "video_processor", "feature_extractor"
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.errors import InputError


def read_config(folder: Path) -> dict[str, Any]:
    """config.json.

    Raises:
        InputError: it is not there, damaged, or names no model_type.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"'{folder}' is no transformers checkpoint: it has no config.json")
    config = read_json(path)
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{path} names no model_type, so it is unknown what to do with the model")
    return config


def read_json(path: Path) -> dict[str, Any]:
    """An object in a file.

    Raises:
        InputError: it is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it holds no object")
    return content


def read_preprocessor(folder: Path, *kinds: str) -> Mapping[str, Any] | None:
    """How the model's input is made, or None where no file says it.

    Args:
        folder: of the checkpoint.
        kinds: "image_processor", "video_processor" or "feature_extractor"; the first that is described counts.

    Raises:
        InputError: a file is damaged.
    """
    whole = folder / "processor_config.json"
    parts = read_json(whole) if whole.is_file() else {}
    for kind in kinds:
        alone = folder / (
            "video_preprocessor_config.json" if kind == "video_processor" else "preprocessor_config.json"
        )
        if alone.is_file():
            return read_json(alone)
        part = parts.get(kind)
        if isinstance(part, dict):
            return part
    return None


def whole_number(config: Mapping[str, Any], key: str, default: int) -> int:
    """A size in config.json; files leave out what is the default of the model's kind.

    Raises:
        InputError: it is no whole number above 0.
    """
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise InputError(f"config.json: {key} must be a whole number above 0, got {value!r}")
    return value


def part_of(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The part of config.json that tells of one half of the model; empty where all is as usual.

    Raises:
        InputError: it is no object.
    """
    part = config.get(key)
    if part is not None and not isinstance(part, dict):
        raise InputError(f"config.json: {key} must be an object, got {part!r}")
    return part or {}
