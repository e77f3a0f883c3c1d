"""A checkpoint's weights -> a model of transformers, strictly.

missing      a parameter of the model without weights         an error, save for modules that forward never runs
unexpected   weights inside a module of the model, unused     an error: config.json tells of another model
             weights of other modules: heads, text towers     left alone
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.utils import logging as transformers_logging

from features.errors import InputError
from features.pretrained.architecture import Architecture

_BUFFERS = ("position_ids", "inv_freq")  # old files hold them; models compute them


def load_weights(architecture: Architecture, folder: Path, source: str) -> nn.Module:
    """A model in evaluation mode, float32, on the CPU.

    Args:
        architecture: class of transformers, and how it is made.
        folder: of the checkpoint.
        source: what the user calls it, for the sentences.

    Raises:
        InputError: the weights are not in safetensors, lack, are damaged, or do not fit config.json.
    """
    if not list(folder.glob("model*.safetensors")):
        raise InputError(
            f"'{source}' has no weights in the safetensors format, and others may be pickles, which are never "
            "read; if the hub has converted them, name that revision (OWNER/MODEL@refs/pr/NUMBER), else convert "
            'them once, where you trust them: python -c "from transformers import AutoModel as A; '
            f"A.from_pretrained('{source}').save_pretrained('DIRECTORY')\""
        )
    load: Any = getattr(transformers, architecture.name).from_pretrained
    try:
        with quiet():
            model, report = load(
                folder,
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # told below, in a sentence
                output_loading_info=True,
                **{"attn_implementation": "sdpa", **architecture.settings},
            )
    except Exception as error:  # whatever a type's own checks raise
        raise InputError(f"'{source}': its weights cannot be loaded: {_said(error)}") from error
    _check(model, report, architecture, source)
    for name in architecture.unused:
        setattr(model, name, None)
    made: nn.Module = model.requires_grad_(False).eval()
    return made


def _check(model: Any, report: dict[str, Any], architecture: Architecture, source: str) -> None:
    needless = tuple(f"{name}." for name in architecture.unused)
    mismatched = sorted(str(entry[0]) for entry in report["mismatched_keys"])
    if mismatched:
        raise InputError(
            f"'{source}': {len(mismatched)} of its weights are not of the size that its config.json says, such as "
            f"{mismatched[0]}"
        )
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(needless))
    if missing:
        raise InputError(f"'{source}': its weights are not whole: {len(missing)} lack, such as {missing[0]}")
    modules = {name for name, _ in model.named_children()}
    prefix = f"{model.base_model_prefix}."
    surplus = sorted(
        key
        for key in report["unexpected_keys"]
        if not modules.isdisjoint(_tops(key, prefix)) and not key.endswith(_BUFFERS)
    )
    if surplus:
        raise InputError(
            f"'{source}': its weights are of a larger model than its config.json says: {len(surplus)} are left, "
            f"such as {surplus[0]}"
        )


def _tops(key: str, prefix: str) -> set[str]:
    """The module that a weight belongs to, whether the checkpoint names the model before it or not."""
    return {key.partition(".")[0], key.removeprefix(prefix).partition(".")[0]}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' bars and reports off the screen: what matters is checked here."""
    screen: Any = transformers_logging
    level, bars = screen.get_verbosity(), screen.is_progress_bar_enabled()
    screen.set_verbosity_error()
    screen.disable_progress_bar()
    try:
        yield
    finally:
        screen.set_verbosity(level)
        if bars:
            screen.enable_progress_bar()


def _said(error: Exception) -> str:
    return " ".join(str(error).split()).split(". ")[0] or type(error).__name__
