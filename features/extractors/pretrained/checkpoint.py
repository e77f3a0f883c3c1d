"""A pretrained model's files: where they are, what their revision is, and what their JSON says. No torch here.

    source                  files                                   revision
    owner/name on the hub   the hub's client keeps them (HF_HOME)   the commit
    directory               its own                                 sha256: of config, preprocessor and weights
    file (.onnx)            itself                                  sha256: of it

    config.json                        what the model is: model_type, sizes
    preprocessor_config.json           how its input is made: pictures, or sound
    video_preprocessor_config.json     the same for videos
    processor_config.json              newer: both, under "image_processor", "video_processor", "feature_extractor"

Weights are only ever read from safetensors (or ONNX): other formats may be pickles. Only the process that starts a
job finds checkpoints; workers get the result.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, final

from features.errors import InputError
from features.extractors.spec import Checkpoint


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint; it names at least a model_type."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"'{folder}' is no transformers checkpoint: it has no config.json")
    config = _read_json(path)
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{path} names no model_type, so the kind of model is unknown")
    return config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it holds no JSON object")
    return content


def read_preprocessor(folder: Path, *kinds: str) -> Mapping[str, Any] | None:
    """How the model's input is made, by the first of the kinds that a file describes; None where none does.

    ``kinds``: of "image_processor", "video_processor" and "feature_extractor".
    """
    whole = folder / "processor_config.json"
    parts = _read_json(whole) if whole.is_file() else {}
    for kind in kinds:
        alone = folder / f"{'video_' if kind == 'video_processor' else ''}preprocessor_config.json"
        if alone.is_file():
            return _read_json(alone)
        part = parts.get(kind)
        if isinstance(part, dict):
            return part
    return None


def whole_number(config: Mapping[str, Any], key: str, default: int, place: str = "config.json") -> int:
    """A size in a JSON file; files omit what is the default of the model's kind."""
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise InputError(f"{place}: {key} must be a whole number above 0, got {value!r}")
    return value


@final
@dataclass(frozen=True)
class Architecture:
    """Which class of transformers is loaded, and how."""

    name: str  # of the class, such as "ViTModel"
    settings: Mapping[str, Any] = field(default_factory=dict)  # keywords of its from_pretrained
    unused: tuple[str, ...] = ()  # modules that forward never runs: their weights may be missing; they are dropped


ONNX = ("*.onnx",)
_TRANSFORMERS = ("*.json", "model*.safetensors")  # of a repository's top folder
_CONTENT = ("config.json", "*processor_config.json", "model*.safetensors", "*.onnx")  # what determines the numbers


def is_faces(source: str) -> bool:
    """Whether a word's source is a face detector and an embedder, or at least one of their files."""
    return not Path(source).expanduser().is_dir() and ("+" in source or source.endswith(".onnx"))


def find_checkpoints(source: str, revision: str | None = None) -> tuple[Checkpoint, ...]:
    """Find the files of a word's models on this machine, or have the hub's client download them.

    Args:
        source: name on the hub, directory or file; for faces DETECTOR+EMBEDDER, each with its own @REVISION.
        revision: commit, branch or tag on the hub; None: the newest of the main branch.

    Returns:
        One checkpoint, or two for faces.

    Raises:
        InputError: there is no such model, or its files can be neither found nor downloaded.
    """
    if not is_faces(source):
        return (_find(source, revision, _TRANSFORMERS),)
    halves = [half.partition("@") for half in source.split("+")]
    return tuple(_find(name, tag or None, ONNX) for name, _, tag in halves)


def _find(source: str, revision: str | None, files: Sequence[str]) -> Checkpoint:
    path = Path(source).expanduser()
    if not path.exists():
        return _download(source, revision, files)
    if revision is not None:
        raise InputError(f"'{source}' is on this machine, which has no revisions: leave out '@{revision}'")
    return Checkpoint(path.resolve().name, path.absolute(), _digest(path))


def _download(source: str, revision: str | None, files: Sequence[str]) -> Checkpoint:
    from huggingface_hub import errors, snapshot_download

    if source.startswith((".", "/", "~")) or source.endswith(".onnx") or source.count("/") > 1:
        raise InputError(f"no pretrained model at '{source}': there is no such directory or file")
    try:
        folder = snapshot_download(
            source, revision=revision, allow_patterns=list(files), ignore_patterns=["*/*", "*int8*"]
        )
    except errors.HFValidationError as error:
        raise InputError(f"no pretrained model '{source}': it is no directory, and no name on the hub") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"the model '{source}' has no revision '{revision}' on the hub") from error
    except errors.RepositoryNotFoundError as error:  # a private or gated one too
        raise InputError(
            f"no pretrained model '{source}': it is no directory, and the hub has no such model or does not give "
            "it to you; log in with: hf auth login"
        ) from error
    except (errors.EntryNotFoundError, OSError) as error:  # errors of the connection are OSErrors
        raise InputError(f"the model '{source}' is not available: {_why()}") from error
    return Checkpoint(source, Path(folder), Path(folder).name)


def _why() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "it is not in the hub's cache, and HF_HUB_OFFLINE forbids downloads: unset it, or give a directory"
    return (
        "it is no directory, not in the hub's cache, and the hub cannot be reached; download it on a machine that "
        "can, with: hf download, and give its directory"
    )


def _digest(path: Path) -> str:
    """A short hash of the content of one file, or of a directory's files that determine the numbers."""
    if path.is_file():
        return f"sha256:{_file_digest(*_state(path))[:16]}"
    files = {file for pattern in _CONTENT for file in path.glob(pattern)}
    lines = [f"{_file_digest(*_state(file))} {file.name}\n" for file in sorted(files)]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()[:16]}"


def _state(path: Path) -> tuple[Path, int, int]:
    status = path.stat()
    return path.resolve(), status.st_size, status.st_mtime_ns


@lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, modified: int) -> str:
    """SHA-256 of a file, computed again only when its size or time of change differs."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
