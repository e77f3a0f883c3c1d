"""How a stored picture is turned and mirrored so that it is upright, and how large it becomes.

    [x']   [a c] [x]     (x, y): a stored pixel, y downwards; (x', y'): where it is shown. Quarter turns and
    [y'] = [b d] [y]     mirror images are followed; any other turn counts as the nearest of these.

Containers and codecs store this display matrix as nine numbers, a b u c d v x y w (ISO/IEC 14496-12, 8.3.2). The
short side of an upright frame is as asked, its long side in proportion, up to a cap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

LONGEST = 4  # times the short side; a longer picture is squeezed, so that memory stays bounded


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """Rows and columns change places first; then what is shown is mirrored."""

    transposed: bool = False
    bottom_up: bool = False
    right_to_left: bool = False

    def upright(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) stored pixels -> (H, W, 3), or (W, H, 3), as they are to be shown."""
        shown = stored.swapaxes(0, 1) if self.transposed else stored
        return shown[:: -1 if self.bottom_up else 1, :: -1 if self.right_to_left else 1]


def orientation(picture: VideoFrame) -> Orientation:
    """Of one decoded picture."""
    matrix = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(cast("Any", matrix)), np.int32, 5).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transposed=True, bottom_up=b < 0, right_to_left=c < 0)
    return Orientation(bottom_up=d < 0, right_to_left=a < 0)


def square_size(width: int, height: int, aspect: float, transposed: bool) -> tuple[float, float]:
    """Height and width, pixels, of a stored picture once it is upright, with square pixels, at its own height."""
    wide, high = width * aspect, float(height)
    return (wide, high) if transposed else (high, wide)


def upright_size(width: int, height: int, aspect: float, transposed: bool, size: int) -> tuple[int, int]:
    """Height and width, pixels, of a stored picture once it is upright, with square pixels, and scaled.

    Args:
        width: stored pixels a row.
        height: stored rows.
        aspect: width over height of one stored pixel.
        transposed: whether the upright picture stands on what is a stored column's side.
        size: short side asked for, pixels.
    """
    high, wide = square_size(width, height, aspect, transposed)
    scale = size / min(wide, high)
    cap = LONGEST * size
    return min(cap, max(size, round(high * scale))), min(cap, max(size, round(wide * scale)))
