"""Token merging put onto one model of transformers, from outside.

    tower                            protected first tokens   proportional attention
    ViTModel                         1  class                 yes
    ASTModel                         2  class, distillation   yes
    CLIPVisionModel, MetaClip2…      1  class                 yes
    SiglipVisionModel                0                        yes, and in its pooling head
    Dinov2Model                      1  class                 yes
    Dinov2WithRegistersModel         1 + registers            yes
    VideoMAEModel                    0                        no: a masked autoencoder
    XCLIPVisionModel                 1  class                 yes

Left out: rotary positions follow each token's place (DINOv3, V-JEPA 2); windows and grids need all of theirs
(CLAP, TimeSformer); padding must not merge with what is there (Whisper, the SigLIP 2 of pictures of any shape).

    merging = merge_tokens(model, MergeSchedule.parse("8"))
    states = model(pixel_values=pictures).last_hidden_state     (B, N', C)
    mean_token(states, merging.sizes)                           a mean over tokens must know their sizes
    merging.remove()
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from features.extractors.token_merging.layer import ATTENTION, NOTE, LayerForm, MergingPass, run_layer
from features.extractors.token_merging.matching import grouped
from features.extractors.token_merging.schedule import MergeSchedule

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
