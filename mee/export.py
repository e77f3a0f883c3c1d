"""The text side of a model without torch: a graph of ONNX, its weights, and how sentences become token ids.

    ids-0, ids-1, …   (1, L) int64: the tokens of one sentence, for each text encoder
    weights           the other inputs, by name: who runs the graph maps them into memory, and never copies them
    packed, logits, offsets     (1, E), (1, M), (1, M) float32, as `MEE.encode_text` gives them

The graph has operators of ONNX's own, no loops, and refers to no other files.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mee.errors import InputError, usable
from mee.model import MEE, TextEmbedding

OUTPUTS = tuple(field.name for field in fields(TextEmbedding))  # packed, logits, offsets
OPSET = 17  # of ONNX's operators


@dataclass(frozen=True)
class ExportedText:
    """A text side, but for its graph."""

    weights: Mapping[str, NDArray[Any]]
    tokens: tuple[str, ...]  # of each text encoder: its tokenizer, as JSON of the tokenizers library
    nothing: tuple[int, ...]  # and its token for a sentence in which the tokenizer finds none
    prompts: tuple[str, ...]  # and what is put before a sentence


class _TextSide(nn.Module):
    def __init__(self, model: MEE) -> None:
        super().__init__()
        self.model = model

    def forward(self, *ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = {name: tower.of_ids(its) for (name, tower), its in zip(self.model.all_towers.items(), ids)}
        text = self.model.text_of(h)
        return text.packed, text.logits, text.offsets


@torch.no_grad()
def export_text(model: MEE, graph: Path) -> ExportedText:
    """Export the text side of a model that is on the CPU, in eval mode, its graph into a file.

    Raises:
        InputError: a text encoder cannot be exported.
    """
    towers = model.all_towers
    tokens = {name: tower.tokens_file() for name, tower in towers.items()}
    for name in tokens:
        if not tokens[name]:
            whose = f"of expert '{name}'" if name else f"'{model.config.text.encoder}'"
            raise InputError(f"the text encoder {whose} has a tokenizer that is not of the tokenizers library")
    side, names = _TextSide(model), [f"ids-{number}" for number in range(len(towers))]
    with usable("the text encoder cannot be exported"), warnings.catch_warnings(action="ignore"):
        setattr(torch._C, "_jit_onnx_log", lambda *_: None)  # noqa: B010, it prints what it cannot export
        torch.onnx.export(
            side.eval(),
            tuple(torch.zeros(1, 3, dtype=torch.int64) for _ in names),
            graph,
            input_names=names,
            output_names=list(OUTPUTS),
            dynamic_axes={name: {1: f"tokens-{name}"} for name in names},  # each has its own length
            opset_version=OPSET,
            export_params=False,
            do_constant_folding=False,
            dynamo=False,  # the other exporter needs more packages, and its graphs more operators
        )
        inputs = [each.name for each in onnx.load(graph).graph.input]
    state = {name: tensor for name, tensor in side.state_dict().items() if name in inputs}
    weights = {name: np.array(tensor.numpy(), order="C") for name, tensor in state.items()}  # not shared
    each = [(tower.nothing, tower.prompts[0]) for tower in towers.values()]
    return ExportedText(weights, tuple(tokens.values()), *zip(*each))


def text_digest(model: MEE) -> str:
    """SHA-256 of all that the export depends on: settings, tokenizers, all weights but those of the video side."""
    tokens = [(tower.tokens_file(), tower.nothing, tower.prompts) for tower in model.all_towers.values()]
    digest = hashlib.sha256(json.dumps([asdict(model.config), tokens]).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith("video_experts."):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
