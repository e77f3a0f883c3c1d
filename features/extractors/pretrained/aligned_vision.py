"""Appearance by the vision half of a model that also reads text: one row a sampled frame.

    model_type         projected (by default)                         class               pooled
    clip, metaclip_2   projection of the class token's normed state   that normed state   mean of the patch
    siglip             attention head over the patch tokens           it has none         tokens' last states

Projected rows lie in the space of the model's text half, not normalised: their cosine with the half's sentence
vector is the zero-shot score, and a gated unit that starts as the identity takes them as they are. A vision half
that was saved alone (clip_vision_model, …) without its projection has class and pooled only.

CLIP: Radford et al., arXiv 2103.00020. MetaCLIP 2: arXiv 2507.22062. SigLIP: Zhai et al., arXiv 2303.15343.
SigLIP 2 (Tschannen et al., arXiv 2502.14786) at a fixed resolution is of type siglip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

from features.extractors.pretrained.checkpoint import Architecture, part_of, whole_number
from features.extractors.pretrained.images import BICUBIC, CLIP_MEAN, CLIP_STD, HALVES, ImageRecipe
from features.extractors.pretrained.vision import FrameExtractor

if TYPE_CHECKING:
    from torch import Tensor


class AlignedExtractor(FrameExtractor):
    """The vision half, alone or out of a whole model; abstract."""

    merges = True

    @property
    def tower(self) -> Mapping[str, Any]:
        """All of config.json, where the half was saved alone."""
        alone = self.config["model_type"].endswith("_vision_model")
        return self.config if alone else part_of(self.config, "vision_config")


@final
class ClipExtractor(AlignedExtractor):
    """CLIP and what is built like it."""

    outputs = ("projected", "class", "pooled")

    @property
    def available_outputs(self) -> tuple[str, ...]:
        """No projection in a half that was saved without."""
        bare = any(str(name).endswith("VisionModel") for name in self.config.get("architectures") or ())
        return self.outputs[1:] if bare else self.outputs

    @property
    def architecture(self) -> Architecture:
        """With the projection only where it is wanted."""
        family = "MetaClip2" if self.config["model_type"].startswith("metaclip_2") else "CLIP"
        if self.output == "projected":
            return Architecture(f"{family}VisionModelWithProjection", {"projection_dim": self.dim})
        return Architecture(f"{family}VisionModel")

    @property
    def usual_recipe(self) -> ImageRecipe:
        """The middle square of the whole height or width."""
        side = self.image_size
        return ImageRecipe(resize=min(side), crop=side, resample=BICUBIC, mean=CLIP_MEAN, std=CLIP_STD)

    @property
    def dim(self) -> int:
        """Size of the common space, or of the states."""
        return whole_number(self.config, "projection_dim", 512) if self.output == "projected" else self.width

    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """What `output` names."""
        from features.extractors.pretrained.runner import mean_token

        seen = model(pixel_values=self.pixels(model, inputs))
        if self.output == "pooled":
            return mean_token(seen.last_hidden_state, self.token_sizes(), 1)
        row: Tensor = seen.image_embeds if self.output == "projected" else seen.pooler_output
        return row


@final
class SiglipExtractor(AlignedExtractor):
    """SigLIP, and SigLIP 2 at a fixed resolution."""

    outputs = ("projected", "pooled")

    @property
    def available_outputs(self) -> tuple[str, ...]:
        """Some vision halves of larger models have no head."""
        return self.outputs if self.tower.get("vision_use_head", True) else self.outputs[1:]

    @property
    def architecture(self) -> Architecture:
        """The vision half."""
        return Architecture("SiglipVisionModel")

    @property
    def usual_recipe(self) -> ImageRecipe:
        """Squeezed into a square, to -1 … 1."""
        return ImageRecipe(resize=self.image_size, crop=None, resample=BICUBIC, mean=HALVES, std=HALVES)

    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """What `output` names."""
        from features.extractors.pretrained.runner import mean_token

        seen = model(pixel_values=self.pixels(model, inputs))
        if self.output == "pooled":
            return mean_token(seen.last_hidden_state, self.token_sizes())
        row: Tensor = seen.pooler_output
        return row
