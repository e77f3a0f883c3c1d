"""A jpg, png or webp image as one clip of zero length. Only needs for single frames are met.

Pillow reads the header first, so that a giant is refused before OpenCV decodes it. The EXIF orientation is
applied, but not to images with transparency, which hardly ever have one. Transparent parts become white.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from features.errors import MediaError
from features.media.clip import Clip, FrameNeed, Frames, Need, SourceFacts, Span
from features.media.container import check_file
from features.media.frames import scaled_size
from features.media.library import DEFAULT_LIMITS, Limits

# Not Image.open: its size limit is a setting of the whole program, and Limits decides here.
KINDS: dict[str, type[ImageFile]] = {"jpeg": JpegImageFile, "png": PngImageFile, "webp": WebPImageFile}


def image_kind(data: bytes, limits: Limits) -> str:
    """ "jpeg", "png" or "webp", by the header; raises MediaError where it is none, or of too many pixels."""
    for kind, opened in KINDS.items():
        try:
            with opened(io.BytesIO(data)) as image:
                width, height = image.size
        except (OSError, ValueError, SyntaxError):
            continue
        limits.check_pixels(width, height)
        return kind
    raise MediaError("not a jpg, png or webp image, or cut short or damaged at its beginning")


def read_image(path: Path, video: str, needs: Sequence[Need], limits: Limits = DEFAULT_LIMITS) -> Clip:
    """The one clip of an image; a need for windows of frames, or for sound, has no entry in it."""
    check_file(path)
    data = path.read_bytes()
    kind = image_kind(data, limits)
    image = _decoded(data)
    wanted = dict.fromkeys(need for need in needs if isinstance(need, FrameNeed) and need.window == 1)
    by_size = {size: _scaled(image, size) for size in {need.size for need in wanted}}
    frames = {need: Frames(pixels=by_size[need.size][None], times=np.zeros(1)) for need in wanted}
    span = Span(clip_id=video, video=video, start_s=0.0, end_s=0.0)
    height, width = image.shape[:2]
    source = SourceFacts(file_seconds=0.0, width=width, height=height, video_codec=kind)
    return Clip(span=span, reader="image", frames=frames, source=source)


def _decoded(data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, upright; raises MediaError."""
    stored = np.frombuffer(data, np.uint8)
    try:
        image = cv2.imdecode(stored, cv2.IMREAD_UNCHANGED)
        if image is not None and image.ndim == 3 and image.shape[2] == 4:
            return _on_white(image)
        image = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        image = None
    if image is None:
        raise MediaError("damaged: the image cannot be decoded")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _on_white(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """(H, W, 4) BGRA of 8 or 16 bits -> (H, W, 3) RGB."""
    unit = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 65535)
    colour, alpha = unit[..., 2::-1], unit[..., 3:]
    return np.rint(255 * (colour * alpha + 1 - alpha)).astype(np.uint8)


def _scaled(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = scaled_size(image.shape[0], image.shape[1], size)
    way = cv2.INTER_AREA if height * width < image.shape[0] * image.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=way), np.uint8)
