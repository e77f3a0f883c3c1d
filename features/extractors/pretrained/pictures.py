"""Pictures: frames, or windows of frames, as a vision model reads them, by the recipe of its preprocessor file.

    key                         means                                        where the file omits it
    size                        {"shortest_edge": n}: in proportion          the family's
                                {"height": n, "width": n}: squeezed
                                n: one of the two, by family
    crop_size                   {"height": n, "width": n} or n: the middle   the model's image_size
    resample                    Pillow's code: 0 nearest, 2 bilinear,        the family's
                                3 bicubic (1 Lanczos as 3; 4, 5 as 2)
    rescale_factor              of the levels 0 … 255                        1 / 255
    image_mean, image_std       of the rescaled, red, green, blue            the family's
    do_resize, do_center_crop, do_rescale, do_normalize                      the family's

    items ([F,] H, W, 3) uint8 --prepare--> levels (B, [F,] 3, h, w) uint8 --finish--> pixels, the same, normalised

Windows follow one another without overlap (stride= says otherwise), and the last ends with the clip; a clip
shorter than a window repeats its last frame; a still image or a single frame has no motion. Nothing here imports
torch: features.extractors.pretrained.image_preprocessing follows the recipe.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any, final

from numpy.typing import NDArray

from features.errors import InputError
from features.extractors.pretrained.checkpoint import read_preprocessor, whole_number
from features.extractors.pretrained.extractor import (
    Inputs,
    ModelConfig,
    Rows,
    check_options,
    positive_option,
)
from features.media import Clip, FrameNeed

if TYPE_CHECKING:
    from torch import Tensor

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


@final
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
    """The middle of pictures that keep their proportions.

    Args:
        resample: how pixels are interpolated.
        colours: mean and standard deviation.
        shape: of the middle; None: the model's own.
        short_side: the whole picture's, if the middle's short side is 224; else in proportion.
    """
    mean, std = colours

    def usual(own: Shape) -> ImageRecipe:
        crop = shape or own
        resize = int(min(crop) * short_side / 224)
        return ImageRecipe(resize=resize, crop=crop, resample=resample, mean=mean, std=std)

    return usual


def follow(file: Mapping[str, Any], usual: ImageRecipe, image_size: Shape, square: bool = False) -> ImageRecipe:
    """The recipe of a preprocessor file.

    Args:
        file: its content.
        usual: what is taken where the file omits something.
        image_size: what the model is made for, and what a crop without a size cuts out.
        square: whether a plain number as size means height and width.

    Raises:
        TypeError, ValueError: the file makes no sense.
    """
    given: dict[str, Any] = {key: value for key, value in file.items() if value is not None}
    resize = _size(given["size"], square) if "size" in given else usual.resize
    crop = height_and_width(given["crop_size"]) if "crop_size" in given else usual.crop or image_size
    normalise = given.get("do_normalize", True)
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


@final
class Pictures(Inputs):
    """One item a frame, or a window of frames."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        usual: Usual,
        fps: float = 2.0,
        window: Callable[[ModelConfig], int] | None = None,
        options: tuple[str, ...] = (),
        side: tuple[str, int] = ("image_size", 224),
        square: bool = False,
        any_size: bool = False,
        patches: bool = False,
    ) -> None:
        """Read how pictures are made.

        Args:
            config: of the model.
            usual: how pictures are made where the checkpoint's files do not say it.
            fps: frames a second, unless the word says otherwise.
            window: frames an item; None: one, without an axis of frames.
            options: of the word, beside the usual ones.
            side: key of config.json with the pictures' size, and its default.
            square: whether a plain number as size means height and width.
            any_size: whether the model reads pictures of other sizes than its own.
            patches: whether a picture keeps its proportions and becomes a list of patches (SigLIP 2 NaFlex).
        """
        spec = config.spec
        check_options(spec, ("output", "merge", "fps", *(("stride",) if window else ()), *options))
        try:
            own = height_and_width(config.tower.get(*side))
        except ValueError as error:
            raise InputError(f"'{spec.source}': config.json: {side[0]}: {error}") from error
        self.patch = whole_number(config.tower, "patch_size", 16) if patches else 0
        if patches:
            own = (self.patch * isqrt(whole_number(config.tower, "num_patches", 256)),) * 2
        kinds = ("image_processor",) if window is None else ("video_processor", "image_processor")
        file = read_preprocessor(config.folder, *kinds)
        if file is None:
            log.info("%s has no preprocessor file; the usual one of its kind of model is assumed", config.folder)
        try:
            self.recipe = follow(file or {}, usual(own), own, square=square)
        except (TypeError, ValueError) as error:
            raise InputError(f"{config.folder}: its preprocessor file cannot be followed: {error}") from error
        if self.recipe.shape != own and not any_size:
            made, read = (f"{height}x{width}" for height, width in (self.recipe.shape, own))
            raise InputError(
                f"'{spec.source}': its preprocessor file makes pictures of {made} pixels, its config.json says "
                f"that the model reads {read}"
            )
        self.parameters = {"pictures": asdict(self.recipe)}
        if patches:
            self.most = whole_number(file or {}, "max_num_patches", 256)
            self.parameters["patches"] = self.most
        fps = positive_option(spec, "fps", fps)
        self.modality = "motion" if window else "appearance"
        frames = window(config) if window else 1
        stride = positive_option(spec, "stride", frames)
        self.need = FrameNeed(fps=fps, size=self.recipe.short_side, window=frames, stride=stride)
        self.windows = window is not None

    def rows(self, clip: Clip) -> Rows | None:
        """One item a frame, or a window; None where the clip has no picture, or fewer than two for windows."""
        frames = clip.frames.get(self.need)
        if frames is None:
            return None
        if not self.windows:
            return Rows(list(frames.pixels), frames.times)
        if len(frames.pixels) < 2:
            return None
        windows = self.need.windows(len(frames.pixels))
        return Rows([frames.pixels[window] for window in windows], frames.times[windows].mean(1))

    def prepare(self, items: Sequence[NDArray[Any]]) -> dict[str, Tensor]:
        """{"pixels": (B, [F,] 3, h, w) uint8}.

        As patches {"pixels": (B, N, 3, P, P) uint8, "grid": (B, 2) rows and columns}.
        """
        from features.extractors.pretrained.image_preprocessing import cut_patches, cut_pictures

        if self.patch:
            levels, grid = cut_patches(items, self.recipe, self.patch, self.most)
            return {"pixels": levels, "grid": grid}
        if not self.windows:
            return {"pixels": cut_pictures(items, self.recipe)}
        levels = cut_pictures([picture for window in items for picture in window], self.recipe)
        return {"pixels": levels.unflatten(0, (len(items), -1))}

    def finish(self, prepared: Mapping[str, Tensor], dtype: Any) -> Mapping[str, Tensor]:
        """The same, its pixels normalised."""
        from features.extractors.pretrained.image_preprocessing import normalise

        return {**prepared, "pixels": normalise(prepared["pixels"], self.recipe).to(dtype)}
