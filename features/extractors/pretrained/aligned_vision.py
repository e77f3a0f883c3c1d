"""Appearance by the vision half of a model that also reads text: one row a sampled frame.

    model_type         projected (by default)                         class               pooled
    clip, metaclip_2   projection of the class token's normed state   that normed state   mean of the patch
    siglip             attention head over the patch tokens           it has none         tokens' last states

Projected rows lie in the space of the model's text half, not normalised: their cosine with the half's sentence
vector is the zero-shot score, and a gated unit that starts as the identity takes them as they are. A vision half
that was saved alone (clip_vision_model, …) without its projection has class and pooled only.

SigLIP 2 at a fixed resolution is of type siglip. At any aspect ratio (NaFlex) it is of type siglip2, with the same
outputs, and a picture becomes at most `max_num_patches` patches of side P; where it has fewer, more are added that
a mask hides, so that pictures of any shape share a batch:

    rows, columns = ceil(s H / P), ceil(s W / P),   s the largest with rows * columns <= max_num_patches

CLIP: Radford et al., arXiv 2103.00020. MetaCLIP 2: arXiv 2507.22062. SigLIP: Zhai et al., arXiv 2303.15343.
SigLIP 2: Tschannen et al., arXiv 2502.14786.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, isqrt
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from features.extractors.pretrained.checkpoint import Architecture, part_of, read_preprocessor, whole_number
from features.extractors.pretrained.images import BICUBIC, BILINEAR, CLIP_MEAN, CLIP_STD, HALVES, ImageRecipe
from features.extractors.pretrained.vision import FrameExtractor
from features.extractors.spec import ExtractorSpec, RunConfig

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
        side = self.image_size
        return ImageRecipe(resize=min(side), crop=side, resample=BICUBIC, mean=CLIP_MEAN, std=CLIP_STD)

    @property
    def dim(self) -> int:
        return whole_number(self.config, "projection_dim", 512) if self.output == "projected" else self.width

    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
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
        return Architecture("SiglipVisionModel")

    @property
    def usual_recipe(self) -> ImageRecipe:
        return ImageRecipe(resize=self.image_size, crop=None, resample=BICUBIC, mean=HALVES, std=HALVES)

    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        from features.extractors.pretrained.runner import mean_token

        seen = model(pixel_values=self.pixels(model, inputs))
        if self.output == "pooled":
            return mean_token(seen.last_hidden_state, self.token_sizes())
        row: Tensor = seen.pooler_output
        return row


def grid_of(height: int, width: int, patch: int, most: int) -> tuple[int, int]:
    """Rows and columns of patches that a picture becomes.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        patch: side of a patch, pixels.
        most: patches at most.
    """
    low, high = 1e-6, 100.0  # scales: the first fits, the second does not
    while high - low >= 1e-5:
        middle = (low + high) / 2
        rows, columns = ceil(height * middle / patch), ceil(width * middle / patch)
        low, high = (middle, high) if rows * columns <= most else (low, middle)
    return max(1, ceil(height * low / patch)), max(1, ceil(width * low / patch))


@final
class NaflexExtractor(AlignedExtractor):
    """SigLIP 2 that keeps a picture's proportions."""

    outputs = ("projected", "pooled")
    merges = False  # positions and masks are each picture's own
    any_size = True

    def __init__(self, spec: ExtractorSpec, run: RunConfig) -> None:
        """With the number of patches, which its preprocessor file says."""
        super().__init__(spec, run)
        file = read_preprocessor(self.checkpoint.path, "image_processor") or {}
        self.most = whole_number(file, "max_num_patches", 256)

    @property
    def available_outputs(self) -> tuple[str, ...]:
        """Some vision halves of larger models have no head."""
        return self.outputs if self.tower.get("vision_use_head", True) else self.outputs[1:]

    @property
    def architecture(self) -> Architecture:
        return Architecture("Siglip2VisionModel")

    @property
    def patch(self) -> int:
        """Side of a patch, pixels."""
        return whole_number(self.tower, "patch_size", 16)

    @property
    def usual_recipe(self) -> ImageRecipe:
        """To -1 … 1; the size here is that of a square picture, and frames come no smaller."""
        side = self.patch * isqrt(whole_number(self.tower, "num_patches", 256))
        return ImageRecipe(resize=(side, side), crop=None, resample=BILINEAR, mean=HALVES, std=HALVES)

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {**super().parameters, "patches": self.most}

    def prepare(self, items: Sequence[NDArray[Any]]) -> dict[str, Tensor]:
        """{"levels": (B, N, 3, P, P) uint8, "grid": (B, 2) rows and columns}; patches beyond the grid are zero."""
        import torch

        from features.extractors.pretrained.image_preprocessing import resize_picture

        levels = torch.zeros((len(items), self.most, 3, self.patch, self.patch), dtype=torch.uint8)
        grid = [grid_of(picture.shape[0], picture.shape[1], self.patch, self.most) for picture in items]
        for place, (picture, (rows, columns)) in enumerate(zip(items, grid)):
            pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
            resized = resize_picture(pixels, (rows * self.patch, columns * self.patch), self.recipe)
            patches = resized.unflatten(1, (rows, self.patch)).unflatten(3, (columns, self.patch))  # 3, r, P, c, P
            levels[place, : rows * columns] = patches.permute(1, 3, 0, 2, 4).flatten(0, 1)
        return {"levels": levels, "grid": torch.tensor(grid)}

    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        import torch

        grid = inputs["grid"]
        patches = self.pixels(model, inputs).permute(0, 1, 3, 4, 2).flatten(2)  # (B, N, P P 3)
        real = torch.arange(self.most, device=grid.device) < grid.prod(1, keepdim=True)
        seen = model(pixel_values=patches, pixel_attention_mask=real.int(), spatial_shapes=grid)
        if self.output == "projected":
            row: Tensor = seen.pooler_output
            return row
        from features.extractors.pretrained.runner import mean_token

        return mean_token(seen.last_hidden_state, real.int())
