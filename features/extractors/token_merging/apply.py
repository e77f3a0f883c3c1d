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
from collections.abc import Callable, Sequence
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


@final
@dataclass(frozen=True)
class Tower:
    """What merging must know of a class of transformers."""

    layers: str  # where they are
    form: LayerForm
    protected: Callable[[Any], int]  # of its config: how many first tokens never merge
    proportional: bool = True
    head: str | None = None  # a MultiheadAttention that pools the tokens


def _first(count: int) -> Callable[[Any], int]:
    return lambda config: count


TOWERS = {
    "ViTModel": Tower("layers", _VIT, _first(1)),
    "ASTModel": Tower("layers", _VIT, _first(2)),
    "CLIPVisionModel": Tower("encoder.layers", _CLIP, _first(1)),
    "MetaClip2VisionModel": Tower("encoder.layers", _CLIP, _first(1)),
    "SiglipVisionModel": Tower("encoder.layers", _CLIP, _first(0), head="head.attention"),
    "Dinov2Model": Tower("encoder.layer", _DINO, _first(1)),
    "Dinov2WithRegistersModel": Tower("encoder.layer", _DINO, lambda config: 1 + int(config.num_register_tokens)),
    "VideoMAEModel": Tower("encoder.layer", _VIDEOMAE, _first(0), proportional=False),
    "XCLIPVisionModel": Tower("encoder.layers", _XCLIP, _first(1)),
}


def supports_merging(model: nn.Module) -> bool:
    """Whether `merge_tokens` takes the model, or one that holds it."""
    return _tower_of(model) is not None


def merge_tokens(model: nn.Module, merge: MergeSchedule, proportional: bool | None = None) -> Merging:
    """Let tokens merge in all forward passes of one model from now on.

    Args:
        model: with a tower of the table in it, in evaluation mode, attending by "sdpa".
        merge: how many tokens merge in each layer; with none, the model gives bit for bit what it gave.
        proportional: whether a merged token attracts as much attention as its patches would; None: the table's.

    Raises:
        ValueError: its tokens cannot be merged, or they do already.
    """
    tower = _tower_of(model)
    if tower is None:
        raise ValueError(f"tokens of a {type(model).__name__} cannot be merged; they can in {', '.join(TOWERS)}")
    attention = tower.config._attn_implementation
    if attention != "sdpa":
        raise ValueError(
            f"tokens merge where a model attends by sdpa, and this {type(tower).__name__} does by {attention}"
        )
    known = TOWERS[type(tower).__name__]
    return Merging(tower, known, merge, known.proportional if proportional is None else proportional)


def _tower_of(model: nn.Module) -> Any:
    return next((part for part in model.modules() if type(part).__name__ in TOWERS), None)


@final
class Merging:
    """Merging that is on; what it did in the last forward pass."""

    def __init__(self, model: Any, tower: Tower, merge: MergeSchedule, proportional: bool) -> None:
        """Put it on; use `merge_tokens`."""
        self.schedule = merge
        self._layers = list(model.get_submodule(tower.layers))
        self._attentions = [layer.get_submodule(tower.form.projections) for layer in self._layers]
        if any(hasattr(attention, NOTE) for attention in self._attentions):
            raise ValueError("the tokens of this model merge already; call remove() of that merging first")
        self._configs = [attention.config for attention in self._attentions]
        self._pass = MergingPass(tower.protected(model.config), proportional)
        for number, (layer, attention) in enumerate(zip(self._layers, self._attentions, strict=True)):
            attention.config = copy.copy(attention.config)  # all parts share one, and other models may
            attention.config._attn_implementation = ATTENTION
            setattr(attention, NOTE, self._pass)
            layer.forward = partial(self._run, number, tower.form)
        self._hook: Any = None
        if tower.head is not None and model.config.vision_use_head:
            self._hook = model.get_submodule(tower.head).register_forward_pre_hook(self._weigh, with_kwargs=True)

    @property
    def sizes(self) -> Tensor:
        """(B, N') patches that each token held after the last forward pass, first tokens 1 each; float32."""
        return self._pass.sizes

    @property
    def groups(self) -> Tensor:
        """(B, N) int64: for each token before the first layer, the token that holds it after the last."""
        return self.groups_after(len(self._layers))

    def groups_after(self, layers: int) -> Tensor:
        """(B, N) int64: the same after so many layers."""
        size, tokens = self._pass.sizes.shape
        tokens += sum(self._pass.counts)
        times = sum(r > 0 for r in self._pass.counts[:layers])
        if times == 0:
            return torch.arange(tokens, device=self._pass.sizes.device).expand(size, tokens)
        return grouped(self._pass.matchings[:times])

    @property
    def merged(self) -> list[int]:
        """Tokens that each layer merged away in the last forward pass."""
        return list(self._pass.counts)

    @property
    def protected(self) -> int:
        """How many first tokens never merge."""
        return self._pass.protected

    def remove(self) -> None:
        """Leave the model as it was; once removed, nothing more happens."""
        if any(getattr(attention, NOTE, None) is not self._pass for attention in self._attentions):
            return
        for layer, attention, config in zip(self._layers, self._attentions, self._configs, strict=True):
            attention.config = config
            layer.__dict__.pop("forward", None)
            attention.__dict__.pop(NOTE, None)
        if self._hook is not None:
            self._hook.remove()

    def _run(
        self, number: int, form: LayerForm, states: Tensor, mask: Tensor | None = None, **options: Any
    ) -> Tensor:
        """A layer's forward."""
        if number == 0:
            counts = self.schedule.per_layer(len(self._layers), states.shape[1], self.protected)
            self._pass.begin(states, counts)
        if mask is not None:
            if any(self._pass.counts):
                raise ValueError("tokens cannot merge under an attention mask; give the model no padding")
            options["attention_mask"] = mask
        return run_layer(self._layers[number], form, self._pass, self._pass.counts[number], states, **options)

    def _weigh(self, head: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What a pooling head is called with, the log sizes added."""
        bias = self._pass.bias
        if bias is None:
            return args, options
        query = args[0]
        bias = bias.to(query.dtype).expand(-1, head.num_heads, query.shape[1], -1)
        return args, {**options, "attn_mask": bias.flatten(0, 1)}
