"""From the decoded frames of a video track to those of a clip: which ones, how turned, and how large.

On display at t is the last frame whose time is at most t (the first frame, for t before it). Frames are picked by
time, never by number: their rate may vary, and frames may be missing.

    [x']   [a c] [x]     (x, y): a stored pixel, y downwards; (x', y'): where it is shown. Quarter turns and
    [y'] = [b d] [y]     mirror images are applied; any other turn counts as the nearest of these.

Containers and codecs store this display matrix as nine numbers, a b u c d v x y w (ISO/IEC 14496-12, 8.3.2). The
short side of an upright frame is as requested, its long side in proportion, up to a cap.
"""

from __future__ import annotations

import io
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, TypeVar, cast

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from features.media.clip import FrameNeed, Frames, Span

EPSILON_S = 1e-4  # a frame due at t counts as on display at t despite rounding; 1 ms stamps stay apart
CLOSE_S = 1e-4  # closer than this to the end, nothing is on display any more
RESTART_S = 1.0  # a clock that falls back further was restarted
LONGEST = 4  # times the short side; a longer picture is squeezed, so that memory stays bounded

SAME_SHAPE = 0.03  # proportions that differ by less are the same: sizes are rounded to whole blocks

Picture = TypeVar("Picture")
Crop = tuple[int, int, int, int]  # stored rows cut off at the top and at the bottom, columns at the left and right
NO_CROP: Crop = (0, 0, 0, 0)
PLAIN = {"fflags": "+bitexact", "write_crc32": "0"}  # no bytes by chance, which may look like an element
# of Matroska: the element after that of the picture, and its PixelCrop elements: name, length, content
_PRIVATE, _CROPPED = b"\x63\xa2", re.compile(rb"\x54([\xaa\xbb\xcc\xdd])([\x81-\x84])(?=(.{4}))", re.DOTALL)


def on_display(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """(T,) positions among (N,) ascending frame times, N at least 1, of what is on display at (T,) times."""
    return np.maximum(np.searchsorted(times, wanted + EPSILON_S, side="right") - 1, 0)


def steady(
    timed: Iterator[tuple[float | None, Picture]], step: float, back: float = 0.5
) -> Iterator[tuple[float, Picture]]:
    """Frames in display order with times that never fall.

    A frame without a time, or after a restart of the clock, follows the frame before by ``step`` seconds, one that
    steps back a little by ``back`` of that; a single frame ahead of the next is put between both beside it.
    """
    first = next(timed, None)
    if first is None:
        return
    before, time, shown = math.inf, first[0] or 0.0, first[1]
    for stamp, picture in timed:
        following = time + step if stamp is None else stamp
        if before < following < time:
            time = (before + following) / 2
        elif following < time:
            following = time + (step if time - following > RESTART_S else back * step)
        yield time, shown
        before, time, shown = time, following, picture
    yield time, shown


class FramePicker(Generic[Picture]):
    """Passes once over frames and picks those on display at times that never fall."""

    def __init__(self, frames: Iterator[tuple[float, Picture]]) -> None:
        self._frames = frames
        self._shown: tuple[float, Picture] | None = next(frames, None)
        self._following = next(frames, None)

    def at(self, time: float) -> Picture | None:
        """The frame on display; None where there is no frame at all."""
        while self._following is not None and self._following[0] <= time + EPSILON_S:
            self._shown, self._following = self._following, next(self._frames, None)
        return None if self._shown is None else self._shown[1]

    @property
    def last_time(self) -> float | None:
        """Time of the very last frame, seconds, once it is on display; None before."""
        return None if self._shown is None or self._following is not None else self._shown[0]


class ReaderFailed(Exception):
    """A reader cannot decode this file, or no further; PyAV takes its place. The message is the reason."""


class Pictures(ABC):
    """The video track of one file, opened for fixed needs; read forward only, clip by clip."""

    served_by: str  # name of the reader that decodes
    note: str  # what is no damage: another reader than the requested one decodes, or what was met so far
    end_s: float  # until when pictures are on display; smaller once decoding has broken off early
    bad_packets: int  # that could not be decoded so far

    @abstractmethod
    def read(self, span: Span) -> Mapping[FrameNeed, Frames]:
        """Frames of one span; spans come in order of time. No entry where no frame is on display."""


def wanted_times(needs: Sequence[FrameNeed], span: Span, end_s: float) -> dict[FrameNeed, NDArray[np.float64]]:
    """Each need's times, (T,) seconds, as far as pictures last; empty where none is on display."""
    if span.start_s >= end_s - CLOSE_S:
        return {}
    wanted = {need: need.times(span.start_s, span.end_s) for need in needs}
    return {need: times[times < end_s - CLOSE_S] for need, times in wanted.items()}


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """Rows and columns are swapped first, then mirrored."""

    transposed: bool = False
    bottom_up: bool = False
    right_to_left: bool = False

    @property
    def mirrored(self) -> bool:
        """Whether a turn alone does not make it upright."""
        return self.transposed == (self.bottom_up == self.right_to_left)

    def upright(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) stored pixels -> (H, W, 3), or (W, H, 3), upright."""
        shown = stored.swapaxes(0, 1) if self.transposed else stored
        return shown[:: -1 if self.bottom_up else 1, :: -1 if self.right_to_left else 1]


def orientation(picture: VideoFrame) -> Orientation:
    """The orientation of one decoded picture."""
    matrix = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(cast("Any", matrix)), np.int32, 5).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transposed=True, bottom_up=b < 0, right_to_left=c < 0)
    return Orientation(bottom_up=d < 0, right_to_left=a < 0)


def scaled_size(height: float, width: float, size: int) -> tuple[int, int]:
    """Height and width of an upright picture with square pixels, scaled to a short side of ``size`` pixels."""
    scale, cap = size / min(width, height), LONGEST * size
    return min(cap, max(size, round(height * scale))), min(cap, max(size, round(width * scale)))


def container_crop(stream: VideoStream) -> Crop:
    """What the container crops. PyAV does not tell, but hands it on: here to the header of a file in memory."""
    written = io.BytesIO()
    try:
        with av.open(written, "w", format="matroska", options=PLAIN) as output:
            output.add_stream_from_template(stream)
            output.start_encoding()
    except (av.FFmpegError, ValueError):  # of a codec that Matroska does not hold
        return NO_CROP
    video = written.getvalue().partition(b"V_")[2].partition(_PRIVATE)[0]
    found = {name: int.from_bytes(value[: size[0] & 15], "big") for name, size, value in _CROPPED.findall(video)}
    top, bottom, left, right = (found.get(name, 0) for name in (b"\xbb", b"\xaa", b"\xcc", b"\xdd"))
    return (top, bottom, left, right) if left + right < stream.width and top + bottom < stream.height else NO_CROP


def fit(shape: tuple[float, float], first: tuple[float, float], box: tuple[int, int]) -> tuple[int, int]:
    """Height and width of an upright picture in the box of the first one; the whole box where they are alike."""
    tall = (shape[0] / shape[1]) / (first[0] / first[1])
    if abs(math.log(tall)) < SAME_SHAPE:
        return box
    return max(1, round(box[0] * min(1, tall))), max(1, round(box[1] * min(1, 1 / tall)))


class Cutter:
    """Cuts the edges off stored pictures, and takes one field of an interlaced one.

    Its two fields are apart in time: shown together they would comb whatever moves.
    """

    def __init__(self, crop: Crop) -> None:
        self._crop = crop
        self._look: tuple[int, int, str, bool] | None = None  # of the pictures that the graph is for
        self._graph = Graph()

    def __call__(self, picture: VideoFrame) -> VideoFrame:
        """The same frame, or one with fewer rows and columns of the same pixels."""
        top, bottom, left, right = self._crop
        crops = self._crop != NO_CROP and picture.width > left + right and picture.height > top + bottom
        if not crops and not picture.interlaced_frame:
            return picture
        look = picture.width, picture.height, picture.format.name, picture.interlaced_frame
        if look != self._look:
            self._look, self._graph = look, Graph()
            nodes = [self._graph.add_buffer(None, *look[:2], picture.format, time_base=Fraction(1, 1000))]
            if crops:
                nodes.append(self._graph.add("crop", f"iw-{left + right}:ih-{top + bottom}:{left}:{top}:exact=1"))
            if picture.interlaced_frame:
                nodes.append(self._graph.add("field", "top"))
            self._graph.link_nodes(*nodes, self._graph.add("buffersink")).configure()
        self._graph.vpush(picture)
        return self._graph.vpull()
