"""ImageRecipe: how a checkpoint's pictures are made, read from its preprocessor file.

    key                         means                                        where the file omits it
    size                        {"shortest_edge": n}: in proportion          the family's
                                {"height": n, "width": n}: squeezed
                                n: one of the two, by family
    crop_size                   {"height": n, "width": n} or n: the middle   the model's image_size
    crop_pct                    shortest_edge / crop_pct before the middle   ConvNeXt's and LeViT's: 224 / 256
    resample                    Pillow's code: 0 nearest, 2 bilinear,        the family's
                                3 bicubic (1 Lanczos as 3; 4, 5 as 2)
    rescale_factor              of the levels 0 … 255                        1 / 255
    image_mean, image_std       of the rescaled, red, green, blue            the family's
    do_resize, do_center_crop, do_rescale, do_normalize                      the family's

Nothing here imports torch: features.extractors.pretrained.image_preprocessing follows the recipe.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

NEAREST, BILINEAR, BICUBIC = "nearest", "bilinear", "bicubic"
_RESAMPLE = {0: NEAREST, 1: BICUBIC, 2: BILINEAR, 3: BICUBIC, 4: BILINEAR, 5: BILINEAR}
_EXACT = (0, 2, 3)
LARGEST = 4096  # pixels

Triple = tuple[float, float, float]
Shape = tuple[int, int]  # height and width
# mean and standard deviation of red, green and blue
HALVES: tuple[Triple, Triple] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP: tuple[Triple, Triple] = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True, kw_only=True)
class ImageRecipe:
    """uint8 pictures -> resized -> middle cut out -> (x * scale - mean) / std. None leaves a step out."""

    resize: int | Shape | None  # short side, or height and width
    crop: Shape | None
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
    def shape(self) -> Shape:
        """Of the result."""
        shape = self.resize if self.crop is None else self.crop
        assert isinstance(shape, tuple)  # by __post_init__
        return shape


Usual = Callable[[Shape], ImageRecipe]  # of the model's image size: how its family's pictures are usually made


def squeezed(resample: str, colours: tuple[Triple, Triple], shape: Shape | None = None) -> Usual:
    """Pictures resized to one shape, the model's own unless given, whatever theirs was."""
    mean, std = colours
    return lambda own: ImageRecipe(resize=shape or own, crop=None, resample=resample, mean=mean, std=std)


def cropped(
    resample: str, colours: tuple[Triple, Triple], shape: Shape | None = None, short_side: int = 224
) -> Usual:
    """The middle, of the model's own shape unless given, of pictures that keep their proportions.

    ``short_side``: the whole picture's, if the middle's short side is 224; else in proportion.
    """
    mean, std = colours

    def usual(own: Shape) -> ImageRecipe:
        crop = shape or own
        resize = int(min(crop) * short_side / 224)
        return ImageRecipe(resize=resize, crop=crop, resample=resample, mean=mean, std=std)

    return usual


def follow(file: Mapping[str, Any], usual: ImageRecipe, image_size: Shape, square: bool = False) -> ImageRecipe:
    """The recipe of a preprocessor file; raises TypeError or ValueError where it makes no sense.

    ``usual`` stands for what the file omits, ``image_size`` (that of the model) for a crop without a size;
    ``square``: whether a plain number as size means height and width.
    """
    given: dict[str, Any] = {key: value for key, value in file.items() if value is not None}
    resize = _size(given["size"], square) if "size" in given else usual.resize
    crop = height_and_width(given["crop_size"]) if "crop_size" in given else usual.crop or image_size
    normalise = given.get("do_normalize", True)
    if other := [key for key in ("rescale_offset", "include_top", "offset") if given.get(key)]:
        raise ValueError(f"it sets {other[0]}, which is not supported")
    kind = str(given.get("image_processor_type", given.get("feature_extractor_type")))
    share = given.get("crop_pct", 224 / 256 if kind.startswith(("ConvNext", "Levit")) else None)
    if share and isinstance(resize, int):
        crop = (resize, resize)
        resize = _pixels(int(resize / share)) if resize < 384 else crop  # large ones are squeezed
    return ImageRecipe(
        resize=resize if given.get("do_resize", True) else None,
        crop=crop if given.get("do_center_crop", usual.crop is not None) else None,
        resample=_filter(given["resample"]) if "resample" in given else usual.resample,
        scale=float(given.get("rescale_factor", usual.scale)) if given.get("do_rescale", True) else 1.0,
        mean=_triple(given.get("image_mean", usual.mean)) if normalise else (0.0, 0.0, 0.0),
        std=_triple(given.get("image_std", usual.std)) if normalise else (1.0, 1.0, 1.0),
    )


def _size(value: Any, square: bool) -> int | Shape:
    if isinstance(value, Mapping):
        if "height" in value and "width" in value:
            return height_and_width(value)
        if set(value) != {"shortest_edge"}:
            raise ValueError(f"size must be height and width, or shortest_edge, got {dict(value)}")
        return _pixels(value["shortest_edge"])
    return height_and_width(value) if square or isinstance(value, list | tuple) else _pixels(value)


def height_and_width(value: Any) -> Shape:
    """Of {"height": h, "width": w}, [h, w] or n."""
    if isinstance(value, Mapping):
        value = [value.get("height", value.get("shortest_edge")), value.get("width", value.get("shortest_edge"))]
    if not isinstance(value, list | tuple):
        value = [value, value]
    height, width = value
    return _pixels(height), _pixels(width)


def _pixels(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST:
        raise ValueError(f"a size must be a whole number of pixels from 1 to {LARGEST}, got {value!r}")
    return value


def _filter(code: Any) -> str:
    if code not in _RESAMPLE:
        raise ValueError(f"resample must be one of Pillow's codes 0 to 5, got {code!r}")
    if code not in _EXACT:
        log.info("its preprocessor file names Pillow's filter %s; %s is used instead", code, _RESAMPLE[code])
    return _RESAMPLE[code]


def _triple(value: Any) -> Triple:
    numbers = [float(number) for number in value]
    if len(numbers) != 3:
        raise ValueError(f"means and deviations are three numbers, of red, green and blue, got {value!r}")
    return (numbers[0], numbers[1], numbers[2])
