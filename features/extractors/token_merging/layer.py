"""One layer of a transformer, with tokens merging in the middle of it.

    h = h + attention(norm(h))      as the model has it; the keys are kept, log sizes are added to its logits
    h, sizes = merge(h, sizes)      of matching.py; left out where this layer merges none
    h = h + mlp(norm(h))            as the model has it

The model's modules do all the work; only the order of these lines is ours, so a form says where a family keeps
them. With nothing to merge, the numbers are bit for bit the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from features.extractors.token_merging.matching import Matching, match, merge_mean, size_bias

ATTENTION = "mee_token_merging"  # name of our function among those of transformers
NOTE = "token_merging"  # attribute of an attention module: the pass that runs


@final
@dataclass(frozen=True)
class LayerForm:
    """Names of modules inside one layer, dots where they lie deeper."""

    norm_before: str
    attention: str  # takes states, gives states or a tuple of which they are the first
    projections: str  # inside of which the attention function is called
    after_attention: tuple[str, ...]
    norm_after: str
    mlp: tuple[str, ...]
    message: tuple[str, str, str, str] | None = None  # X-CLIP: linear map, norm, attention among frames, dropout


@final
class MergingPass:
    """What the layers of one forward pass tell each other, and afterwards what they did."""

    def __init__(self, protected: int, proportional: bool) -> None:
        """Args:
        protected: how many first tokens never merge.
        proportional: whether sizes count in attention.
        """
        self.protected, self.proportional = protected, proportional
        self.begin(torch.empty(0, 0, 0), [])

    def begin(self, states: Tensor, counts: Sequence[int]) -> None:
        """Forget the pass before.

        Args:
            states: (B, N, C) before the first layer.
            counts: tokens that each layer will merge away.
        """
        wide = torch.float64 if states.dtype == torch.float64 else torch.float32
        self.counts = counts
        self.sizes = torch.ones(states.shape[:2], dtype=wide, device=states.device)  # (B, N), of the tokens now
        self.matchings: list[Matching] = []
        self.key: Tensor | None = None  # (B, heads, N, C) of the layer that runs

    @property
    def bias(self) -> Tensor | None:
        """(B, 1, 1, N) for attention to the tokens now; None while each is one patch."""
        return size_bias(self.sizes) if self.matchings else None

    def merge(self, states: Tensor, r: int) -> Tensor:
        """(B, N - r, C) of (B, N, C) states, by the keys of the attention just done."""
        key, self.key = self.key, None
        if r == 0:
            return states
        if key is None:
            raise RuntimeError("the attention function that keeps the keys was not called")
        metric = key.mean(1, dtype=self.sizes.dtype)[:, : states.shape[1]]
        matching = match(metric, r, self.protected)
        states, self.sizes = merge_mean(states, matching, self.sizes)
        self.matchings.append(matching)
        return states


def run_layer(
    layer: nn.Module, form: LayerForm, now: MergingPass, r: int, states: Tensor, **options: Any
) -> Tensor:
    """(B, N - r, C) states after a layer.

    Args:
        layer: of the model.
        form: of its family.
        now: the pass that runs.
        r: tokens to merge away.
        states: (B, N, C) before it.
        options: what the model hands to its attention.
    """
    tokens = states.shape[1]
    if form.message is not None:
        states = torch.cat([states, _message(layer, form.message, states[:, 0])], 1)
    seen = _part(layer, form.attention)(_part(layer, form.norm_before)(states), **options)
    seen = seen[0] if isinstance(seen, tuple) else seen
    states = (_through(layer, form.after_attention, seen) + states)[:, :tokens]
    states = now.merge(states, r)
    normed: Tensor = _part(layer, form.norm_after)(states)
    return _through(layer, form.mlp, normed) + states


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> Any:
    """Attention as transformers calls it: their scaled_dot_product_attention, told of the sizes.

    Args:
        module: the attention module, with the pass under `NOTE`.
        query: (B, heads, N, C).
        key: (B, heads, N, C); kept.
        value: (B, heads, N, C).
        mask: added to the logits, None where all tokens attend to all.
        options: scaling and others.
    """
    now: MergingPass = getattr(module, NOTE)
    now.key = key
    bias = now.bias if now.proportional else None
    if bias is not None:
        bias = functional.pad(bias, (0, key.shape[2] - bias.shape[-1])).to(query.dtype)  # a message counts once
        mask = bias if mask is None else mask + bias
    return sdpa_attention_forward(module, query, key, value, mask, **options)


AttentionInterface.register(ATTENTION, attend)


def _message(layer: nn.Module, names: tuple[str, str, str, str], firsts: Tensor) -> Tensor:
    """(B * frames, 1, C) what each frame hears from the class tokens (B * frames, C) of the others."""
    told, norm, attention, dropout = (_part(layer, name) for name in names)
    frames: Any = layer.num_frames
    message: Tensor = told(firsts).view(-1, frames, firsts.shape[-1])
    message = message + dropout(attention(norm(message))[0])
    return message.view(-1, 1, firsts.shape[-1])


def _part(layer: nn.Module, name: str) -> Any:
    return layer.get_submodule(name)


def _through(layer: nn.Module, names: Sequence[str], states: Tensor) -> Tensor:
    for name in names:
        states = _part(layer, name)(states)
    return states
