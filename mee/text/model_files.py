"""What is read of a transformers model's folder, which may come from anyone.

The library never sees that folder, but a temporary one with what it may read:

    config.json, tokenizer_config.json   their plain values, within bounds: nothing that names code, kernels, files
                                         or other models
    other JSON of the tokenizer          checked
    weights, vocabularies                links to regular files with plain names; weights are safetensors

Pickles, adapters, templates and code are not among them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from string import printable
from tempfile import TemporaryDirectory
from typing import Any

from mee.errors import InputError
from mee.files import LARGEST_JSON, entry, is_bare, read_json, regular_size

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CHECKED = ("special_tokens_map.json", "added_tokens.json", "tokenizer.json", "vocab.json")
VOCABULARIES = ("*.txt", "*.model", "*.bpe", "*.codes", "*.jsonl")
LARGEST, LAYERS, DIGITS = 1 << 24, 1 << 12, 6  # numbers in settings; layers; digits of a token's id
TOKENS = ("_token", "_tokens", "_tokens_decoder", "_input_names")  # ends of keys of tokenizer_config.json
OTHERS = re.compile(  # keys that name code, kernels, files, models or ways to run them
    r"auto_map|_implementation|name_or_path|^use_kernels|^kernel_config|^transformers_weights|^fusion_config|"
    r"^distributed|custom_generate|_commit_hash|_files?$|_path$|_plan$|^(torch_)?dtype$|backbone|remote|init_inputs"
)
NESTED = re.compile(r"\([^()]*[+*}][^()]*\)[+*{]")  # (x+)+ takes for ever, where it does not match
GROWTH = 1 << 8  # characters that a tokenizer may make of one
PLAIN = re.compile(r"[\w .,+-]{,100}")  # text of tokenizer_config.json that is no token


@contextmanager
def readable(directory: Path) -> Iterator[Path]:
    """A temporary folder with what may be read of a model's.

    Raises:
        InputError: a file is no regular file, too large, or says what no model has; also what is raised within.
    """
    try:
        with TemporaryDirectory(prefix="mee-") as made:
            view = Path(made)
            try:
                _fill(view, directory)
                yield view
            except InputError as error:
                raise InputError(str(error).replace(made, str(directory))) from error
    except OSError as error:
        raise InputError(f"'{directory}' cannot be read: {error.strerror or error}") from error


def _fill(view: Path, directory: Path) -> None:
    names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
    weights = {WEIGHTS} & set(names) or (_shards(directory) if INDEX in names else set())
    for name in names:
        if name in (CONFIG, TOKENIZER_CONFIG):
            path = entry(directory, name)
            content = _object(read_json(path), path)
            content = _settings(content, path) if name == CONFIG else _of_tokenizer(content, path)
            (view / name).write_text(json.dumps(content))
        elif name == INDEX and WEIGHTS in weights:
            continue
        elif name in (*weights, *CHECKED, INDEX) or any(fnmatch(name, some) for some in VOCABULARIES):
            path = entry(directory, name)
            regular_size(path, None if name in weights else LARGEST_JSON)
            if name in CHECKED[:2]:
                _check_ids(_object(read_json(path), path).values() if name == CHECKED[1] else (), path)
            (view / name).symlink_to(path.absolute())


def _object(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"'{path}' holds no JSON object")
    return content


def _shards(directory: Path) -> set[str]:
    path = entry(directory, INDEX)
    shards = _object(read_json(path), path).get("weight_map")
    names = list(shards.values()) if isinstance(shards, dict) else []
    wrong = [name for name in names if not (is_bare(name) and name.endswith(".safetensors"))]
    if wrong or not names:
        named = f"{wrong[0]!r:.80} as a file of weights" if wrong else "no files of weights"
        raise InputError(f"'{path}' names {named}; only names that end in .safetensors are read")
    return set(names)


def _settings(value: Any, path: Path, key: str = "") -> Any:
    """The same without what `OTHERS` names, and checked."""
    if isinstance(value, dict):
        if value.get("quantization_config") is not None:
            raise InputError(
                f"'{path}': its weights are quantised, which is not supported; use the original model"
            )
        kept = {name: part for name, part in value.items() if not OTHERS.search(name)}
        return kept if key in ("id2label", "label2id") else {n: _settings(v, path, n) for n, v in kept.items()}
    if isinstance(value, list):
        return [_settings(part, path, key) for part in value]
    layers = "num" in key and "layer" in key
    if isinstance(value, int) and not (0 if layers else -LARGEST) <= value <= (LAYERS if layers else LARGEST):
        raise InputError(f"'{path}': {key:.80} is {value:.3g}, which is beyond any model")
    return value


def _of_tokenizer(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Tokens, and plain values that `OTHERS` does not name."""
    _check_ids(content.get("added_tokens_decoder") or (), path)
    kept = {}
    for key, value in content.items():
        plain = PLAIN.fullmatch(value) if isinstance(value, str) else not isinstance(value, dict | list)
        if key.endswith(TOKENS) or (plain and not OTHERS.search(key)):
            kept[key] = value
    return kept


def _check_ids(ids: Iterable[Any], path: Path) -> None:
    longest = max(map(str, ids), key=len, default="")
    if len(longest) > DIGITS:
        raise InputError(f"'{path}': the token id {longest:.80} is beyond any vocabulary")


def check_rules(tokenizer: Any) -> None:
    """Refuse a tokenizer of the tokenizers library that makes much text of little, or searches long.

    Raises:
        ValueError: names the rule.
    """
    steps = [
        step for name in ("normalizer", "pre_tokenizer") if (step := getattr(tokenizer, name, None)) is not None
    ]
    grows, pending = 1, [json.loads(step.__getstate__()) for step in steps]
    while pending:
        rule = pending.pop()
        pending += rule.values() if isinstance(rule, dict) else rule if isinstance(rule, list) else []
        for key, text in rule.items() if isinstance(rule, dict) else ():
            if key == "Regex" and NESTED.search(text):
                raise ValueError(f"it repeats what repeats, as in {text!r:.80}")
            grows *= len(text) or 1 if key in ("content", "prepend") else 1
    normalise = getattr(tokenizer, "normalizer", None)
    if grows > GROWTH or (normalise and len(normalise.normalize_str(printable)) > GROWTH * len(printable)):
        raise ValueError(f"it makes more than {GROWTH} characters of one")
