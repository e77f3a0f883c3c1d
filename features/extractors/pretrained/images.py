"""ImageRecipe: how a checkpoint wants its pictures made, read from its preprocessor file.

    key                         means                                        where the file is silent
    size                        {"shortest_edge": n}: in proportion          the family's
                                {"height": n, "width": n}: squeezed
                                n: one of the two, by family
    crop_size                   {"height": n, "width": n} or n: the middle   the model's image_size
    resample                    Pillow's code: 0 nearest, 2 bilinear,        the family's
                                3 bicubic (1 Lanczos as 3; 4, 5 as 2)
    rescale_factor              of the levels 0 … 255                        1 / 255
    image_mean, image_std       of the rescaled, red, green, blue            the family's
    do_resize, do_center_crop, do_rescale, do_normalize                      the family's

Nothing here imports torch: features.extractors.pretrained.image_preprocessing follows the recipe.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from features.errors import InputError
from features.extractors.pretrained.checkpoint import read_preprocessor

log = logging.getLogger(__name__)

NEAREST, BILINEAR, BICUBIC = "nearest", "bilinear", "bicubic"
_RESAMPLE = {0: NEAREST, 1: BICUBIC, 2: BILINEAR, 3: BICUBIC, 4: BILINEAR, 5: BILINEAR}
_EXACT = (0, 2, 3)
MOST = 4096  # pixels

Triple = tuple[float, float, float]
HALVES: Triple = (0.5, 0.5, 0.5)
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)


@final
@dataclass(frozen=True, kw_only=True)
class ImageRecipe:
    """uint8 pictures -> resized -> middle cut out -> (x * scale - mean) / std. None leaves a step out."""

    resize: int | tuple[int, int] | None  # short side, or height and width
    crop: tuple[int, int] | None  # height and width
    resample: str
    mean: Triple
    std: Triple
    scale: float = 1 / 255

    def __post_init__(self) -> None:
        if self.crop is None and not isinstance(self.resize, tuple):
            raise ValueError(
                "pictures would keep their shapes and could not share a batch; set do_center_crop and crop_size "
                "there, or a size of height and width"
            )
        if min(self.std) <= 0:
            raise ValueError(f"image_std must be above 0, got {self.std}")

    @property
    def short_side(self) -> int:
        """Pixels to decode a frame's short side to: a resize in proportion then has nothing to do."""
        size = self.crop if self.resize is None else self.resize
        assert size is not None
        return size if isinstance(size, int) else min(size)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what comes out."""
        shape = self.resize if self.crop is None else self.crop
        assert isinstance(shape, tuple)  # by __post_init__
        return shape

    def as_parameters(self) -> Mapping[str, Any]:
        """For the fingerprint."""
        return asdict(self)


def read_recipe(
    folder: Path, family: ImageRecipe, image_size: tuple[int, int], *, videos: bool = False, square: bool = False
) -> ImageRecipe:
    """The recipe of a checkpoint.

    Args:
        folder: of the checkpoint.
        family: what counts where its files are silent.
        image_size: height and width that the model is made for: what a crop without a size cuts out.
        videos: whether a file for videos goes before one for pictures.
        square: whether a plain number as size means height and width.
    """
    kinds = ("video_processor", "image_processor") if videos else ("image_processor",)
    file = read_preprocessor(folder, *kinds)
    if file is None:
        log.info("%s has no preprocessor file; pictures are made as is usual for its kind of model", folder)
        return family
    try:
        return _recipe(file, family, image_size, square)
    except (TypeError, ValueError) as error:
        raise InputError(f"{folder}: its preprocessor file cannot be followed: {error}") from error


def _recipe(
    file: Mapping[str, Any], family: ImageRecipe, image_size: tuple[int, int], square: bool
) -> ImageRecipe:
    asked: dict[str, Any] = {key: value for key, value in file.items() if value is not None}
    resize = _size(asked["size"], square) if "size" in asked else family.resize
    crop = height_and_width(asked["crop_size"]) if "crop_size" in asked else family.crop or image_size
    normalise = asked.get("do_normalize", True)
    return ImageRecipe(
        resize=resize if asked.get("do_resize", True) else None,
        crop=crop if asked.get("do_center_crop", family.crop is not None) else None,
        resample=_filter(asked["resample"]) if "resample" in asked else family.resample,
        scale=float(asked.get("rescale_factor", family.scale)) if asked.get("do_rescale", True) else 1.0,
        mean=_triple(asked.get("image_mean", family.mean)) if normalise else (0.0, 0.0, 0.0),
        std=_triple(asked.get("image_std", family.std)) if normalise else (1.0, 1.0, 1.0),
    )


def _size(value: Any, square: bool) -> int | tuple[int, int]:
    if isinstance(value, Mapping):
        if "height" in value and "width" in value:
            return height_and_width(value)
        if set(value) != {"shortest_edge"}:
            raise ValueError(f"size must be height and width, or shortest_edge, got {dict(value)}")
        return _pixels(value["shortest_edge"])
    return height_and_width(value) if square or isinstance(value, list | tuple) else _pixels(value)


def height_and_width(value: Any) -> tuple[int, int]:
    """Of {"height": h, "width": w}, [h, w] or n."""
    if isinstance(value, Mapping):
        value = [value.get("height", value.get("shortest_edge")), value.get("width", value.get("shortest_edge"))]
    if not isinstance(value, list | tuple):
        value = [value, value]
    height, width = value
    return _pixels(height), _pixels(width)


def _pixels(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MOST:
        raise ValueError(f"a size must be a whole number of pixels from 1 to {MOST}, got {value!r}")
    return value


def _filter(code: Any) -> str:
    if code not in _RESAMPLE:
        raise ValueError(f"resample must be one of Pillow's codes 0 to 5, got {code!r}")
    if code not in _EXACT:
        log.info("its preprocessor asks for Pillow's filter %s; %s stands in for it", code, _RESAMPLE[code])
    return _RESAMPLE[code]


def _triple(value: Any) -> Triple:
    numbers = [float(number) for number in value]
    if len(numbers) != 3:
        raise ValueError(f"means and deviations are three numbers, of red, green and blue, got {value!r}")
    return (numbers[0], numbers[1], numbers[2])
