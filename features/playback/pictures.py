"""Small pictures of a moment as JPEGs, from key frames (features/media/key_frames.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from features.media import spread_pictures

QUALITY = 80


def thumbnail(path: Path, start_s: float, end_s: float, *, width: int = 320) -> bytes:
    """A JPEG of the key frame nearest to the middle of a span; without one in it, of its middle.

    Args:
        path: a video, an animation or a still image.
        start_s: seconds since the first picture.
        end_s: equal to ``start_s`` for a still.
        width: pixels that it is at most wide, and high.

    Raises:
        MediaError: the file cannot be read, or has no picture.
    """
    return _jpeg(spread_pictures(path, start_s, end_s, 1, width))


def film_strip(path: Path, start_s: float, end_s: float, *, count: int = 8, width: int = 160) -> bytes:
    """A JPEG of ``count`` pictures side by side, evenly spread over a span; else as `thumbnail`.

    ``width``: pixels that one of them is at most wide, and high.
    """
    return _jpeg(spread_pictures(path, start_s, end_s, count, width))


def _jpeg(pictures: Sequence[NDArray[np.uint8]]) -> bytes:
    _, encoded = cv2.imencode(".jpg", np.hstack(pictures)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return bytes(encoded)
