"""Transformers whose tokens merge, at their base sizes, and the floating point operations that N tokens cost them.

layer of N tokens, N' after merging:   2 (4 N C^2 + 2 N^2 C + 2 N' C I)     C: states, I: inside of the MLP
patches:                               2 N C P                              P: numbers in a patch
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    ASTConfig,
    ASTModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    VideoMAEConfig,
    VideoMAEModel,
    ViTConfig,
    ViTModel,
)

from features.extractors.token_merging.schedule import MergeSchedule

LAYERS, STATES, INSIDE = 12, 768, 3072  # of all of them


@dataclass(frozen=True)
class Base:
    """One architecture."""

    make: Callable[[], nn.Module]  # random weights
    shape: tuple[int, ...]  # of one input
    patch: int  # numbers in one patch
    tokens: int
    protected: int
    schedules: Sequence[str]
    batch: int  # inputs in a timed forward pass

    def inputs(self, batch: int, seed: int) -> dict[str, Tensor]:
        """Noise, as the model takes it."""
        noise = torch.randn(batch, *self.shape, generator=torch.Generator().manual_seed(seed))
        return {"input_values" if len(self.shape) == 2 else "pixel_values": noise}

    def operations(self, schedule: MergeSchedule | None) -> float:
        """Floating point operations for one input; None: without merging."""
        merged = [0] * LAYERS if schedule is None else schedule.per_layer(LAYERS, self.tokens, self.protected)
        total, tokens = 2 * self.tokens * STATES * self.patch, self.tokens
        for r in merged:
            total += 2 * (4 * tokens * STATES**2 + 2 * tokens**2 * STATES + 2 * (tokens - r) * STATES * INSIDE)
            tokens -= r
        return float(total)


def _vit() -> nn.Module:
    return ViTModel(ViTConfig(), add_pooling_layer=False)


def _clip() -> nn.Module:
    config = CLIPVisionConfig(
        hidden_size=STATES, intermediate_size=INSIDE, num_attention_heads=12, patch_size=16, projection_dim=512
    )
    return CLIPVisionModelWithProjection(config)


SHORT = ("0", "8", "13", "16", "13:falling")
LONG = ("0", "16", "0.066", "0.067", "0.066:falling")
BASES = {
    "vit": Base(_vit, (3, 224, 224), 768, 197, 1, SHORT, 8),
    "clip": Base(_clip, (3, 224, 224), 768, 197, 1, SHORT, 8),
    "ast": Base(lambda: ASTModel(ASTConfig()), (1024, 128), 256, 1214, 2, LONG, 8),
    "videomae": Base(lambda: VideoMAEModel(VideoMAEConfig()), (16, 3, 224, 224), 1536, 1568, 0, LONG, 8),
}


def random_model(name: str, seed: int) -> Any:
    """In evaluation mode, float32."""
    torch.manual_seed(seed)
    return BASES[name].make().eval().requires_grad_(False)
