"""Motion: how things move between neighbouring frames, one row a pair.

    row = [ 3x3 cells x (8 flow directions, still share, 8 + 8 boundary directions) | 9 speeds | 6 rigid ]

Flow is DIS (Kroeger et al., *Fast Optical Flow using Dense Inverse Search*, ECCV 2016), in short sides of
the frame a second. Boundary directions are those of the spatial gradients of the horizontal and of the
vertical flow (Dalal, Triggs, Schmid, *Human Detection Using Oriented Histograms of Flow and Appearance*,
ECCV 2006): they show an object's outline and not a steady pan. Histograms are square-rooted shares.

The rigid part fits all moving pixels, at r from their centroid, by least squares:

    v(r) = t + omega J r + s r,   J r = (-r_y, r_x)
    omega = sum(r_x v_y - r_y v_x) / sum |r|^2,   s = sum(r . v) / sum |r|^2

t is travel (right and down positive), omega spin (half the curl, clockwise on screen positive, radians a
second), s growth (half the divergence, 1/s); with them the mean speed and the moving share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from features.extractors.base import Extractor, Stream
from features.extractors.builtin.histograms import angle_histogram, cell_numbers, cell_sums, hellinger, slopes
from features.media import Clip, FrameNeed, Frames

_SIDE, _DIRECTIONS = 3, 8
_CELL_NUMBERS = _DIRECTIONS + 1 + 2 * _DIRECTIONS
_RIGID = 6
_STILL = 0.4  # pixels a frame pair: slower is noise of the flow
_UNCHANGED = 1.5  # grey levels: where the picture changed less, flow was only spread there from elsewhere
_NEAR = 9  # pixels: the square over which that change is averaged
_FAINT = 0.02  # mean flow gradient of a cell below which its boundary directions fade out


def optical_flow(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 2) displacement in pixels, right and down, from one (H, W) grey frame to the next."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # DIS cuts the frame into one stripe a thread, and the numbers follow the cut
    try:
        solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        return np.asarray(solver.calc(before, after, np.zeros((*before.shape, 2), np.float32)), dtype=np.float32)
    finally:
        cv2.setNumThreads(threads)


def rigid_motion(
    flow: NDArray[np.float32], moving: NDArray[np.bool_]
) -> tuple[float, float, float, float, float, float]:
    """The module's v(r) fitted to the ``moving`` pixels, (H, W), of an (H, W, 2) flow in short sides a second.

    t_x, t_y, omega, s, mean speed of the moving pixels, moving share; zeros where nothing moves.
    """
    x, y = flow[..., 0] * moving, flow[..., 1] * moving
    count, speed = int(np.count_nonzero(moving)), float(cv2.sumElems(cv2.magnitude(x, y))[0])
    if not count:
        return (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    short, fields = min(moving.shape), np.stack([moving, x, y])
    rows, columns = (fields.sum(axis, dtype=np.float64) for axis in (2, 1))  # (3, H), (3, W)
    down, right = (np.arange(length) / short for length in moving.shape)
    r_y, r_x = down - down @ rows[0] / count, right - right @ columns[0] / count
    spread = float(r_y**2 @ rows[0] + r_x**2 @ columns[0]) + 1e-2
    omega = float(r_x @ columns[2] - r_y @ rows[1]) / spread
    growth = float(r_x @ columns[1] + r_y @ rows[2]) / spread
    t_x, t_y = rows[1:].sum(1) / count
    return float(t_x), float(t_y), omega, growth, speed / count, count / moving.size


def moving_pixels(
    before: NDArray[np.uint8], after: NDArray[np.uint8], flow: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """(h, w) of every second pixel: where the flow is fast enough and the picture itself has changed.

    ``before`` and ``after``: (H, W) grey frames; ``flow``: (h, w, 2) displacement in every second of their pixels.
    """
    change = cv2.boxFilter(cv2.absdiff(before, after), cv2.CV_16U, (_NEAR, _NEAR), normalize=False)[::2, ::2]
    speed = cv2.magnitude(flow[..., 0], flow[..., 1])
    return np.asarray((np.asarray(speed) > _STILL) & (change > _UNCHANGED * _NEAR**2))


def describe_pair(before: NDArray[np.uint8], after: NDArray[np.uint8], seconds: float) -> NDArray[np.float32]:
    """The module's row for two (H, W) grey frames ``seconds`` apart: (240,)."""
    flow = optical_flow(before, after)[::2, ::2]  # DIS solves at a quarter: nothing is lost
    return describe_flow(flow * np.float32(0.5), moving_pixels(before, after, flow), seconds)


def describe_flow(pixels: NDArray[np.float32], moving: NDArray[np.bool_], seconds: float) -> NDArray[np.float32]:
    """The module's row, (240,), for an (H, W, 2) flow field: displacement in pixels right and down.

    ``moving``: (H, W) which pixels move; of the others only boundaries count. ``seconds``: between the two frames.
    """
    height, width = moving.shape
    cells = cell_numbers(height, width, _SIDE)
    area = np.bincount(cells.ravel(), minlength=_SIDE**2)[:, None]
    x, y = np.ascontiguousarray(pixels[..., 0]), np.ascontiguousarray(pixels[..., 1])
    still = 1 - cell_sums(moving, cells, _SIDE)[:, None] / area
    directions = angle_histogram(x * moving, y * moving, cells, _SIDE, _DIRECTIONS)
    parts = [hellinger(directions) * np.sqrt(1 - still), np.sqrt(still)]
    for component in (x, y):
        boundary = angle_histogram(*slopes(component), cells, _SIDE, _DIRECTIONS) / area
        parts.append(hellinger(boundary, _FAINT))
    rate = 1 / (min(height, width) * seconds)  # pixels a pair -> short sides a second
    speeds = np.sqrt(directions.sum(1) / area[:, 0] * rate)
    rigid = np.array(rigid_motion(pixels * np.float32(rate), moving))
    row = [np.concatenate(parts, 1).ravel(), speeds, np.sign(rigid) * np.sqrt(np.abs(rigid))]
    return np.concatenate(row).astype(np.float32)


@final
class MotionExtractor(Extractor):
    """Directions, boundaries and rigid motion of dense optical flow."""

    modality = "motion"
    version = 2
    need = FrameNeed(fps=6, size=224, window=2, stride=1)
    needs = (need,)
    dim = _SIDE**2 * (_CELL_NUMBERS + 1) + _RIGID  # 25 numbers and a speed for each of 9 cells, the rigid fit
    parameters: Mapping[str, Any] = {"still": _STILL, "unchanged": _UNCHANGED, "faint": _FAINT}

    def extract(self, clips: Sequence[Clip]) -> list[Stream | None]:
        """One row a pair of frames; None where the clip has fewer than two."""
        return [self._stream(clip.frames.get(self.need)) for clip in clips]

    def _stream(self, frames: Frames | None) -> Stream | None:
        if frames is None or len(frames.pixels) < 2:
            return None
        grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in frames.pixels]
        times, pairs = frames.times, self.need.windows(len(grey))
        rows = [describe_pair(grey[a], grey[b], float(times[b] - times[a])) for a, b in pairs]
        return Stream(np.stack(rows), times[pairs].mean(axis=1))
