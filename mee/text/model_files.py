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
from math import prod
from pathlib import Path
from string import printable
from tempfile import TemporaryDirectory
from typing import Any

from mee.checkpoint import read_head
from mee.errors import InputError
from mee.files import LARGEST_JSON, entry, is_bare, read_json, regular_size

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ADDED = "added_tokens.json"
VOCABULARIES = (ADDED, "special_tokens_map.json", "tokenizer.json", "vocab.json", "*.txt", "*.model", "*.bpe")
FLOATS = ("F64", "F32", "F16", "BF16")
LARGEST, LABELS, DIGITS = 1 << 24, 1 << 20, 6  # numbers in settings, at most; digits of a token's id
LONG = re.compile("theta|position|max_")  # keys of the larger ones
TOKENS = ("_token", "_tokens", "_tokens_decoder", "_input_names")  # ends of keys of tokenizer_config.json
OTHERS = re.compile(  # keys that name code, kernels, files, models or ways to run them
    r"auto_map|_implementation|name_or_path|^use_kernels|^kernel_config|^transformers_weights|^fusion_config|"
    r"^distributed|custom_generate|_commit_hash|_files?$|_path$|_plan$|^(torch_)?dtype$|label|backbone|remote|init_inputs"
)
NESTED = re.compile(r"\([^()]*[+*}][^()]*\)[+*{]")  # (x+)+ takes for ever, where it does not match
ADDING = re.compile(r'"(?:content|prepend)":"((?:[^"\\]|\\.)*)"')  # text that replaces other text
GROWTH = 1 << 8  # characters that a tokenizer may make of one
PLAIN = re.compile(r"[\w .,+-]{,100}")  # text of tokenizer_config.json that is no token


@contextmanager
def readable(directory: Path) -> Iterator[Path]:
    """A temporary folder with what may be read of a model's."""
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
    names = os.listdir(directory)
    for name, clean in ((CONFIG, _settings), (TOKENIZER_CONFIG, _of_tokenizer)):
        if name in names:
            path = entry(directory, name)
            (view / name).write_text(json.dumps(clean(_object(path), path)))
    weights = [WEIGHTS] if WEIGHTS in names else _shards(directory) if INDEX in names else []
    vocabularies = [name for name in names if any(fnmatch(name, some) for some in VOCABULARIES)]
    for name in (*weights, *vocabularies):
        path = entry(directory, name)
        regular_size(path, None if name in weights else LARGEST_JSON)
        for tensor, part in read_head(path).items() if name.endswith(".safetensors") else ():
            if tensor.endswith("weight") and (kind := part.get("dtype")) not in FLOATS:
                raise InputError(f"'{path}': '{tensor:.80}' is of type {kind!r:.20}, which is no float")
        if name == ADDED:
            _check_ids(_object(path).values(), path)
        (view / name).symlink_to(path.absolute())


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"'{path}' holds no JSON object")
    return content


def _shards(directory: Path) -> list[str]:
    """The index, and the files of weights that it names."""
    path = entry(directory, INDEX)
    named = _object(path).get("weight_map")
    names = sorted(set(map(str, named.values()))) if isinstance(named, dict) else [""]
    for name in names:
        if not (is_bare(name) and name.endswith(".safetensors")):
            raise InputError(f"'{path}' names {name!r:.80} as weights; only bare names of .safetensors are read")
    return [INDEX, *names]


def _settings(value: Any, path: Path, key: str = "") -> Any:
    """The same without what `OTHERS` names, and with numbers that a model can have."""
    if isinstance(value, dict):
        if value.get("quantization_config") is not None:
            raise InputError(f"'{path}': quantised weights are not supported; use the original model")
        return {name: _settings(part, path, name) for name, part in value.items() if not OTHERS.search(name)}
    if isinstance(value, list):
        return [_settings(part, path, key) for part in value]
    if isinstance(value, int) and abs(value) > (LARGEST if LONG.search(key) else LABELS):
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
    """Refuse a tokenizer of the tokenizers library that makes much text of little, or searches long."""
    steps = [getattr(tokenizer, name, None) for name in ("normalizer", "pre_tokenizer")]
    rules = "".join(step.__getstate__().decode() for step in steps if step is not None)  # JSON
    if found := NESTED.search(rules):
        raise ValueError(f"it repeats what repeats, as in {found[0]!r:.80}")
    grows = prod(len(text) or 1 for text in ADDING.findall(rules))
    if grows > GROWTH or (steps[0] and len(steps[0].normalize_str(printable)) > GROWTH * len(printable)):
        raise ValueError(f"it makes more than {GROWTH} characters of one")
