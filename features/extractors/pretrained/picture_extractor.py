"""What the families that look at pictures have in common, single frames and windows of frames alike.

    items ([F,] H, W, 3) uint8 --prepare--> levels (B, [F,] 3, h, w) uint8 --pixels--> the same, normalised

The recipe, read from the checkpoint, says how: features.extractors.pretrained.images.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from features.errors import InputError
from features.extractors.pretrained.base import ModelExtractor
from features.extractors.pretrained.checkpoint import whole_number
from features.extractors.pretrained.images import ImageRecipe, height_and_width, read_recipe
from features.extractors.spec import ExtractorSpec, RunConfig
from features.media.clip import FrameNeed, Need

if TYPE_CHECKING:
    from torch import Tensor


class PictureExtractor(ModelExtractor):
    """Abstract: a family says what it needs of a clip, and what of the model's states is the row."""

    usual_width: ClassVar[int] = 768  # of the states, where config.json is silent
    usual_side: ClassVar[int] = 224  # pixels, the same
    square: ClassVar[bool] = False  # whether a plain number as size means height and width
    any_size: ClassVar[bool] = False  # whether the model reads pictures of other sizes than its own

    def __init__(self, spec: ExtractorSpec, run: RunConfig) -> None:
        """Read how pictures are made.

        Raises:
            InputError: the checkpoint's files are damaged or contradict each other, or an option is wrong.
        """
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

    side_key: ClassVar[str] = "image_size"

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
        """Size of the states; families with a projection say otherwise."""
        return self.width

    @property
    def needs(self) -> tuple[Need, ...]:
        """One need: frames, or windows of frames."""
        return (self.need,)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """With how pictures are made."""
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
