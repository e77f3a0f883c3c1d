"""Faces in an image: the windows that a cascade accepts, the face's mirror image among them.

    support(box, I) = how many accepted windows of I overlap box with intersection over union >= 1/2
    face  <=>  min(support(box, I), support(mirrored box, mirrored I)) >= SUPPORT

The cascade is scikit-image's, with the frontal-face file in its wheel: multi-scale block local binary
patterns (Liao et al., *Learning Multi-scale Block Local Binary Patterns for Face Recognition*, ICB 2007)
under boosted stages (Viola, Jones, *Robust Real-Time Face Detection*, IJCV 2004). One accepted window means
little: texture wins many by chance. A face wins them at many neighbouring places and sizes, and again in
the mirror, since a frontal face is nearly its own mirror image and the cascade is not.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade

SUPPORT = 8  # windows, on either side of the mirror
SMALLEST = 1 / 5  # of the image's short side
_SCALE = 1.05  # ratio of window sizes that follow each other
_OVERLAP = 0.5
_WINDOW = 24  # pixels the cascade was trained on; it sees nothing smaller
_LOOK_AGAIN = 0.75  # of a box's size: how far around it, and down to which size, the mirror is searched

Windows = NDArray[np.float64]  # (N, 3): left, top, size in pixels


class Face(NamedTuple):
    """A square box in pixels of the image, and its support."""

    left: float
    top: float
    size: float
    support: int


@cache
def _cascade() -> Any:
    file: str = lbp_frontal_face_cascade_filename()  # type: ignore[no-untyped-call]
    return Cascade(file)


def _accepted(grey: NDArray[np.uint8], smallest: float, largest: float) -> Windows:
    """Every square window that the cascade accepts, sizes in pixels."""
    low, high = max(_WINDOW, round(smallest)), min(min(grey.shape), round(largest))
    if low > high:
        return np.empty((0, 3))
    found = _cascade().detect_multi_scale(
        img=grey,
        scale_factor=_SCALE,
        step_ratio=1,
        min_size=(low, low),
        max_size=(high, high),
        min_neighbor_number=0,
        intersection_score_threshold=1.01,  # never reached: windows come back one by one
    )
    boxes = sorted((w["c"], w["r"], w["width"]) for w in found)  # built with OpenMP it returns them in any order
    return np.array(boxes, dtype=np.float64).reshape(-1, 3)


def _shared(windows: Windows, box: Windows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intersection of each window with the (3,) box: over their union, and over the smaller of the two."""
    corner = np.maximum(windows[:, :2], box[:2])
    end = np.minimum(windows[:, :2] + windows[:, 2:], box[:2] + box[2])
    common = np.clip(end - corner, 0, None).prod(1)
    union = windows[:, 2] ** 2 + box[2] ** 2 - common
    return common / union, common / np.minimum(windows[:, 2], box[2]) ** 2


def _clusters(windows: Windows) -> list[tuple[Windows, int]]:
    """Mean box and support of each group of windows, best supported first, none overlapping a better one."""
    groups = []
    while len(windows):
        near = np.stack([_shared(windows, window)[0] >= _OVERLAP for window in windows])
        best = near[near.sum(1).argmax()]
        box = windows[best].mean(0)
        groups.append((box, int(best.sum())))
        windows = windows[(_shared(windows, box)[1] < _OVERLAP) & ~best]
    return groups


def _mirror_support(grey: NDArray[np.uint8], box: Windows) -> int:
    """The box's support in the mirrored image; only its surroundings are searched."""
    left, top, size = box
    margin = _LOOK_AGAIN * size
    x, y = max(0, int(left - margin)), max(0, int(top - margin))
    part = grey[y : int(top + size + margin), x : int(left + size + margin)]
    windows = _accepted(np.ascontiguousarray(part[:, ::-1]), _LOOK_AGAIN * size, size / _LOOK_AGAIN)
    windows[:, 0] = x + part.shape[1] - windows[:, 0] - windows[:, 2]
    windows[:, 1] += y
    return int((_shared(windows, box)[0] >= _OVERLAP).sum())


def find_faces(image: NDArray[np.uint8]) -> list[Face]:
    """Large frontal faces, best supported first.

    Args:
        image: (H, W, 3) RGB. A short side of about 160 is right: thresholds are tuned for it, and time
            grows with the number of pixels.

    Returns:
        Boxes of at least a fifth of the short side, each with the smaller of its two supports.
    """
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    short = min(grey.shape)
    faces = []
    for box, support in _clusters(_accepted(grey, SMALLEST * short, short)):
        if support < SUPPORT:
            break
        support = min(support, _mirror_support(grey, box))
        if support >= SUPPORT:
            faces.append(Face(float(box[0]), float(box[1]), float(box[2]), support))
    return sorted(faces, key=lambda face: -face.support)
