"""ImageReader: a still image as one clip without length. Only needs for single frames are met.

The EXIF orientation is applied. Transparent parts are laid on white (such an image is taken as stored:
its orientation tag, hardly ever there, is not applied).

Width and height of a still image, read from its header so that a giant is refused before decoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from features.errors import MediaError
from features.media.clip import Clip, FrameNeed, Frames, Need, SourceFacts, Span
from features.media.container import check_file
from features.media.cutting import Cutting
from features.media.limits import DEFAULT_LIMITS, Limits
from features.media.orientation import upright_size
from features.media.reader import Reader

_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start-of-frame markers
_JPEG_BARE = frozenset(range(0xD0, 0xDA)) | {0x01, 0xFF}  # markers without a length


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in stored pixels of a jpg, png or webp file.

    Raises:
        MediaError: it is none of these, or its header is damaged.
    """
    try:
        kind = image_kind(data)
        if not kind:
            raise MediaError("not a jpg, png or webp image")
        width, height = {"png": _png, "jpeg": _jpeg, "webp": _webp}[kind](data)
    except (struct.error, IndexError) as error:
        raise MediaError("cut short or damaged: the image has no size") from error
    return width, height


def image_kind(data: bytes) -> str:
    """ "jpeg", "png" or "webp"; empty for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8"):
        return "jpeg"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""


def _jpeg(data: bytes) -> tuple[int, int]:
    place = 2
    while True:
        marker = data[place + 1]
        if data[place] != 0xFF or marker == 0xFF:
            place += 1
        elif marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        elif marker in _JPEG_BARE:
            place += 2
        else:
            place += 2 + int(struct.unpack_from(">H", data, place + 2)[0])


def _png(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int(struct.unpack_from("<I", data, 21)[0])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


class ImageReader(Reader):
    """Reads jpg, png and webp with OpenCV."""

    name: ClassVar[str] = "image"

    def read(
        self, path: Path, video: str, needs: Sequence[Need], cutting: Cutting, limits: Limits = DEFAULT_LIMITS
    ) -> Iterator[Clip]:
        """The one clip; a need for windows of frames, or for sound, has no entry in it."""
        data = _content(path)
        image = decode_image(data, limits)
        wanted = dict.fromkeys(need for need in needs if isinstance(need, FrameNeed) and need.window == 1)
        by_size = {size: _scaled(image, size) for size in {need.size for need in wanted}}
        frames = {need: Frames(pixels=by_size[need.size][None], times=np.zeros(1)) for need in wanted}
        span = Span(clip_id=video, video=video, start_s=0.0, end_s=0.0)
        height, width = image.shape[:2]
        source = SourceFacts(file_seconds=0.0, width=width, height=height, video_codec=image_kind(data))
        yield Clip(span=span, reader=self.name, frames=frames, source=source)


def _content(path: Path) -> bytes:
    """The file's bytes; raises MediaError."""
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError("it cannot be read: " + (error.strerror or "unknown error").lower()) from error


def decode_image(data: bytes, limits: Limits) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, upright.

    Raises:
        MediaError: no image, damaged, or larger than the limits allow.
    """
    limits.check_pixels(*image_size(data))
    stored = np.frombuffer(data, np.uint8)
    try:
        image = cv2.imdecode(stored, cv2.IMREAD_UNCHANGED)
        if image is not None and image.ndim == 3 and image.shape[2] == 4:
            return _on_white(image)
        image = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        raise MediaError("damaged: the image cannot be decoded") from error
    if image is None:
        raise MediaError("damaged: the image cannot be decoded")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _on_white(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """(H, W, 4) BGRA of 8 or 16 bits -> (H, W, 3) RGB."""
    unit = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 65535)
    colour, alpha = unit[..., 2::-1], unit[..., 3:]
    return np.rint(255 * (colour * alpha + 1 - alpha)).astype(np.uint8)


def _scaled(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = upright_size(image.shape[1], image.shape[0], 1.0, False, size)
    shrinks = height * width < image.shape[0] * image.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=way), np.uint8)
