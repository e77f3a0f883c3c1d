"""Pictures decoded by PyAV, the default reader: one forward pass, frames picked by time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from features.media.clip import FrameNeed, Frames, Span
from features.media.colour import TRANSFERS, to_sdr
from features.media.container import JOINABLE, Decoder
from features.media.frames import (
    CLOSE_S,
    Crop,
    Cutter,
    FramePicker,
    Orientation,
    Pictures,
    fit,
    on_display,
    orientation,
    steady,
    wanted_times,
)
from features.media.probe import MediaFacts, PictureFacts

# without full chroma and accurate rounding swscale is up to 2 of 255 too dark, and differs between machines
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
_UNSPECIFIED = 2  # matrix coefficients, by ITU-T H.273
Shown = tuple[VideoFrame, float]  # a picture, and width over height of one of its pixels
# seconds before a passage where decoding begins, None: at the file's start; some key pictures take long to recover
EARLIER_S = (0.0, 10.0, None)
HD_ROWS, SMALLEST = 720, 16
BROKE_OFF_S = 0.5  # pictures that end this much before their packets do were not all decoded


class Upright:
    """Decoded pictures as RGB: cut, scaled, in SDR, and turned upright."""

    def __init__(
        self, crop: Crop, notes: dict[str, None] | None = None, stored: Orientation | None = None
    ) -> None:
        """``notes``: gets what was done to the pictures that is no damage; ``stored``: of all pictures, if known.

        A frame of PyAV that is asked for its orientation is part of a cycle: memory grows until it is collected.
        """
        self._stored = stored
        self._cutter, self._notes = Cutter(crop), {} if notes is None else notes
        self._scalers: dict[tuple[int, int], VideoReformatter] = {}

    def shape(self, picture: VideoFrame, aspect: float) -> tuple[float, float]:
        """Height and width of what is shown of a picture, with square pixels."""
        return self._shown(picture, self._cutter(picture), aspect)

    def _orientation(self, picture: VideoFrame) -> Orientation:
        return orientation(picture) if self._stored is None else self._stored

    def _shown(self, picture: VideoFrame, cut: VideoFrame, aspect: float) -> tuple[float, float]:
        wide, high = cut.width * aspect, float(cut.height * (1 + picture.interlaced_frame))
        return (wide, high) if self._orientation(picture).transposed else (high, wide)

    def __call__(
        self, picture: VideoFrame, aspect: float, first: tuple[float, float], box: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """(*box, 3), letterboxed where the shape is no more that of the first picture.

        ``aspect``: width over height of a pixel; ``first``: height and width, as by `shape`, that fill the box.
        """
        stored, cut = self._orientation(picture), self._cutter(picture)
        if picture.interlaced_frame:
            self._notes["interlaced: one field of each picture was read"] = None
        height, width = inner = fit(self._shown(picture, cut, aspect), first, box)
        if stored.transposed:
            height, width = width, height
        scaler = self._scalers.setdefault(box, VideoReformatter())
        hdr = TRANSFERS.get(picture.color_trc)
        form, matrix = "gbrp16le" if hdr else "rgb24", None
        if hdr and picture.colorspace == _UNSPECIFIED:
            matrix = Colorspace.BT2020
        small = scaler.reformat(cut, width, height, form, matrix, interpolation=_SCALING, threads=1)
        pixels = small.to_ndarray()
        if hdr:
            self._notes[f"HDR ({hdr}) brought to SDR"] = None
            pixels = to_sdr(pixels.astype(np.uint16, copy=False), picture.color_trc, picture.color_primaries)
        pixels = stored.upright(pixels.astype(np.uint8, copy=False))
        if inner == box:
            return pixels
        self._notes["the picture changes shape: letterboxed"] = None
        framed = np.zeros((*box, 3), np.uint8)
        top, left = (box[0] - inner[0]) // 2, (box[1] - inner[1]) // 2
        framed[top : top + inner[0], left : left + inner[1]] = pixels
        return framed


class Stored(Upright):
    """Decoded pictures for an encoder: YUV 4:2:0 of 8 bits, of BT.709 in limited range, all of one size.

    What a player can do, turning by the display matrix, is left to it. Where a file does not say, small pictures
    are taken to be of BT.601, as browsers do.
    """

    def __init__(self, facts: PictureFacts, longest: int) -> None:
        """``longest``: pixels of the long side, at most."""
        super().__init__(facts.crop, stored=facts.orientation)
        scale = min(1.0, longest / max(facts.upright))
        self._first, self._converter = facts.upright, VideoReformatter()
        height, width = (max(SMALLEST, 2 * round(side * scale / 2)) for side in facts.upright)
        self._box = height, width

    def frame(self, picture: VideoFrame, aspect: float) -> VideoFrame:
        """The picture, with its display matrix unless it is upright already."""
        stored, cut, matrix = self._orientation(picture), self._cutter(picture), None
        same = fit(self._shown(picture, cut, aspect), self._first, self._box) == self._box
        height, width = self._box
        if picture.color_trc in TRANSFERS or stored.mirrored or not same:
            cut = VideoFrame.from_ndarray(self(picture, aspect, self._first, self._box), "rgb24")
        elif picture.colorspace == _UNSPECIFIED and not picture.format.is_rgb:
            matrix = Colorspace.ITU709 if picture.height >= HD_ROWS else Colorspace.ITU601
        if cut.format.name != "rgb24" and stored.transposed:
            height, width = width, height
        to: dict[str, Any] = {"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.MPEG}
        return self._converter.reformat(
            cut, width, height, "yuv420p", matrix, interpolation=Interpolation.AREA, threads=1, **to
        )


class PyavPictures(Pictures):
    """A video track decoded by PyAV; a frame that several needs want at one size is converted once."""

    served_by = "pyav"

    def __init__(
        self, path: Path, facts: MediaFacts, picture: PictureFacts, needs: Sequence[FrameNeed], note: str = ""
    ) -> None:
        """``picture``: of these facts; ``note``: why no other reader decodes."""
        self._origin, self._planned_until = facts.origin_s, -math.inf
        self._displayed: set[float] = set()
        self._facts, self._needs, self._notes = picture, tuple(needs), dict.fromkeys([note] if note else [])
        self._upright = Upright(picture.crop, self._notes)
        self._decoder = self._open(path, facts)
        timed = _with_aspect(self._decoder, self._decoder.frames(self._needless), facts, picture)
        self._picker = FramePicker(steady(timed, picture.step, _back(facts)))
        self._converted: tuple[Shown | None, dict[int, NDArray[np.uint8]]] = (None, {})

    def _open(self, path: Path, facts: MediaFacts) -> Any:
        """What decodes, with the frames and bad packets of a `Decoder`."""
        return Decoder[VideoFrame](path, "video", facts.timeline, facts.limits)

    @property
    def note(self) -> str:  # type: ignore[override]
        return "; ".join(self._notes)

    @property
    def end_s(self) -> float:  # type: ignore[override]
        last = self._picker.last_time
        if last is not None and last < self._facts.times[-1] - BROKE_OFF_S:
            return last + self._facts.step
        return self._facts.end_s

    @property
    def bad_packets(self) -> int:  # type: ignore[override]
        return int(self._decoder.bad_packets)

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

    def _convert(self, shown: Shown, size: int) -> NDArray[np.uint8]:
        if self._converted[0] is not shown:
            self._converted = (shown, {})
        done = self._converted[1]
        if size not in done:
            done[size] = self._upright(*shown, self._facts.upright, self._facts.shape(size))
        return done[size]


def pictures_between(
    path: Path, facts: MediaFacts, start_s: float, end_s: float, held_s: float, longest: int
) -> Iterator[tuple[float, float, VideoFrame]]:
    """From when, until when, and the picture as by `Stored`, in order; in seconds from ``start_s`` on.

    Args:
        path: the file.
        facts: of this file; it has pictures.
        start_s: seconds since the file's first picture; decoding begins at a key picture before it.
        end_s: likewise.
        held_s: seconds from ``start_s`` on, for which the file's last picture stays on display at least.
        longest: pixels of the long side, at most.
    """
    picture = facts.picture
    assert picture is not None
    form = Stored(picture, longest)
    for early in EARLIER_S:
        timed = _timed_from(path, facts, picture, None if early is None else facts.origin_s + start_s - early)
        shown = next(timed, None)
        if shown is not None and shown[0] <= start_s + picture.step:
            break
    if shown is None:
        return
    for following in timed:
        if following[0] > start_s:
            yield max(shown[0] - start_s, 0.0), min(following[0], end_s) - start_s, form.frame(*shown[1])
        shown = following
        if shown[0] >= end_s:
            return
    until_s = min(max(shown[0] + picture.step - start_s, held_s), end_s - start_s)
    if until_s > CLOSE_S:
        yield max(shown[0] - start_s, 0.0), until_s, form.frame(*shown[1])


def _timed_from(
    path: Path, facts: MediaFacts, picture: PictureFacts, start_s: float | None
) -> Iterator[tuple[float, Shown]]:
    decoder: Decoder[VideoFrame] = Decoder(path, "video", facts.timeline, facts.limits, start_s)
    return steady(_with_aspect(decoder, decoder.frames(), facts, picture), picture.step, _back(facts))


def _back(facts: MediaFacts) -> float:
    return 1.0 if facts.container == "mpeg" else 0.5  # there, ffmpeg guesses most times, too early if at all


def _with_aspect(
    decoder: Any, frames: Iterator[tuple[float | None, VideoFrame]], facts: MediaFacts, picture: PictureFacts
) -> Iterator[tuple[float | None, Shown]]:
    """Pictures, with times since the first one, and with the shape of pixels, which may change in streams."""
    aspect = picture.aspect
    for time, frame in frames:
        if facts.container in JOINABLE and frame.key_frame:
            aspect = float(decoder.stream.codec_context.sample_aspect_ratio or aspect)
        yield None if time is None else time - facts.origin_s, (frame, aspect)
