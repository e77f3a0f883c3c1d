"""The pictures of a passage of a video, to be encoded again: upright, SDR, square pixels, one size, YUV 4:2:0.

Decoding begins at a key picture before the passage, wherever in the file that is. Colours are those of BT.709 in
limited range; where a file does not say, small pictures are taken to be BT.601, as browsers and televisions do.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from features.media.colour import TRANSFERS, to_sdr
from features.media.container import JOINABLE, Decoder
from features.media.frames import CLOSE_S, Cutter, Orientation, fit, orientation, steady
from features.media.probe import UNSPECIFIED, MediaFacts, PictureFacts

EARLIER_S = (
    0.0,
    10.0,
    None,
)  # before the passage, where decoding begins; some key pictures take a second to recover
HD_ROWS, SMALLEST = 720, 16
FORM = "yuv420p"
Shown = tuple[VideoFrame, float]  # a picture, and width over height of one of its pixels


def pictures_between(
    path: Path, facts: MediaFacts, start_s: float, end_s: float, held_s: float, longest: int
) -> Iterator[tuple[float, float, VideoFrame]]:
    """From when, until when, and the picture, in order; times in seconds from ``start_s`` on.

    Args:
        path: the file.
        facts: of this file; it has pictures.
        start_s: seconds since the file's first picture.
        end_s: as well; pictures from then on do not come.
        held_s: seconds from ``start_s`` on, for which the file's last picture stays on display at least.
        longest: pixels of the long side, at most.
    """
    assert facts.picture is not None
    upright = Upright(facts.picture, longest)
    for early in EARLIER_S:
        timed = _timed(path, facts, facts.picture, None if early is None else start_s - early)
        shown = next(timed, None)
        if shown is not None and shown[0] <= start_s + facts.picture.step:
            break
    if shown is None:
        return
    for following in timed:
        if following[0] > start_s:
            until_s = min(following[0], end_s) - start_s
            yield max(shown[0] - start_s, 0.0), until_s, upright(*shown[1])
        shown = following
        if shown[0] >= end_s:
            return
    until_s = min(max(shown[0] + facts.picture.step - start_s, held_s), end_s - start_s)
    if until_s > CLOSE_S:
        yield max(shown[0] - start_s, 0.0), until_s, upright(*shown[1])


def _timed(
    path: Path, facts: MediaFacts, picture: PictureFacts, start_s: float | None
) -> Iterator[tuple[float, Shown]]:
    """Decoded pictures with their times since the first one, from a key picture at or before a time on."""
    own_s = None if start_s is None else facts.origin_s + start_s
    decoder: Decoder[VideoFrame] = Decoder(path, "video", facts.timeline, facts.limits, own_s)
    stream = cast("VideoStream", decoder.stream)

    def frames() -> Iterator[tuple[float | None, Shown]]:
        aspect = picture.aspect
        for time, frame in decoder.frames():
            if facts.container in JOINABLE and frame.key_frame:
                aspect = float(stream.codec_context.sample_aspect_ratio or aspect)
            yield None if time is None else time - facts.origin_s, (frame, aspect)

    return steady(frames(), picture.step, 1.0 if facts.container == "mpeg" else 0.5)


class Upright:
    """Makes pictures of a track look as they are shown, all of one size; other shapes are letterboxed."""

    def __init__(self, facts: PictureFacts, longest: int) -> None:
        self._facts, self._cutter, self._scaler = facts, Cutter(facts.crop), VideoReformatter()
        height, width = facts.upright
        scale = min(1.0, longest / max(height, width))
        self.height, self.width = (_even(side * scale) for side in (height, width))
        self._turn: tuple[Orientation, int, int] | None = None
        self._graph = Graph()

    def __call__(self, picture: VideoFrame, aspect: float) -> VideoFrame:
        """The same picture in the format FORM; ``aspect``: width over height of one of its pixels."""
        stored, cut, box = orientation(picture), self._cutter(picture), (self.height, self.width)
        wide, high = cut.width * aspect, float(cut.height * (1 + picture.interlaced_frame))
        inner = fit((wide, high) if stored.transposed else (high, wide), self._facts.upright, box)
        if inner != box:
            inner = min(_even(inner[0]), box[0]), min(_even(inner[1]), box[1])
        height, width = inner[::-1] if stored.transposed else inner
        small = self._small(cut, height, width, picture)
        if inner == box and stored == Orientation():
            return small
        if (stored, *inner) != self._turn:
            self._turn, self._graph = (stored, *inner), self._turning(small, stored, box, inner)
        self._graph.vpush(small)
        return self._graph.vpull()

    def _small(self, cut: VideoFrame, height: int, width: int, picture: VideoFrame) -> VideoFrame:
        matrix: Colorspace | None = None
        if picture.color_trc in TRANSFERS:
            matrix = Colorspace.BT2020 if picture.colorspace == UNSPECIFIED else None
            deep = self._scaler.reformat(
                cut, width, height, "gbrp16le", matrix, interpolation=Interpolation.AREA, threads=1
            )
            pixels = deep.to_ndarray().astype(np.uint16, copy=False)
            cut = VideoFrame.from_ndarray(to_sdr(pixels, picture.color_trc, picture.color_primaries), "rgb24")
            matrix = None
        elif picture.colorspace == UNSPECIFIED and not picture.format.is_rgb:
            matrix = Colorspace.ITU709 if picture.height >= HD_ROWS else Colorspace.ITU601
        return self._scaler.reformat(
            cut,
            width,
            height,
            FORM,
            matrix,
            Colorspace.ITU709,
            Interpolation.AREA,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )

    def _turning(
        self, like: VideoFrame, stored: Orientation, box: tuple[int, int], inner: tuple[int, int]
    ) -> Graph:
        graph = Graph()
        nodes = [graph.add_buffer(None, like.width, like.height, like.format, time_base=Fraction(1, 1000))]
        if stored.transposed:
            nodes.append(graph.add("transpose", "cclock_flip"))  # rows and columns swapped, no more
        if stored.bottom_up:
            nodes.append(graph.add("vflip"))
        if stored.right_to_left:
            nodes.append(graph.add("hflip"))
        nodes.append(graph.add("pad", f"{box[1]}:{box[0]}:(ow-iw)/2:(oh-ih)/2"))
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph


def _even(side: float) -> int:
    return max(SMALLEST, 2 * round(side / 2))
