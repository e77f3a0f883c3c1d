"""Models that look at pictures, and of these the vision transformers: one row a sampled frame.

    items ([F,] H, W, 3) uint8 --prepare--> levels (B, [F,] 3, h, w) uint8 --pixels--> the same, normalised

How, is read from the checkpoint: features.extractors.pretrained.images. Windows of frames:
features.extractors.pretrained.video; towers with a text half: features.extractors.pretrained.aligned_vision.

    model_type               class (by default)                        pooled
    vit                      the class token's state, after the norm   mean of the patch tokens' states
    dinov2                   the same                                  the same
    dinov2_with_registers    the same                                  the same, register tokens left out
    dinov3_vit               the same                                  the same, register tokens left out

ViT: Dosovitskiy et al., arXiv 2010.11929. DINOv2: Oquab et al., arXiv 2304.07193; registers: Darcet et al., arXiv
2309.16588. DINOv3: Siméoni et al., arXiv 2508.10104.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

from numpy.typing import NDArray

from features.errors import InputError
from features.extractors.pretrained.base import ModelExtractor, Rows, positive_number
from features.extractors.pretrained.checkpoint import Architecture, whole_number
from features.extractors.pretrained.images import (
    BICUBIC,
    BILINEAR,
    HALVES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageRecipe,
    height_and_width,
    read_recipe,
)
from features.extractors.spec import ExtractorSpec, RunConfig
from features.media import Clip, FrameNeed, Need

if TYPE_CHECKING:
    from torch import Tensor

FPS = 2.0  # frames a second, by default


class PictureExtractor(ModelExtractor):
    """Abstract: a family says what it needs of a clip, and what of the model's states is the row."""

    usual_width: ClassVar[int] = 768  # of the states, where config.json is silent
    usual_side: ClassVar[int] = 224  # pixels, the same
    square: ClassVar[bool] = False  # whether a plain number as size means height and width
    side_key: ClassVar[str] = "image_size"  # of config.json
    any_size: ClassVar[bool] = False  # whether the model reads pictures of other sizes than its own

    def __init__(self, spec: ExtractorSpec, run: RunConfig) -> None:
        """Read how pictures are made."""
        super().__init__(spec, run)
        try:
            self.image_size = height_and_width(self.tower.get(self.side_key, self.usual_side))
        except ValueError as error:
            raise InputError(f"'{spec.source}': config.json: {self.side_key}: {error}") from error
        self.recipe = read_recipe(
            self.checkpoint.path,
            self.usual_recipe,
            self.image_size,
            videos=self.modality == "motion",
            square=self.square,
        )
        if self.recipe.shape != self.image_size and not self.any_size:
            raise InputError(
                f"'{spec.source}': its preprocessor file makes pictures of {_by(self.recipe.shape)} pixels, its "
                f"config.json says that the model reads {_by(self.image_size)}"
            )
        self.need = self.choose_need()

    @property
    def tower(self) -> Mapping[str, Any]:
        """The part of config.json that tells of the vision model."""
        return self.config

    @property
    def width(self) -> int:
        """Size of the vision model's states."""
        return whole_number(self.tower, "hidden_size", self.usual_width)

    @property
    @abstractmethod
    def usual_recipe(self) -> ImageRecipe:
        """How pictures are made where the checkpoint's files are silent."""

    @abstractmethod
    def choose_need(self) -> FrameNeed:
        """Which frames, at the recipe's short side."""

    @property
    def dim(self) -> int:
        return self.width

    @property
    def needs(self) -> tuple[Need, ...]:
        return (self.need,)

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {**super().parameters, "pictures": self.recipe.as_parameters()}

    def prepare(self, items: Sequence[NDArray[Any]]) -> dict[str, Tensor]:
        """{"levels": (B, 3, h, w) or (B, F, 3, h, w) uint8}."""
        from features.extractors.pretrained.image_preprocessing import cut_pictures

        if items[0].ndim == 3:
            return {"levels": cut_pictures(items, self.recipe)}
        levels = cut_pictures([picture for window in items for picture in window], self.recipe)
        return {"levels": levels.unflatten(0, (len(items), -1))}

    def pixels(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """(B, [F,] 3, h, w) normalised pictures in the model's float type: where `forward` begins."""
        from features.extractors.pretrained.image_preprocessing import normalise

        return normalise(inputs["levels"], self.recipe).to(model.dtype)


def _by(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"


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
        return ImageRecipe(resize=self.image_size, crop=None, resample=BILINEAR, mean=HALVES, std=HALVES)


@final
class DinoExtractor(TokenExtractor):
    """DINOv2, with registers or without: its positions are interpolated, so it reads pictures of any size."""

    merges = True
    any_size = True

    @property
    def architecture(self) -> Architecture:
        registers = self.config["model_type"] == "dinov2_with_registers"
        return Architecture("Dinov2WithRegistersModel" if registers else "Dinov2Model")

    @property
    def usual_recipe(self) -> ImageRecipe:
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
        return ImageRecipe(resize=(224, 224), crop=None, resample=BILINEAR, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @property
    def first_patch(self) -> int:
        """The class token and the registers, none unless config.json says otherwise."""
        return 1 + int(self.config.get("num_register_tokens", 0))
