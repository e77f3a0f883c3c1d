"""What a folder of sentence-transformers declares besides its language model.

    modules.json                           its modules in their order, each with its type and folder
    1_Pooling/config.json                  how its tokens become one vector
    2_Dense/config.json, model.safetensors y = activation(W x + b), any number of them
    sentence_bert_config.json              max_seq_length: longer sentences are cut
    config_sentence_transformers.json      prompts by name, the usual one, and how vectors are compared

`Normalize` is left out: the experts' units bring to norm 1 what they make of a vector, and compare by cosine.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file
from torch import Tensor, nn

from mee.errors import InputError, usable
from mee.files import entry, read_json
from mee.text.config import LONGEST, TextConfig
from mee.text.language_model import fetch
from mee.text.model_files import CONFIG, WEIGHTS
from mee.weights import at_most

MODULES, PROMPTED, LIMITS = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
ADAPTER = "adapter_config.json"
DENSE = "dense.json"  # in a checkpoint: its dense layers
KNOWN = ("Transformer", "Pooling", "Dense", "Normalize", "Dropout")  # others would change the vectors
POOLINGS = {"cls": "first", "max": "max", "mean": "mean", "lasttoken": "last"}  # in the order of their columns
FLAG = "pooling_mode_"
ROLES = (("query", "search_query"), ("document", "passage", "search_document"))  # prompts' usual names
LONGEST_PROMPT = 1000  # characters
ACTIVATIONS = {"Tanh": nn.Tanh, "Identity": nn.Identity, "ReLU": nn.ReLU, "GELU": nn.GELU, "Sigmoid": nn.Sigmoid}
log = logging.getLogger(__name__)


def as_declared(config: TextConfig) -> TextConfig:
    """The settings with what is left open: pooling, prompts and longest sentence as the model's folder declares.

    Raises:
        InputError: the folder declares what is not supported.
    """
    usual = replace(config, pooling=config.pools, max_tokens=config.longest)
    if not config.pretrained:
        return usual
    directory, name = fetch(config.encoder, config.revision), config.encoder
    notes, modules = [], _modules(directory)
    if (directory / ADAPTER).exists():
        if not list(directory.glob("model*.safetensors")):
            raise InputError(
                f"'{name}' is an adapter (LoRA) of another model, which is not read; merge it into that model "
                "(peft: merge_and_unload), save it, and name the folder"
            )
        notes.append(f"'{name}' has an adapter (LoRA) beside its weights, which is left out")
    if not modules:
        notes.append(f"'{name}' declares no pooling, so the mean of its tokens is used (--text.pooling)")
    if more := [kind for kind, _ in modules if kind not in KNOWN]:
        raise InputError(
            f"'{name}' has a module of type {more[0]:.80}, which is not supported; name another encoder"
        )
    [place] = [folder for kind, folder in modules if kind == "Pooling"][:1] or [""]
    declared = _object(directory, place, CONFIG) if place else {"pooling_mode": "mean"}
    older = [_mode(key) for key, on in declared.items() if on is True and key.startswith(FLAG)]
    given = declared.get("pooling_mode", older)  # older files have a flag for each
    modes = given if isinstance(given, list) else [given]
    if odd := [mode for mode in modes or ["nothing"] if mode not in POOLINGS]:
        known = ", ".join(POOLINGS)
        raise InputError(f"'{name}' pools by {odd[0]!s:.80}, which is not supported; {known} are")
    with usable(f"the prompts of '{directory}' cannot be read"):
        content = _object(directory, PROMPTED) if modules else {}
        prompts = _prompts(content)
    if any(prompts) and declared.get("include_prompt") is False:
        raise InputError(f"'{name}' leaves its prompts out of its pooling, which is not supported")
    if (compared := content.get("similarity_fn_name") or "cosine") != "cosine":
        notes.append(f"'{name}' compares vectors by {compared}; experts compare them by cosine")
    for note in notes if not config.pooling else ():  # once: it is open no more
        log.warning("note: %s", note)
    longest = _object(directory, LIMITS).get("max_seq_length") if modules else None
    return replace(
        usual,
        pooling=config.pooling or tuple(kind for mode, kind in POOLINGS.items() if mode in modes),
        prompts=config.prompts if any(config.prompts) else prompts,
        max_tokens=config.max_tokens or (longest if isinstance(longest, int) and longest > 0 else LONGEST),
    )


def _mode(flag: str) -> str:
    """pooling_mode_cls_token -> cls"""
    return flag.removeprefix(FLAG).removesuffix("s").removesuffix("_token")


def dense_layers(directory: Path, pooled: int) -> nn.Sequential:
    """The layers after pooling, frozen: those of a checkpoint without their weights, or of a declared folder.

    They are left out where they do not take vectors of `pooled` numbers, as of another pooling than declared.
    """
    own, layers = (directory / DENSE).is_file(), nn.Sequential()
    places = [] if own else [folder for kind, folder in _modules(directory) if kind == "Dense"]
    with usable(f"the dense layers of '{directory}' cannot be used"):
        facts = (
            read_json(entry(directory, DENSE)) if own else [_object(directory, each, CONFIG) for each in places]
        )
        for number, fact in enumerate(facts):
            name = str(fact.get("activation_function", "Tanh")).rpartition(".")[2]
            if name not in ACTIVATIONS:
                raise ValueError(f"their activation '{name:.80}' is none of {', '.join(ACTIVATIONS)}")
            sizes = int(fact["in_features"]), int(fact["out_features"]), bool(fact.get("bias", True))
            if own:
                layers.append(Dense(*sizes, name))
                continue
            path = entry(directory, places[number], WEIGHTS)
            with at_most(path.stat().st_size, path):
                layers.append(layer := Dense(*sizes, name))
            weights = {key.removeprefix("linear."): weight.float() for key, weight in load_file(path).items()}
            layer.load_state_dict(weights)
        if layers and cast(Dense, layers[0]).in_features != pooled:
            log.warning("note: the dense layers of '%s' are left out: they are for its own pooling", directory)
            return nn.Sequential()
    return layers.requires_grad_(False)


class Dense(nn.Linear):
    """y = activation(W x + b)."""

    def __init__(self, inputs: int, outputs: int, bias: bool, activation: str) -> None:
        super().__init__(inputs, outputs, bias)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, ACTIVATIONS[self.activation]()(super().forward(x)))

    @property
    def facts(self) -> dict[str, Any]:
        """As a folder of sentence-transformers describes it."""
        sizes = {"in_features": self.in_features, "out_features": self.out_features}
        return {**sizes, "bias": self.bias is not None, "activation_function": self.activation}


def _modules(directory: Path) -> list[tuple[str, str]]:
    """Type and folder of each module; nothing of another model of transformers."""
    if not (directory / MODULES).is_file():
        return []
    with usable(f"the modules of '{directory}' cannot be read"):
        content = read_json(entry(directory, MODULES))
        return [(str(part["type"]).rpartition(".")[2], str(part.get("path", ""))) for part in content]


def _object(directory: Path, *names: str) -> Mapping[str, Any]:
    """A JSON object; empty where there is no such file."""
    if not directory.joinpath(*names).is_file():
        return {}
    with usable(f"the modules of '{directory}' cannot be read"):
        return dict(read_json(entry(directory, *names)).items())


def _prompts(content: Mapping[str, Any]) -> tuple[str, str]:
    """What a folder declares to be put before a query, and before a document."""
    known = {name: text for name, text in (content.get("prompts") or {}).items() if isinstance(text, str)}
    usual = known.get(content.get("default_prompt_name") or "", "")
    found = (next((known[name] for name in names if name in known), usual) for names in ROLES)
    query, document = (text[:LONGEST_PROMPT] for text in found)
    return query, document
