"""Token merging put onto one model of transformers, from outside.

    h = h + attention(norm(h))      as the model has it; the keys are kept, log sizes are added to its logits
    h, sizes = merge(h, sizes)      of matching.py; left out where this layer merges none
    h = h + mlp(norm(h))            as the model has it

The model's modules compute everything; only the order of these lines is ours, so a form says where a family keeps
them. With nothing to merge, the numbers are bit for bit the model's own.

    tower                            protected first tokens   proportional attention
    ViTModel                         1  class                 yes
    ASTModel                         2  class, distillation   yes
    CLIPVisionModel, MetaClip2…      1  class                 yes
    SiglipVisionModel                0                        yes, and in its pooling head
    Dinov2Model                      1  class                 yes
    Dinov2WithRegistersModel         1 + registers            yes
    VideoMAEModel                    0                        no: a masked autoencoder
    XCLIPVisionModel                 1  class                 yes

Not supported: rotary positions follow each token's place (DINOv3, V-JEPA 2); windows and grids need all of theirs
(CLAP, TimeSformer); padding must not merge with content (Whisper, the SigLIP 2 of pictures of any shape).

    merging = merge_tokens(model, MergeSchedule.parse("8"))
    states = model(pixel_values=pictures).last_hidden_state     (B, N', C)
    mean_token(states, merging.sizes)                           a mean over tokens must know their sizes
    merging.remove()
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from features.extractors.spec import MergeSchedule
from features.extractors.token_merging.matching import Matching, grouped, match, merge_mean, size_bias

ATTENTION = "mee_token_merging"  # name of our function among those of transformers
NOTE = "token_merging"  # attribute of an attention module: its Merging


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


_VIT = LayerForm("layernorm_before", "attention", "attention", ("dropout",), "layernorm_after", ("mlp", "dropout"))
_CLIP = LayerForm("layer_norm1", "self_attn", "self_attn", (), "layer_norm2", ("mlp",))
_DINO = LayerForm(
    "norm1", "attention", "attention", ("layer_scale1", "drop_path"), "norm2", ("mlp", "layer_scale2", "drop_path")
)
_VIDEOMAE = LayerForm(
    "layernorm_before", "attention", "attention.attention", (), "layernorm_after",
    ("intermediate", "output.dense", "output.dropout"),
)  # fmt: skip
_MESSAGE = ("message_fc", "message_ln", "message_attn", "drop_path")
_XCLIP = LayerForm("layer_norm1", "self_attn", "self_attn", (), "layer_norm2", ("mlp",), _MESSAGE)


@dataclass(frozen=True)
class Tower:
    """What merging must know of a class of transformers."""

    layers: str  # where they are
    form: LayerForm
    protected: int = 1  # first tokens that never merge, beside registers
    proportional: bool = True
    head: str | None = None  # a MultiheadAttention that pools the tokens


TOWERS = {
    "ViTModel": Tower("layers", _VIT),
    "ASTModel": Tower("layers", _VIT, 2),
    "CLIPVisionModel": Tower("encoder.layers", _CLIP),
    "MetaClip2VisionModel": Tower("encoder.layers", _CLIP),
    "SiglipVisionModel": Tower("encoder.layers", _CLIP, 0, head="head.attention"),
    "Dinov2Model": Tower("encoder.layer", _DINO),
    "Dinov2WithRegistersModel": Tower("encoder.layer", _DINO),
    "VideoMAEModel": Tower("encoder.layer", _VIDEOMAE, 0, proportional=False),
    "XCLIPVisionModel": Tower("encoder.layers", _XCLIP),
}


def merge_tokens(model: nn.Module, merge: MergeSchedule, proportional: bool | None = None) -> Merging:
    """Let tokens merge in all forward passes of one model from now on; else ValueError.

    Args:
        model: with a tower of the table in it, in evaluation mode, attending by "sdpa".
        merge: how many tokens merge in each layer; with none, the model gives bit for bit what it gave.
        proportional: whether a merged token attracts as much attention as its patches would; None: the table's.
    """
    tower: Any = next((part for part in model.modules() if type(part).__name__ in TOWERS), None)
    if tower is None:
        raise ValueError(f"tokens of a {type(model).__name__} cannot be merged; they can in {', '.join(TOWERS)}")
    attention = tower.config._attn_implementation
    if attention != "sdpa":
        raise ValueError(
            f"tokens merge where a model attends by sdpa, and this {type(tower).__name__} does by {attention}"
        )
    known = TOWERS[type(tower).__name__]
    return Merging(tower, known, merge, known.proportional if proportional is None else proportional)


@final
class Merging:
    """Merging that is on; what it did in the last forward pass."""

    def __init__(self, model: Any, tower: Tower, merge: MergeSchedule, proportional: bool) -> None:
        """Turn it on; use `merge_tokens`."""
        self._schedule = merge
        self.protected = tower.protected + getattr(model.config, "num_register_tokens", 0)  # these never merge
        self.proportional = proportional
        self._layers = list(model.get_submodule(tower.layers))
        self._attentions = [layer.get_submodule(tower.form.projections) for layer in self._layers]
        if any(hasattr(attention, NOTE) for attention in self._attentions):
            raise ValueError("the tokens of this model merge already; call remove() of that merging first")
        self._configs = [attention.config for attention in self._attentions]
        self._begin(torch.empty(0, 0, 0), [])
        for number, (layer, attention) in enumerate(zip(self._layers, self._attentions, strict=True)):
            attention.config = copy.copy(attention.config)  # all parts share one, and other models may
            attention.config._attn_implementation = ATTENTION
            setattr(attention, NOTE, self)
            layer.forward = partial(self._run, number, tower.form)
        self._hook: Any = None
        if tower.head is not None and model.config.vision_use_head:
            self._hook = model.get_submodule(tower.head).register_forward_pre_hook(self._weigh, with_kwargs=True)

    def groups(self, layers: int | None = None) -> Tensor:
        """(B, N) int64: for each token before the first layer, the token that holds it after so many, or all."""
        size, tokens = self.sizes.shape
        tokens += sum(self.merged)
        times = sum(r > 0 for r in self.merged[:layers])
        if times == 0:
            return torch.arange(tokens, device=self.sizes.device).expand(size, tokens)
        return grouped(self._matchings[:times])

    @property
    def bias(self) -> Tensor | None:
        """(B, 1, 1, N) for attention to the current tokens; None while each is one patch."""
        return size_bias(self.sizes) if self._matchings else None

    def remove(self) -> None:
        """Restore the model; a second call does nothing."""
        if any(getattr(attention, NOTE, None) is not self for attention in self._attentions):
            return
        for layer, attention, config in zip(self._layers, self._attentions, self._configs, strict=True):
            attention.config = config
            layer.__dict__.pop("forward", None)
            attention.__dict__.pop(NOTE, None)
        if self._hook is not None:
            self._hook.remove()

    def _begin(self, states: Tensor, counts: list[int]) -> None:
        """Forget the last pass; (B, N, C) states before the first layer, tokens that each layer will merge."""
        wide = torch.float64 if states.dtype == torch.float64 else torch.float32
        self.merged = counts
        self.sizes = torch.ones(states.shape[:2], dtype=wide, device=states.device)  # (B, N), patches a token
        self._matchings: list[Matching] = []
        self.key: Tensor | None = None  # (B, heads, N, C) of the layer that runs

    def _run(
        self, number: int, form: LayerForm, states: Tensor, mask: Tensor | None = None, **options: Any
    ) -> Tensor:
        """A layer's forward: (B, N - r, C) states after it of (B, N, C) before it."""
        if number == 0:
            self._begin(states, self._schedule.per_layer(len(self._layers), states.shape[1], self.protected))
        if mask is not None:
            if any(self.merged):
                raise ValueError("tokens cannot merge under an attention mask; give the model no padding")
            options["attention_mask"] = mask
        layer, tokens = self._layers[number], states.shape[1]
        if form.message is not None:
            states = torch.cat([states, _message(layer, form.message, states[:, 0])], 1)
        attended = layer.get_submodule(form.attention)(layer.get_submodule(form.norm_before)(states), **options)
        attended = attended[0] if isinstance(attended, tuple) else attended
        states = (_through(layer, form.after_attention, attended) + states)[:, :tokens]
        states = self._merge(states, self.merged[number])
        normed: Tensor = layer.get_submodule(form.norm_after)(states)
        return _through(layer, form.mlp, normed) + states

    def _merge(self, states: Tensor, r: int) -> Tensor:
        """(B, N - r, C) of (B, N, C) states, by the keys of the attention just done."""
        key, self.key = self.key, None
        if r == 0:
            return states
        if key is None:
            raise RuntimeError("the attention function that keeps the keys was not called")
        metric = key.mean(1, dtype=self.sizes.dtype)[:, : states.shape[1]]
        matching = match(metric, r, self.protected)
        states, self.sizes = merge_mean(states, matching, self.sizes)
        self._matchings.append(matching)
        return states

    def _weigh(self, head: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The arguments of a pooling head, the log sizes added."""
        bias = self.bias
        if bias is None:
            return args, options
        query = args[0]
        bias = bias.to(query.dtype).expand(-1, head.num_heads, query.shape[1], -1)
        return args, {**options, "attn_mask": bias.flatten(0, 1)}


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> Any:
    """Attention as transformers calls it: their scaled_dot_product_attention, with the sizes in its mask.

    Query, key (kept) and value are (B, heads, N, C); the mask is added to the logits, None masks nothing.
    """
    merging: Merging = getattr(module, NOTE)
    merging.key = key
    bias = merging.bias if merging.proportional else None
    if bias is not None:
        bias = functional.pad(bias, (0, key.shape[2] - bias.shape[-1])).to(query.dtype)  # a message counts once
        mask = bias if mask is None else mask + bias
    return sdpa_attention_forward(module, query, key, value, mask, **options)


AttentionInterface.register(ATTENTION, attend)


def _message(layer: nn.Module, names: tuple[str, str, str, str], firsts: Tensor) -> Tensor:
    """(B * frames, 1, C): a message to each frame from the class tokens (B * frames, C) of all."""
    linear, norm, attention, dropout = map(layer.get_submodule, names)
    frames: Any = layer.num_frames
    message: Tensor = linear(firsts).view(-1, frames, firsts.shape[-1])
    message = message + dropout(attention(norm(message))[0])
    return message.view(-1, 1, firsts.shape[-1])


def _through(layer: nn.Module, names: Sequence[str], states: Tensor) -> Tensor:
    for name in names:
        states = layer.get_submodule(name)(states)
    return states
