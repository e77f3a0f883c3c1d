"""Appearance: what a frame looks like, one row a sampled frame.

    row = [ colours of 14 pyramid cells | edge orientations of 14 cells | harmonics | texture of 14 cells ]

The pyramid cuts the frame 1x1, 2x2 and 3x3 (Lazebnik, Schmid, Ponce, *Beyond Bags of Features*, CVPR
2006). Histograms are square-rooted shares. Edge orientations are gradients weighted by strength (Dalal,
Triggs, *Histograms of Oriented Gradients for Human Detection*, CVPR 2005). With g(theta) the share of the
frame's gradients that point to theta, the harmonics

    |sum over theta of g(theta) exp(i n theta)|,   n = 1 .. 12

do not change when a shape turns: a triangle peaks at n = 3, a square at 4, a five-pointed star at 5, a
circle nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from features.extractors.base import Extractor, Stream
from features.extractors.builtin import histograms
from features.media import Clip, FrameNeed, Frames

_FINE = 6  # the grid that 1x1, 2x2 and 3x3 cells are all made of
_CELLS = 1 + 4 + 9
_DIRECTIONS = 72  # signed, 5 degrees each
_WHOLE, _PART = 36, 12  # unsigned orientations of the frame and of a cell
_HARMONICS = 12
_BLURS = (0.8, 3.0)  # pixels: the two scales of texture; edges are taken at the first
_FLAT = 1.0  # mean gradient, grey levels a pixel, below which a cell's orientations fade out
_BLANK = 0.02  # the same for the harmonics of the frame


def pyramid(fine: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Means of (36, B) cells of the fine grid over each level: (1, B), (4, B) and (9, B)."""
    bins = fine.shape[1]
    levels = (fine.reshape(side, _FINE // side, side, _FINE // side, bins) for side in (1, 2, 3))
    return [level.mean((1, 3)).reshape(-1, bins) for level in levels]


def harmonics(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(12,) strengths of the 1st to 12th harmonic of a (B,) histogram over the full circle, in [0, 1)."""
    spectrum = np.abs(np.fft.rfft(directions))[1 : _HARMONICS + 1]
    return np.asarray(spectrum / (directions.sum() + _BLANK), dtype=np.float64)


def colour_gradient(image: NDArray[np.uint8], blur: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(H, W) changes to the right and downward, levels a pixel, of an RGB image under a Gaussian ``blur``, pixels.

    Of the three channels' gradients the strongest at each pixel, so that red on grey has an edge too.
    """
    soft = np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), blur), dtype=np.float32)
    (x, *right), (y, *down) = (cv2.split(slope) for slope in histograms.slopes(soft))
    strength = x * x + y * y
    for other_x, other_y in zip(right, down):
        other = other_x * other_x + other_y * other_y
        stronger = other > strength
        for kept, new in ((x, other_x), (y, other_y), (strength, other)):
            np.copyto(kept, new, where=stronger)
    return np.asarray(x, dtype=np.float32), np.asarray(y, dtype=np.float32)


def _edges(image: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """Orientations (36 + 4 * 12 + 9 * 12), harmonics (12) and texture (2 * 14) of an RGB frame."""
    cells = histograms.cell_numbers(image.shape[0], image.shape[1], _FINE)
    pixels = np.bincount(cells.ravel(), minlength=_FINE**2)[:, None]
    gradients = [colour_gradient(image, blur) for blur in _BLURS]
    directions = histograms.angle_histogram(*gradients[0], cells, _FINE, _DIRECTIONS) / pixels
    lengths = [np.asarray(cv2.magnitude(x, y), dtype=np.float32) for x, y in gradients]
    strengths = [histograms.cell_sums(length, cells, _FINE)[:, None] / pixels for length in lengths]
    texture = [np.sqrt(level / 16).ravel() for strength in strengths for level in pyramid(strength)]
    whole, *parts = pyramid(directions[:, :_WHOLE] + directions[:, _WHOLE:])
    group = _WHOLE // _PART
    coarse = [np.roll(part, group // 2, axis=1).reshape(-1, _PART, group).sum(2) for part in parts]
    edges = [histograms.hellinger(whole, _FLAT / _FINE), *(histograms.hellinger(part, _FLAT) for part in coarse)]
    return [*(level.ravel() for level in edges), harmonics(directions.mean(0)), *texture]


def describe_frame(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The module's row for one (H, W, 3) RGB frame: (512,)."""
    colours = [histograms.hellinger(level).ravel() for level in pyramid(histograms.colour_shares(image, _FINE))]
    return np.concatenate([*colours, *_edges(image)]).astype(np.float32)


@final
class AppearanceExtractor(Extractor):
    """Colours, edge orientations and texture of sampled frames."""

    modality = "appearance"
    version = 2
    need = FrameNeed(fps=2, size=160)
    needs = (need,)
    # colours of 14 cells, orientations of the frame and of 13 cells, harmonics, texture of 14 cells
    dim = _CELLS * histograms.COLOURS + _WHOLE + (_CELLS - 1) * _PART + _HARMONICS + len(_BLURS) * _CELLS
    parameters: Mapping[str, Any] = {"blurs": _BLURS, "flat": _FLAT, "blank": _BLANK}

    def extract(self, clips: Sequence[Clip]) -> list[Stream | None]:
        """One row a sampled frame; None where the clip has no picture."""
        return [self._stream(clip.frames.get(self.need)) for clip in clips]

    def _stream(self, frames: Frames | None) -> Stream | None:
        if frames is None or len(frames.pixels) == 0:
            return None
        return Stream(np.stack([describe_frame(image) for image in frames.pixels]), frames.times)
