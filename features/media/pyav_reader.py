"""Pictures decoded by PyAV, the default reader: one forward pass, frames picked by time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from features.media.clip import FrameNeed, Frames, Span
from features.media.container import Decoder
from features.media.frames import FramePicker, Pictures, on_display, orientation, steady, wanted_times
from features.media.probe import MediaFacts, PictureFacts

# without full chroma and accurate rounding swscale is up to 2 of 255 too dark, and differs between machines
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
BROKE_OFF_S = 0.5  # pictures that end this much before their packets do were not all decoded


class PyavPictures(Pictures):
    """A video track decoded by PyAV; a frame that several needs want at one size is converted once."""

    served_by = "pyav"

    def __init__(
        self, path: Path, facts: MediaFacts, picture: PictureFacts, needs: Sequence[FrameNeed], note: str = ""
    ) -> None:
        """``picture``: of these facts; ``note``: why no other reader decodes."""
        self._origin, self._planned_until = facts.origin_s, -math.inf
        self._scalers: dict[int, VideoReformatter] = {}
        self._displayed: set[float] = set()
        self._facts, self._needs, self.note = picture, tuple(needs), note
        self._decoder: Decoder[VideoFrame] = Decoder(path, "video", facts.timeline, facts.limits)
        decoded = self._decoder.frames(self._needless)
        timed = ((None if t is None else t - facts.origin_s, frame) for t, frame in decoded)
        back = 1.0 if facts.container == "mpeg" else 0.5  # there, ffmpeg guesses most times, too early if at all
        self._picker = FramePicker(steady(timed, picture.step, back))
        self._converted: tuple[VideoFrame | None, dict[int, NDArray[np.uint8]]] = (None, {})

    @property
    def end_s(self) -> float:  # type: ignore[override]
        last = self._picker.last_time
        if last is not None and last < self._facts.times[-1] - BROKE_OFF_S:
            return last + self._facts.step
        return self._facts.end_s

    @property
    def bad_packets(self) -> int:  # type: ignore[override]
        return self._decoder.bad_packets

    def read(self, span: Span) -> Mapping[FrameNeed, Frames]:
        wanted = wanted_times(self._needs, span, self.end_s)
        self._plan(span, wanted)
        shapes = {need: (len(times), *self._facts.shape(need.size), 3) for need, times in wanted.items()}
        pixels = {need: np.empty(shape, np.uint8) for need, shape in shapes.items()}
        filled = dict.fromkeys(wanted, 0)
        order = sorted((time, n, need) for n, need in enumerate(wanted) for time in wanted[need].tolist())
        for time, _, need in order:
            picture = self._picker.at(time)
            if picture is None or time >= self.end_s:
                break
            pixels[need][filled[need]] = self._convert(picture, need.size)
            filled[need] += 1
        self._picker.at(span.end_s - self._facts.step)  # so that its bad packets count here, not next time
        there = {need: slice(count) for need, count in filled.items() if count}
        return {need: Frames(pixels=pixels[need][n], times=wanted[need][n]) for need, n in there.items()}

    def _plan(self, span: Span, wanted: Mapping[FrameNeed, NDArray[np.float64]]) -> None:
        """Note the times of the pictures on display at wanted times; the decoder may skip the others."""
        if not self._facts.spaced or self._facts.corrupt:  # times are uncertain: skip none
            return
        times = self._facts.times
        picked = [times[on_display(times, want)] for want in wanted.values()]
        self._displayed = {float(times[-1])}.union(*(part.tolist() for part in picked))
        self._planned_until = span.end_s

    def _needless(self, time: float | None) -> bool:
        if time is None or self._decoder.bad_packets:  # the picture before it stays on display
            return False
        return time - self._origin < self._planned_until and time - self._origin not in self._displayed

    def _convert(self, picture: VideoFrame, size: int) -> NDArray[np.uint8]:
        if self._converted[0] is not picture:
            self._converted = (picture, {})
        done = self._converted[1]
        if size not in done:
            done[size] = upright(picture, self._facts, size, self._scalers.setdefault(size, VideoReformatter()))
        return done[size]


def upright(picture: VideoFrame, facts: PictureFacts, size: int, scaler: VideoReformatter) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of one frame, scaled by swscale and then turned upright; a scaler serves one size."""
    height, width = facts.shape(size)
    stored = orientation(picture)
    if stored.transposed:
        height, width = width, height
    small = scaler.reformat(picture, width=width, height=height, format="rgb24", interpolation=_SCALING, threads=1)
    return stored.upright(small.to_ndarray().astype(np.uint8, copy=False))
