"""A gif, jpg, png or webp image as one clip of zero length. Only needs for single frames are met.

Pillow reads the header first, so that a giant is refused before OpenCV decodes it. The EXIF orientation is
applied; transparent parts become white. Of a damaged image what can be decoded is kept.
"""

from __future__ import annotations

import io
import os
import re
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from features.errors import MediaError
from features.media.clip import DEGRADED, OK, Clip, FrameNeed, Frames, Need, SourceFacts, Span
from features.media.container import check_file
from features.media.frames import Orientation, scaled_size
from features.media.library import DEFAULT_LIMITS, Limits

# Not Image.open: its size limit is a setting of the whole program, and Limits decides here.
KINDS: dict[str, type[ImageFile]] = {"jpeg": JpegImageFile, "png": PngImageFile, "webp": WebPImageFile}
KINDS |= {"gif": GifImageFile}
# what Pillow raises on damaged files
BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, Image.DecompressionBombError)
END, GIF_END = b"\xff\xd9", b";"  # of a jpg, and of a gif, which a little may follow
# libjpeg's warnings of damage; a few bytes that nothing reads before the end are a habit of cameras
HURT = re.compile(r"Corrupt JPEG data: (?!\d extraneous bytes before marker 0xd9)|Premature end")
BLOCK = 256  # rows laid on white at once


def open_image(data: bytes, limits: Limits) -> tuple[str, ImageFile]:
    """Its kind and its header; raises MediaError where it is of none, or of too many pixels."""
    for kind, opened in KINDS.items():
        try:
            image = opened(io.BytesIO(data))
        except BROKEN:
            continue
        limits.check_pixels(*image.size)
        return kind, image
    raise MediaError("not a gif, jpg, png or webp image, or cut short or damaged at its beginning")


def on_white(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3) RGB."""
    if image.has_transparency_data:
        return _on_white(np.asarray(image.convert("RGBA"))[..., [2, 1, 0, 3]])
    return np.asarray(image.convert("RGB"))


def read_image(path: Path, video: str, needs: Sequence[Need], limits: Limits = DEFAULT_LIMITS) -> Clip:
    """The one clip of an image; a need for windows of frames, or for sound, has no entry in it."""
    check_file(path)
    data = path.read_bytes()
    kind, header = open_image(data, limits)
    orientation, transparent = _orientation(header), header.has_transparency_data
    damaged = _damaged(kind, data, header)
    del header  # webp's holds whole pictures
    with _warnings() as warned:
        image = _decoded(data + END * (damaged and kind == "jpeg"), transparent) if kind != "gif" else None
    damaged = damaged or HURT.search(warned.getvalue().decode(errors="replace")) is not None
    if image is None:
        image, in_part = _partly_decoded(data, limits)
        damaged = damaged or in_part
    wanted = dict.fromkeys(need for need in needs if isinstance(need, FrameNeed) and need.window == 1)
    by_size = {size: orientation.upright(_scaled(image, size)) for size in {need.size for need in wanted}}
    frames = {need: Frames(pixels=by_size[need.size][None], times=np.zeros(1)) for need in wanted}
    span = Span(clip_id=video, video=video, start_s=0.0, end_s=0.0)
    height, width = image.shape[1::-1] if orientation.transposed else image.shape[:2]
    source = SourceFacts(file_seconds=0.0, width=width, height=height, video_codec=kind)
    verdict, note = (DEGRADED, "damaged: a part of the image cannot be decoded") if damaged else (OK, "")
    return Clip(span=span, reader="image", frames=frames, verdict=verdict, note=note, source=source)


def _orientation(header: ImageFile) -> Orientation:
    try:
        number = Image.Image.getexif(header).get(0x0112, 1)  # that of a png would decode it
    except BROKEN:
        number = 1
    bottom_up, right_to_left = number in (3, 4, 7, 8), number in (2, 3, 6, 7)
    return Orientation(transposed=number in (5, 6, 7, 8), bottom_up=bottom_up, right_to_left=right_to_left)


def _decoded(data: bytes, transparent: bool) -> NDArray[np.uint8] | None:
    """(H, W, 3) RGB, as stored; None where OpenCV cannot."""
    stored = np.frombuffer(data, np.uint8)
    try:
        if transparent:
            image = cv2.imdecode(stored, cv2.IMREAD_UNCHANGED)
            if image is None or image.shape[2:] == (4,):
                return image if image is None else _on_white(image)
        image = cv2.imdecode(stored, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        return None
    return cast("NDArray[np.uint8] | None", image)


def _damaged(kind: str, data: bytes, header: ImageFile) -> bool:
    """Whether an image lacks its end, or a png has bad data, which decoders paint over; the header is used up."""
    if kind == "jpeg":
        return END not in data[cast("IO[bytes]", header.fp).tell() :]
    if kind == "png":
        try:
            header.verify()
        except BROKEN:
            return True
    return kind == "gif" and GIF_END not in data[-16:]


@contextmanager
def _warnings() -> Iterator[io.BytesIO]:
    """What is written to stderr meanwhile: libjpeg's warnings, which OpenCV gives nowhere else."""
    warned = io.BytesIO()
    with tempfile.TemporaryFile() as file:
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield warned
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            warned.write(file.read())


def _partly_decoded(data: bytes, limits: Limits) -> tuple[NDArray[np.uint8], bool]:
    """(H, W, 3) RGB, as stored, as far as Pillow decodes it, and whether that is not all; raises MediaError."""
    _, image = open_image(data, limits)
    damaged, pixels = False, None
    try:
        image.load()
    except BROKEN:
        damaged, image.tile = True, []  # with nothing left to do, it gives what it has
    with suppress(*BROKEN, AttributeError):
        pixels = on_white(image)
    if pixels is None or (damaged and not pixels.any()):
        raise MediaError("damaged: the image cannot be decoded")
    return pixels, damaged


def _on_white(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """(H, W, 4) BGRA of 8 or 16 bits -> (H, W, 3) RGB."""
    laid = np.empty((*image.shape[:2], 3), np.uint8)
    for start in range(0, len(image), BLOCK):  # a large image as floats would not fit
        unit = image[start : start + BLOCK].astype(np.float32) / (255 if image.dtype == np.uint8 else 65535)
        colour, alpha = unit[..., 2::-1], unit[..., 3:]
        laid[start : start + BLOCK] = np.rint(255 * (colour * alpha + 1 - alpha)).astype(np.uint8)
    return laid


def _scaled(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = scaled_size(image.shape[0], image.shape[1], size)
    way = cv2.INTER_AREA if height * width < image.shape[0] * image.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=way), np.uint8)
