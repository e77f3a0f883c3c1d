"""Face: the large frontal faces of a clip, one row a face a sampled frame.

    row = [ LBP histograms of 4x4 parts of the face | colours of 4x4 parts of the head | place ]

LBP compares each pixel of the grey face, cut by its box and scaled to 64 x 64, with its 8 neighbours; the
58 patterns with at most two changes around the circle have a bin each, the rest share one (Ahonen, Hadid,
Pietikainen, *Face Description with Local Binary Patterns*, PAMI 2006). The head is twice the face's box:
hair, hat, beard and collar show in its colours. Histograms are square-rooted shares. Place is the box's
centre and size in shares of the frame's width, height and short side.

Faces are found by the windows that a cascade accepts, in the image and in its mirror image:

    support(box, I) = how many accepted windows of I overlap box with intersection over union >= 1/2
    face  <=>  min(support(box, I), support(mirrored box, mirrored I)) >= SUPPORT

The cascade is scikit-image's, with the frontal-face file in its wheel: multi-scale block local binary
patterns (Liao et al., *Learning Multi-scale Block Local Binary Patterns for Face Recognition*, ICB 2007)
under boosted stages (Viola, Jones, *Robust Real-Time Face Detection*, IJCV 2004). It accepts many single
windows of texture by chance, but faces at many neighbouring places and sizes, and again in the mirror, since
a frontal face is nearly its own mirror image and the cascade is not.

Only one window in nine is tried everywhere: a third of the sizes, at longer steps. Where it is accepted in a
frame, or in the sampled frame before or after, all windows around it count. A face counts when a second sampled
frame shows one too, of much the same size; where only one frame was sampled; or where its support is high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, final

import cv2
import numpy as np
from numpy.typing import NDArray

from features.extractors.base import Extractor, Stream
from features.extractors.builtin.histograms import COLOURS, cell_numbers, colour_shares, hellinger
from features.media import Clip, FrameNeed, Frames

SUPPORT = 6  # windows, on either side of the mirror
SMALLEST = 1 / 5  # of the image's short side
# ratio of window sizes that follow each other, and the step in 24ths of a window
_COARSE, _FINE = (1.15, 1.75), (1.05, 1.0)
_OVERLAP = 0.5
_WINDOW = 24  # pixels the cascade was trained on; it finds nothing smaller
_AROUND = 0.35  # of a box's size: how far around it windows are counted
_RESIZED = 0.8  # of a box's size: down to which size
_AT_ONCE = 256  # windows compared with all: a picture made for it may have thousands

Windows = NDArray[np.float64]  # (N, 3): left, top, size in pixels


class Face(NamedTuple):
    """A square box in pixels of the image, and its support."""

    left: float
    top: float
    size: float
    support: int


@cache
def _cascade() -> Any:
    from skimage.data import lbp_frontal_face_cascade_filename  # scipy with it: only workers need them
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]


def _accepted(grey: NDArray[np.uint8], smallest: float, largest: float, grid: tuple[float, float]) -> Windows:
    """The square windows that the cascade accepts, sizes in pixels, of those that a grid has."""
    low, high = max(_WINDOW, round(smallest)), min(min(grey.shape), round(largest))
    if low > high:
        return np.empty((0, 3))
    found = _cascade().detect_multi_scale(
        img=grey,
        scale_factor=grid[0],
        step_ratio=grid[1],
        min_size=(low, low),
        max_size=(high, high),
        min_neighbor_number=0,
        intersection_score_threshold=1.01,  # never reached: windows come back one by one
    )
    boxes = sorted((w["c"], w["r"], w["width"]) for w in found)  # built with OpenMP it returns them in any order
    return np.array(boxes, dtype=np.float64).reshape(-1, 3)


def _shared(windows: Windows, boxes: Windows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, B) intersections of windows with (B, 3) boxes: over their union, and over the smaller of the two."""
    windows = windows[:, None]
    corner = np.maximum(windows[..., :2], boxes[:, :2])
    end = np.minimum(windows[..., :2] + windows[..., 2:], boxes[:, :2] + boxes[:, 2:])
    common = np.clip(end - corner, 0, None).prod(-1)
    union = windows[..., 2] ** 2 + boxes[:, 2] ** 2 - common
    return common / union, common / np.minimum(windows[..., 2], boxes[:, 2]) ** 2


def _clusters(windows: Windows) -> list[tuple[Windows, int]]:
    """Mean box and support of each group of windows, best supported first, none overlapping a better one."""
    groups = []
    while len(windows):
        parts = (windows[k : k + _AT_ONCE] for k in range(0, len(windows), _AT_ONCE))
        near = np.concatenate([_shared(part, windows)[0] >= _OVERLAP for part in parts])
        best = near[near.sum(1).argmax()]
        box = windows[best].mean(0)
        groups.append((box, int(best.sum())))
        windows = windows[(_shared(windows, box[None])[1][:, 0] < _OVERLAP) & ~best]
    return groups


def _around(grey: NDArray[np.uint8], box: Windows, mirrored: bool = False) -> Windows:
    """Every window around a (3,) box that the cascade accepts in the image, or in its mirror image."""
    left, top, size = box
    margin = _AROUND * size
    x, y = max(0, int(left - margin)), max(0, int(top - margin))
    part = grey[y : int(top + size + margin), x : int(left + size + margin)]
    flipped = np.ascontiguousarray(part[:, ::-1]) if mirrored else part
    smallest = _RESIZED * size if mirrored else max(_RESIZED * size, SMALLEST * min(grey.shape))
    windows = _accepted(flipped, smallest, size / _RESIZED, _FINE)
    if mirrored:
        windows[:, 0] = part.shape[1] - windows[:, 0] - windows[:, 2]
    return np.add(windows, (x, y, 0))


def _supported(grey: NDArray[np.uint8], places: Windows) -> list[Face]:
    """Faces near (N, 3) windows, best supported first, none overlapping a better one."""
    faces: list[Face] = []
    for place, _ in _clusters(places):
        for box, support in _clusters(_around(grey, place))[:1]:
            if support >= SUPPORT:
                mirrored = _around(grey, box, mirrored=True)
                support = min(support, int((_shared(mirrored, box[None])[0] >= _OVERLAP).sum()))
                faces.append(Face(float(box[0]), float(box[1]), float(box[2]), support))
    faces = sorted((face for face in faces if face.support >= SUPPORT), key=lambda face: -face.support)
    overlap = _shared(boxes := np.array([face[:3] for face in faces]).reshape(-1, 3), boxes)[1] >= _OVERLAP
    return [face for number, face in enumerate(faces) if not overlap[number, :number].any()]


def find_faces(images: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
    """Frontal faces of at least a fifth of the short side, best supported first, by the smaller support of each.

    Of neighbouring (H, W, 3) RGB frames of one size; thresholds are tuned for a short side of about 160, and time
    grows with the pixels.
    """
    greys = [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8) for image in images]
    places = [_accepted(grey, SMALLEST * min(grey.shape), min(grey.shape), _COARSE) for grey in greys]
    return [_supported(grey, np.concatenate(places[max(0, k - 1) : k + 2])) for k, grey in enumerate(greys)]


_SIDE = 4  # parts in a row and in a column
_FACE, _HEAD = 64, 64  # pixels
_PATTERNS = 59
_PLACE = 3
_SEARCHED = 160  # short side of the image that is searched
_CERTAIN = 20  # support that needs no second frame
_ALONE = 8  # support where only one frame was sampled
_ALIKE = 1.5  # ratio of sizes up to which two frames may show one face


def cut(image: NDArray[np.uint8], face: Face, widen: float, size: int) -> NDArray[np.uint8]:
    """The face's box widened about its centre and scaled to (size, size, 3); the frame's edge is repeated."""
    side = face.size * widen
    left, top, scale = face.left + (face.size - side) / 2, face.top + (face.size - side) / 2, size / side
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    warped = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.uint8)


def describe_face(image: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
    """The module's row for one face of an (H, W, 3) RGB frame: (1267,)."""
    from skimage.feature import local_binary_pattern

    grey = cv2.cvtColor(cut(image, face, 1.0, _FACE), cv2.COLOR_RGB2GRAY)
    patterns = np.asarray(local_binary_pattern(grey, P=8, R=1, method="nri_uniform"))  # type: ignore[no-untyped-call]
    codes = cell_numbers(_FACE, _FACE, _SIDE) * _PATTERNS + patterns.astype(np.int64)
    counts = np.bincount(codes.ravel(), minlength=_SIDE**2 * _PATTERNS).astype(np.float64)
    texture = hellinger(counts.reshape(_SIDE**2, _PATTERNS))
    colours = hellinger(colour_shares(cut(image, face, 2.0, _HEAD), _SIDE))
    height, width = image.shape[:2]
    half = face.size / 2
    place = [(face.left + half) / width, (face.top + half) / height, face.size / min(height, width)]
    return np.concatenate([texture.ravel(), colours.ravel(), place]).astype(np.float32)


def confirmed(faces: Sequence[Sequence[Face]]) -> list[list[Face]]:
    """Of the faces found in each sampled frame, those that count by the module's last sentence."""

    def counts(face: Face, frame: int) -> bool:
        others = (other for k, found in enumerate(faces) if k != frame for other in found)
        return face.support >= _CERTAIN or any(1 / _ALIKE <= other.size / face.size <= _ALIKE for other in others)

    if len(faces) == 1:
        return [[face for face in faces[0] if face.support >= _ALONE]]
    return [[face for face in found if counts(face, frame)] for frame, found in enumerate(faces)]


def faces_of(images: NDArray[np.uint8]) -> list[list[Face]]:
    """Faces of (T, H, W, 3) RGB frames of any size, in their own pixels, best supported first."""
    ratio = min(images.shape[1:3]) / _SEARCHED
    size = (round(images.shape[2] / ratio), round(images.shape[1] / ratio))
    small = [np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8) for image in images]
    return [
        [Face(f.left * ratio, f.top * ratio, f.size * ratio, f.support) for f in found]
        for found in find_faces(small)
    ]


@final
class FaceExtractor(Extractor):
    """Local texture, colours and place of each large frontal face."""

    modality = "face"
    version = 2
    need = FrameNeed(fps=1, size=240)
    needs = (need,)
    dim = _SIDE**2 * (_PATTERNS + COLOURS) + _PLACE
    parameters: Mapping[str, Any] = {
        "searched": _SEARCHED,
        "support": SUPPORT,
        "smallest": SMALLEST,
        "certain": _CERTAIN,
        "alone": _ALONE,
        "alike": _ALIKE,
    }

    def extract(self, clips: Sequence[Clip]) -> list[Stream | None]:
        """One row a face, in the order of the frames; None where there is no face, or no picture."""
        return [self._stream(clip.frames.get(self.need)) for clip in clips]

    def _stream(self, frames: Frames | None) -> Stream | None:
        if frames is None or len(frames.pixels) == 0:
            return None
        found = confirmed(faces_of(frames.pixels))
        rows = [describe_face(image, face) for image, faces in zip(frames.pixels, found) for face in faces]
        times = np.repeat(frames.times, [len(faces) for faces in found])
        return Stream(np.stack(rows), times) if rows else None
