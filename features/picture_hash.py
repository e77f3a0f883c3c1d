"""A perceptual hash of a picture: 128 bits, few of which change when it is re-encoded, scaled or slightly cropped.

    S = the picture's luma without black bars, shrunk to 32 x 32        (area means, whatever its shape was)
    C = DCT-II of S
    bit b = 1 where C[u_b, v_b] > 0,   (u_b, v_b): the 128 lowest frequencies by u^2 + v^2, without (0, 0)

Two pictures are as far apart as bits differ (Hamming distance): copies 0 to about 30, unrelated pictures 64 +- 6
(benchmarks/near_duplicates.py measures both). The idea is that of pHash's DCT hash (Zauner, Implementation and
Benchmarking of Perceptual Image Hash Functions, 2010); signs take the place of its comparison with the median, and
128 bits that of 64, which told small crops from other pictures less well when both were measured. It is written
here on OpenCV's DCT: OpenCV's own img_hash is in its contrib build only, and a library for a dozen lines that take
arrays, bars and black frames into account would save none of them.

What it does not see: a copy that is mirrored, cropped by a tenth at one side, or covered by a large logo. And
pages of text in one layout, such as the slides of a lecture, are as near as copies.

A picture of hardly any contrast (a fade, a black frame) has a hash that is mere noise: it is not `telling`.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from features.black_bars import without_bars

BITS = 128
WORDS = BITS // 64
SIDE = 32  # of the shrunken picture
LEAST_CONTRAST = 8.0  # standard deviation of the shrunken picture's luma, of 255

Hashes = NDArray[np.uint64]  # (T, WORDS)


def _lowest() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """u and v of the frequencies that count, (BITS,) each."""
    u, v = (axis.ravel() for axis in np.indices((SIDE, SIDE)))
    order = np.lexsort((v, u, u**2 + v**2))[1 : BITS + 1]
    return u[order], v[order]


_U, _V = _lowest()


def picture_hashes(frames: NDArray[np.uint8]) -> tuple[Hashes, NDArray[np.bool_]]:
    """Hash the frames of one clip; its black bars are found in all of them together.

    Args:
        frames: (T, H, W, 3) RGB, upright, T at least 1.

    Returns:
        (T, WORDS) uint64 hashes, and (T,) whether each frame has contrast enough for its hash to tell anything.
    """
    luma = without_bars(np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]))
    small = np.stack([_shrunk(picture) for picture in luma])
    signs = np.stack([cv2.dct(picture)[_U, _V] > 0 for picture in small])
    telling = small.std(axis=(1, 2)) >= LEAST_CONTRAST
    return np.packbits(signs, axis=1).view(np.uint64), telling


def _shrunk(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    picture = cv2.resize(np.ascontiguousarray(luma), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(picture, np.float32)
