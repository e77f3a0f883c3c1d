"""Appearance by a vision transformer: one row a sampled frame.

    model_type               class (by default)                        pooled
    vit                      the class token's state, after the norm   mean of the patch tokens' states
    dinov2                   the same                                  the same
    dinov2_with_registers    the same                                  the same, register tokens left out
    dinov3_vit               the same                                  the same, register tokens left out

ViT: Dosovitskiy et al., arXiv 2010.11929. DINOv2: Oquab et al., arXiv 2304.07193; registers: Darcet et al., arXiv
2309.16588. DINOv3: Siméoni et al., arXiv 2508.10104. Towers with a text half:
features.extractors.pretrained.aligned_vision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

from features.extractors.pretrained.base import Rows, positive_number
from features.extractors.pretrained.checkpoint import Architecture
from features.extractors.pretrained.images import (
    BICUBIC,
    BILINEAR,
    HALVES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageRecipe,
)
from features.extractors.pretrained.picture_extractor import PictureExtractor
from features.media.clip import Clip, FrameNeed

if TYPE_CHECKING:
    from torch import Tensor

FPS = 2.0  # frames a second, by default


class FrameExtractor(PictureExtractor):
    """One row a frame; abstract."""

    modality = "appearance"
    version = 1
    options = ("output", "merge", "fps")

    def choose_need(self) -> FrameNeed:
        """Single frames, two a second unless the word says otherwise."""
        return FrameNeed(fps=positive_number(self.spec, "fps", FPS), size=self.recipe.short_side)

    def rows(self, clip: Clip) -> Rows | None:
        """One item a frame; None where the clip has no picture."""
        frames = clip.frames.get(self.need)
        return None if frames is None else Rows(list(frames.pixels), frames.times)


class TokenExtractor(FrameExtractor):
    """Models with a class token in front; abstract."""

    outputs = ("class", "pooled")

    @property
    def first_patch(self) -> int:
        """How many tokens stand before the patches."""
        return 1

    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """The class token, or the mean of the patches."""
        from features.extractors.pretrained.runner import mean_token

        states: Tensor = model(pixel_values=self.pixels(model, inputs)).last_hidden_state
        return states[:, 0] if self.output == "class" else mean_token(states, self.token_sizes(), self.first_patch)


@final
class ViTExtractor(TokenExtractor):
    """Plain vision transformers."""

    merges = True
    square = True

    @property
    def architecture(self) -> Architecture:
        """Without the pooler, which few checkpoints have trained."""
        return Architecture("ViTModel", {"add_pooling_layer": False})

    @property
    def usual_recipe(self) -> ImageRecipe:
        """Squeezed into a square, to -1 … 1."""
        return ImageRecipe(resize=self.image_size, crop=None, resample=BILINEAR, mean=HALVES, std=HALVES)


@final
class DinoExtractor(TokenExtractor):
    """DINOv2, with registers or without: its positions are interpolated, so it reads pictures of any size."""

    merges = True
    any_size = True

    @property
    def architecture(self) -> Architecture:
        """By model_type."""
        registers = self.config["model_type"] == "dinov2_with_registers"
        return Architecture("Dinov2WithRegistersModel" if registers else "Dinov2Model")

    @property
    def usual_recipe(self) -> ImageRecipe:
        """The middle 224 of 256."""
        return ImageRecipe(resize=256, crop=(224, 224), resample=BICUBIC, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @property
    def first_patch(self) -> int:
        """The class token and the registers, four unless config.json says otherwise."""
        if self.config["model_type"] == "dinov2":
            return 1
        return 1 + int(self.config.get("num_register_tokens", 4))


@final
class Dino3Extractor(TokenExtractor):
    """DINOv3: its positions are rotations, so it reads pictures of any size; tokens do not merge."""

    usual_width = 384
    any_size = True

    @property
    def architecture(self) -> Architecture:
        """The transformer, not the ConvNeXt of the same name."""
        return Architecture("DINOv3ViTModel")

    @property
    def usual_recipe(self) -> ImageRecipe:
        """Squeezed into a square of 224."""
        return ImageRecipe(resize=(224, 224), crop=None, resample=BILINEAR, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @property
    def first_patch(self) -> int:
        """The class token and the registers, none unless config.json says otherwise."""
        return 1 + int(self.config.get("num_register_tokens", 0))
