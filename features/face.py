"""Face: the large frontal faces of a clip, one row a face a sampled frame.

    row = [ LBP histograms of 4x4 parts of the face | colours of 4x4 parts of the head | place ]

LBP compares each pixel of the grey face, cut by its box and scaled to 64 x 64, with its 8 neighbours; the
58 patterns with at most two changes around the circle have a bin each, the rest share one (Ahonen, Hadid,
Pietikainen, *Face Description with Local Binary Patterns*, PAMI 2006). The head is twice the face's box:
hair, hat, beard and collar show in its colours. Histograms are square-rooted shares. Place is the box's
centre and size in shares of the frame's width, height and short side.

A face counts when a second sampled frame shows one too, of much the same size; where only one frame was
sampled; or where its own frame leaves no doubt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import local_binary_pattern

from features.clip import Clip, FrameNeed, Need
from features.colour import COLOURS, colour_shares
from features.extractor import Extractor, Stream
from features.face_finder import SMALLEST, SUPPORT, Face, find_faces
from features.grid import cell_numbers, hellinger

_SIDE = 4  # parts in a row and in a column
_FACE, _HEAD = 64, 64  # pixels
_PATTERNS = 59
_PLACE = 3
_SEARCHED = 160  # short side of the image that is searched
_CERTAIN = 20  # support that needs no second frame
_ALIKE = 1.5  # ratio of sizes up to which two frames may show one face


def cut(image: NDArray[np.uint8], face: Face, widen: float, size: int) -> NDArray[np.uint8]:
    """The face's box widened about its centre and scaled to (size, size, 3); the frame's edge is repeated."""
    side = face.size * widen
    scale = size / side
    left = face.left + (face.size - side) / 2
    top = face.top + (face.size - side) / 2
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    warped = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.uint8)


def describe_face(image: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
    """The module's row for one face of an (H, W, 3) RGB frame: (1267,)."""
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
    """Of the faces found in each sampled frame, those that the module's last paragraph lets count."""

    def counts(face: Face, frame: int) -> bool:
        others = (other for k, found in enumerate(faces) if k != frame for other in found)
        return face.support >= _CERTAIN or any(1 / _ALIKE <= other.size / face.size <= _ALIKE for other in others)

    if len(faces) == 1:
        return [list(faces[0])]
    return [[face for face in found if counts(face, frame)] for frame, found in enumerate(faces)]


def faces_of(image: NDArray[np.uint8]) -> list[Face]:
    """Faces of an (H, W, 3) RGB frame of any size, in its own pixels, best supported first."""
    ratio = min(image.shape[:2]) / _SEARCHED
    size = (round(image.shape[1] / ratio), round(image.shape[0] / ratio))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    found = find_faces(small)
    return [Face(face.left * ratio, face.top * ratio, face.size * ratio, face.support) for face in found]


class FaceExtractor(Extractor):
    """Local texture, colours and place of each large frontal face."""

    modality = "face"
    version = 1
    need: Final = FrameNeed(fps=1, size=240)

    @property
    def dim(self) -> int:
        """59 patterns and 20 colours for each of 16 parts, 3 numbers of place."""
        return _SIDE**2 * (_PATTERNS + COLOURS) + _PLACE

    @property
    def needs(self) -> tuple[Need, ...]:
        """One frame a second."""
        return (self.need,)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What it takes to be a face."""
        return {
            "searched": _SEARCHED,
            "support": SUPPORT,
            "smallest": SMALLEST,
            "certain": _CERTAIN,
            "alike": _ALIKE,
        }

    def extract(self, clips: Sequence[Clip]) -> list[Stream | None]:
        """One row a face, in the order of the frames; None where there is no face, or no picture."""
        return [self._stream(clip) for clip in clips]

    def _stream(self, clip: Clip) -> Stream | None:
        frames = clip.frames.get(self.need)
        if frames is None or len(frames.pixels) == 0:
            return None
        found = confirmed([faces_of(image) for image in frames.pixels])
        rows = [describe_face(image, face) for image, faces in zip(frames.pixels, found) for face in faces]
        times = np.repeat(frames.times, [len(faces) for faces in found])
        return Stream(np.stack(rows), times) if rows else None
