"""Pictures of a span of a file for the eye, without decoding it whole: key frames, which need no other picture.

    seek -> key packets around a time -> the nearest one, decoded alone -> upright RGB

Times are those of clips: since the file's first picture. Where an index leads to key packets it is used; transport
and program streams have none, so their key packets are listed once for a file, with their places in bytes. What
has no times or no key frames that can be decoded alone is read as extractors do.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache, partial
from itertools import chain, dropwhile, islice, takewhile
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, final

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from features.errors import MediaError
from features.media.animation import AnimatedPictures, animation_facts
from features.media.clip import NO_PICTURE, FrameNeed, Frames, Span
from features.media.container import (
    JOINABLE,
    Timeline,
    decode,
    frame_time,
    in_stored_order,
    only,
    open_media,
    packet_time,
    packets,
    start_decoder,
    track,
)
from features.media.faults import encrypted
from features.media.frames import CLOSE_S, EPSILON_S, Pictures, container_crop
from features.media.image_reader import read_image
from features.media.library import DEFAULT_LIMITS, IMAGE_SUFFIXES, Limits
from features.media.probe import MediaFacts, PictureFacts, probe_file
from features.media.pyav_reader import PyavPictures, Upright

SPARSE = 8  # spans without a key frame after which a file is only read forward: each costs a pass over packets
FIRST = 32  # packets that are shown, among which the first picture is
BACK_S = (0.0, 2.0, 16.0, math.inf)  # how far before a time a search for its key packet begins
Pixels = NDArray[np.uint8]
Made = TypeVar("Made")


class _Key(NamedTuple):
    time: float  # seconds since the first picture
    place: int  # for seeking: time stamp of the track, or byte


def spread_pictures(
    path: Path, start_s: float, end_s: float, count: int, side: int, limits: Limits = DEFAULT_LIMITS
) -> list[Pixels]:
    """Pictures evenly spread over a span, each the key frame nearest to its time.

    Key frames of the span, if it has any (for several pictures: two); else pictures in between are decoded.

    Args:
        path: a video, an animation or a still image.
        start_s: seconds since the first picture.
        end_s: equal to ``start_s`` for a still.
        count: how many, at least 1; an image that does not move is repeated.
        side: pixels that none is wider or higher than; small ones are not enlarged.

    Returns:
        ``count`` times (H, W, 3) RGB, upright, in SDR, with square pixels, all of one shape.

    Raises:
        MediaError: the file cannot be read, or has no picture.
    """
    step = max(end_s - start_s, 0.0) / count
    times = [start_s + (number + 0.5) * step for number in range(count)]
    if path.suffix.lower() in IMAGE_SUFFIXES:
        if animation_facts(path, limits) is None:
            need = FrameNeed(fps=1, size=side)
            return [_within(read_image(path, path.name, [need], limits).frames[need].pixels[0], side)] * count
        return _read_through(path, times, side, limits)
    with _KeyFrames(path, limits) as video:
        found = video.pictures(start_s, end_s, times, lambda frame: video.small(frame, side))
    return found or _read_through(path, times, side, limits)


def _within(pixels: Pixels, side: int) -> Pixels:
    height, width = _box(pixels.shape[0], pixels.shape[1], side)
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _box(height: float, width: float, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _read_through(path: Path, times: Sequence[float], side: int, limits: Limits) -> list[Pixels]:
    """By the reader of extractors, from the beginning of the file."""
    moving = animation_facts(path, limits) if path.suffix.lower() in IMAGE_SUFFIXES else None
    facts = moving or probe_file(path, limits)
    if facts.picture is None:
        raise MediaError(NO_PICTURE)
    height, width = facts.picture.upright
    need = FrameNeed(fps=1, size=min(_box(height, width, side)))
    reader, found = _forward(path, facts, facts.picture, [need]), list[Pixels]()
    for time in times:
        frames = reader.read(_moment(time, facts.picture)).get(need)
        found += [frames.pixels[0]] if frames is not None else found[-1:]
    if not found:
        raise MediaError(NO_PICTURE)
    return [_within(each, side) for each in (found + found[-1:] * (len(times) - len(found)))]


def _forward(path: Path, facts: MediaFacts, picture: PictureFacts, needs: Sequence[FrameNeed]) -> PyavPictures:
    kind = AnimatedPictures if path.suffix.lower() in IMAGE_SUFFIXES else PyavPictures
    return kind(path, facts, picture, needs)


def _moment(time: float, picture: PictureFacts) -> Span:
    """A span of one frame."""
    at = max(0.0, min(time, picture.end_s - 2e-3))
    return Span(clip_id="", video="", start_s=at, end_s=at + 1e-3)


@final
class FirstLook(Pictures):
    """One frame a span for each need: a key frame near its middle, else what is on display there."""

    served_by = PyavPictures.served_by

    def __init__(self, path: Path, facts: MediaFacts, picture: PictureFacts, needs: Sequence[FrameNeed]) -> None:
        """``picture``: of these facts; the file is a video or an animation."""
        self._open = partial(_forward, path, facts, picture, needs)
        self._forward: PyavPictures | None = None  # one for all spans without a key frame, so nothing twice
        self._notes: dict[str, None] = {}
        self._picture, self._needs, self._upright = picture, needs, Upright(picture.crop, self._notes)
        self._keys = None if path.suffix.lower() in IMAGE_SUFFIXES else _KeyFrames(path, facts.limits)
        self._missed = 0

    @property
    def note(self) -> str:  # type: ignore[override]
        return "; ".join(self._notes) if self._forward is None else self._forward.note

    @property
    def end_s(self) -> float:  # type: ignore[override]
        return (self._picture if self._forward is None else self._forward).end_s

    @property
    def bad_packets(self) -> int:  # type: ignore[override]
        return 0 if self._forward is None else self._forward.bad_packets

    def read(self, span: Span) -> Mapping[FrameNeed, Frames]:
        end = min(span.end_s, self._picture.end_s)
        if span.start_s >= end - CLOSE_S:
            return {}
        time = (span.start_s + end) / 2
        found = self._keys.pictures(span.start_s, end, [time], self._converted) if self._keys else []
        if found:
            return {need: Frames(pixels=made[None], times=np.array([time])) for need, made in found[0].items()}
        self._missed += 1
        if self._missed == SPARSE:
            self._keys = None
        self._forward = self._forward or self._open()
        return self._forward.read(_moment(time, self._picture))

    def _converted(self, frame: VideoFrame) -> dict[FrameNeed, Pixels]:
        """As `PyavPictures` does."""
        look = self._picture.aspect, self._picture.upright
        return {need: self._upright(frame, *look, self._picture.shape(need.size)) for need in self._needs}


class _KeyFrames:
    """The video track of a file, read by its key packets; a context manager."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._container = open_media(path)
        stream = None if "video" in encrypted(self._container, path) else track(self._container, "video")
        if not isinstance(stream, VideoStream):
            raise MediaError(NO_PICTURE)
        limits.check_pixels(stream.width, stream.height)
        only(self._container, stream)
        start_decoder(stream, limits)
        self._stream, self._base = stream, stream.time_base or Fraction(1)
        self._numbered = in_stored_order(self._container)
        self._upright = Upright(container_crop(stream))
        aspect = float(stream.sample_aspect_ratio or 1)
        self._aspect = aspect if 0.05 < aspect < 20 else 1.0
        self._look: tuple[tuple[float, float], tuple[int, int]] | None = None  # of the first picture; its box
        self._listed: tuple[_Key, ...] | None = None
        self._spent: _Key | None = None  # pictures after it were decoded, which is not done twice
        if self._container.format.name in JOINABLE:
            status = path.stat()
            self._listed = _listed(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
            self._origin = 0.0 if self._listed else None
        else:
            self._origin = self._first()

    def __enter__(self) -> _KeyFrames:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _first(self) -> float | None:
        """Time of the first picture on the file's clock; None where packets have no times."""
        shown = (
            packet for packet in packets(self._container, self._stream) if packet.size and not packet.is_discard
        )
        stamps = []
        for packet in islice(shown, FIRST):
            time = self._stamp(packet)
            if packet.is_keyframe:
                return time
            stamps += [] if time is None else [time]
        return min(stamps, default=None)

    def _stamp(self, packet: av.Packet[Any]) -> float | None:
        return packet_time(packet, self._base, self._numbered)

    def pictures(
        self, start_s: float, end_s: float, times: Sequence[float], made: Callable[[VideoFrame], Made]
    ) -> list[Made]:
        """What is made of one for each time; none where the file has to be read as a whole."""
        if self._origin is None:
            return []
        try:
            before = [self._before(time) for time in times]
            if (first := before[0]) is None:
                return []
            keys = sorted({key for key in before if key is not None and key.time >= start_s - EPSILON_S})
            enough = min(2, len(times))
            if len(keys) < enough:
                keys = [key for key in self._until(first, end_s) if key.time >= start_s - EPSILON_S]
            if len(keys) < enough and (first.time > times[0] + EPSILON_S or first == self._spent):
                return []
            if len(keys) < enough:
                self._spent, found = first, list(self._onwards(first, times, made))
            else:
                nearest = [min(keys, key=lambda key: abs(key.time - time)) for time in times]
                shown = {key: self._alone(key, made) for key in dict.fromkeys(nearest)}
                found = [shown[key] for key in nearest]
        except (av.FFmpegError, OSError):  # it cannot seek
            return []
        there = [each for each in found if each is not None]
        return [there[0] if each is None else each for each in found] if there else []

    def _before(self, time: float) -> _Key | None:
        """The last key packet at or before a time, the first of all where there is none."""
        assert self._origin is not None
        if self._listed is not None:
            return self._listed[max(0, bisect_right([key.time for key in self._listed], time + EPSILON_S) - 1)]
        for back in BACK_S:
            since, found = max(time - back, 0.0), None
            self._container.seek(round((since + self._origin) / self._base), stream=self._stream)
            for key, at in self._stamped():
                if found is not None and at > time + EPSILON_S:
                    break
                found = key or found
            if found is not None and (found.time <= time + EPSILON_S or since <= 0):
                return found
        return None

    def _until(self, key: _Key, end_s: float) -> list[_Key]:
        """A key packet and those after it, before a time."""
        if self._listed is not None:
            return [each for each in self._listed if key.time <= each.time < end_s]
        self._container.seek(key.place, stream=self._stream)
        stamped = takewhile(lambda found: found[1] < end_s, self._stamped())
        return [key, *(other for other, _ in stamped if other is not None and other.time > key.time)]

    def _stamped(self) -> Iterator[tuple[_Key | None, float]]:
        """Of the packets to come: itself where it is a key packet, and its time."""
        for packet in packets(self._container, self._stream):
            stamp = self._stamp(packet)
            if stamp is not None and packet.size and not packet.is_discard:
                time, place = stamp - (self._origin or 0.0), packet.pts if packet.dts is None else packet.dts
                yield _Key(time, place or 0) if packet.is_keyframe else None, time

    def _from(self, key: _Key) -> Iterator[av.Packet[Any]]:
        """The packets from a key packet on."""
        if self._listed is not None:
            self._container.seek(key.place, unsupported_byte_offset=True)
        else:
            self._container.seek(key.place, stream=self._stream)
        self._stream.codec_context.flush_buffers()
        yield from dropwhile(lambda packet: not self._is(packet, key), packets(self._container, self._stream))

    def _is(self, packet: av.Packet[Any], key: _Key) -> bool:
        if self._listed is not None:
            return packet.is_keyframe
        return packet.is_keyframe and (packet.pts if packet.dts is None else packet.dts) == key.place

    def _alone(self, key: _Key, made: Callable[[VideoFrame], Made]) -> Made | None:
        """Of the picture of a key packet; None where it cannot be decoded."""
        for packet in chain(islice(self._from(key), 1), [None]):
            decoded: Sequence[VideoFrame] | None = decode(self._stream, packet)
            if decoded:
                return made(decoded[0])
        return None

    def _onwards(
        self, key: _Key, times: Sequence[float], made: Callable[[VideoFrame], Made]
    ) -> Iterator[Made | None]:
        """Of what is on display at ascending times, decoded from a key packet on."""
        self._stream.codec_context.skip_frame = "NONREF"
        pending, shown, ahead = deque(times), None, None
        for packet in chain(self._from(key), [None]):
            decoded: Sequence[VideoFrame] | None = decode(self._stream, packet)
            for frame in decoded or ():
                stamp = frame_time(frame, self._container)
                if stamp is not None:
                    ahead = stamp - key.time if ahead is None else ahead
                    while pending and shown is not None and stamp - ahead > pending[0] + EPSILON_S:
                        pending.popleft()
                        yield made(shown)
                shown = frame
            if not pending:
                return
        yield from [None if shown is None else made(shown)] * len(pending)

    def small(self, frame: VideoFrame, side: int) -> Pixels:
        """Neither wider nor higher than ``side`` pixels; all in the shape of the first one."""
        if self._look is None:
            shape = self._upright.shape(frame, self._aspect)
            self._look = shape, _box(*shape, side)
        return self._upright(frame, self._aspect, *self._look)


@lru_cache(maxsize=8)
def _listed(path: Path, state: tuple[int, ...]) -> tuple[_Key, ...]:
    """All key packets of a stream that may restart its clock, with their places; for one state of the file."""
    found: list[_Key] = []
    with open_media(path) as container:
        stream = track(container, "video")
        assert isinstance(stream, VideoStream)
        only(container, stream)
        timeline, base = Timeline(container), stream.time_base
        for packet in packets(container, stream):
            if packet.size:
                timeline.learn(packet)
            time = packet_time(packet, base) if base else None
            if packet.is_keyframe and packet.pos is not None and time is not None:
                found.append(_Key(time, packet.pos))
    return tuple(sorted(_Key(time - found[0].time, place) for time, place in found))
