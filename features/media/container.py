"""A media file opened for reading: tracks, packets, their times, and the decoder of one track.

Transport and program streams that were joined end to end restart their clock. `Timeline` shifts every packet from
the place where the clock falls back, or leaps ahead, so that it continues where the part before it ended. In other
containers time stamps are believed: ten hours between two pictures may be meant.
"""

from __future__ import annotations

import ctypes
import io
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from features.errors import MediaError
from features.media.faults import reason_unread
from features.media.frames import EPSILON_S
from features.media.library import DEFAULT_LIMITS, Limits

SLACK = 2  # the decoder pads rows and columns, so it counts a picture larger than it is
JOINABLE = frozenset(("mpegts", "mpeg"))
# after a seek, packets have the same times as in one pass from the start; elsewhere ffmpeg guesses some of them
SEEKABLE = frozenset(("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "avi", "asf"))
BACK_S = (0.0, 3.0, 30.0)  # ahead of the time wanted: a seek may land behind the key packet before it
HELD = 4096  # packets that are held back, at most, while a later key packet may make them needless
FALL_S, LEAP_S = 0.1, 10.0  # of decode times, which otherwise rise steadily; ffmpeg uses the same
_COVER = Disposition.attached_pic | Disposition.timed_thumbnails
# PyAV raises at kinds of side data that it has no name for, whichever is wanted; they get that of another
Type._missing_ = classmethod(lambda cls, value: cls.VIDEO_HINT)  # type: ignore[method-assign, assignment]
# PyAV frees a channel layout of custom order twice: with its frame, and with the object that is never freed now
_keep = ctypes.PYFUNCTYPE(None, ctypes.py_object)(("Py_IncRef", ctypes.pythonapi))

Kind = Literal["video", "audio"]
AnyFrame = TypeVar("AnyFrame", VideoFrame, AudioFrame)


class _File(io.FileIO):
    """A file without a name, so that nothing in its name means anything to ffmpeg; closed when nobody reads it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.name = ""

    def __del__(self) -> None:
        self.close()


def open_media(path: Path) -> InputContainer:
    """Open a file to read it; ffmpeg itself may open nothing, whatever a playlist or reference inside asks for."""
    check_file(path)
    try:
        file = _File(path)
    except PermissionError as error:
        raise MediaError("no permission to read it") from error
    try:
        return av.open(file, "r", options={"protocol_whitelist": ""}, metadata_errors="replace")
    except MemoryError:  # one of ffmpeg's errors, too, but not the file's fault
        raise
    except (av.FFmpegError, OSError) as error:
        raise MediaError(reason_unread(path) or "not a video: its content is of no known media format") from error


def check_file(path: Path) -> None:
    """Raises MediaError unless this is a regular file that is not empty: a pipe or device may never end."""
    if not path.is_file():
        raise MediaError("there is no such file" if not path.exists() else "not a file")
    if path.stat().st_size == 0:
        raise MediaError("the file is empty (0 bytes)")


def tracks(container: InputContainer, kind: Kind) -> list[Stream]:
    """All tracks of a kind; a cover picture is no video track."""
    return [s for s in container.streams if s.type == kind and not s.disposition & _COVER]


def track(container: InputContainer, kind: Kind) -> Stream | None:
    """The track of a kind that a player would choose, the sound in the programme of the pictures.

    None where no track can be decoded.
    """
    streams = [s for s in tracks(container, kind) if s.codec_context is not None and beside_pictures(container, s)]
    best = container.streams.best(kind, related=container.streams.best("video"))
    return best if best in streams else next(iter(streams), None)


def beside_pictures(container: InputContainer, stream: Stream) -> bool:
    """Whether a track is in the programme of the pictures; most containers hold one programme."""
    return container.streams.best("video", related=stream) == container.streams.best("video")


def only(container: InputContainer, *wanted: Stream) -> None:
    """Let the demuxer discard every other track."""
    for stream in container.streams:
        if stream not in wanted:
            stream.discard = Discard.all


def packets(container: InputContainer, *streams: Stream) -> Iterator[av.Packet[Any]]:
    """Packets in file order, as far as the file can be read. One of no bytes repeats the picture before it."""
    try:
        for packet in container.demux(*streams):
            if packet.size or packet.dts is not None:  # else PyAV's own, to flush
                yield packet
    except MemoryError:
        raise
    except (av.FFmpegError, OSError):
        return


def decode(stream: VideoStream | AudioStream, packet: av.Packet[Any] | None) -> Sequence[AnyFrame] | None:
    """Frames that a packet brings (None: the last ones); None where it cannot be decoded."""
    try:
        frames = stream.decode(packet)
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError):
        return None
    for frame in frames:
        if packet is None:
            frame.time_base = stream.time_base  # PyAV takes it from the packet
        if isinstance(frame, AudioFrame):
            channel_count(frame)
    return cast("Sequence[AnyFrame]", frames)


def channel_count(sound: AudioFrame | AudioCodecContext) -> int:
    """Ask for channels, or for their layout, only after this: one of custom order would be freed twice."""
    layout = sound.layout
    if " " in layout.name:  # the names of usual orders have none
        _keep(layout)
    return layout.nb_channels


def in_stored_order(container: InputContainer) -> bool:
    """Whether the file has decode times only, no display times: avi."""
    return container.format.name == "avi"


def frame_time(frame: VideoFrame | AudioFrame, container: InputContainer) -> float | None:
    """Time of a decoded frame in the file's own seconds; None where it has none."""
    stamp = frame.pts if frame.pts is not None else frame.dts
    if isinstance(frame, VideoFrame) and in_stored_order(container):
        stamp = frame.dts  # of the packet after which it came out; its pts is a guess
    return None if stamp is None or frame.time_base is None else in_seconds(stamp, frame.time_base)


def packet_time(packet: av.Packet[Any], base: Fraction, stored: bool = False) -> float | None:
    """Display time (``stored``: decode time) of a packet in the file's own seconds; None where it has none."""
    stamp = packet.dts if stored or packet.pts is None else packet.pts
    return None if stamp is None else in_seconds(stamp, base)


def in_seconds(ticks: int, base: Fraction) -> float:
    """Seconds; equal stamps of packets and frames give equal seconds."""
    return ticks * base.numerator / base.denominator


class Timeline:
    """Shifts packets onto one clock. The first pass over a file learns the shifts; later passes apply them."""

    def __init__(self, container: InputContainer) -> None:
        self._joinable = container.format.name in JOINABLE
        self._starts: list[int] = []  # byte offsets at which a part begins, ascending
        self._shifts: list[float] = [0.0]  # seconds: one before the first start, then one for each
        self._ends: dict[int, float] = {}  # by track: when the last packet ended, shifted
        self._place = 0

    def learn(self, packet: av.Packet[Any]) -> None:
        """Detect a restart of the clock, and shift the packet."""
        if not self._joinable or packet.dts is None or packet.size == 0:
            return
        own, lasts = float(packet.dts * packet.time_base), float((packet.duration or 0) * packet.time_base)
        time, end = own + self._shift(packet), self._ends.get(packet.stream_index)
        if end is not None and not end - FALL_S <= time <= max(self._ends.values()) + LEAP_S:
            part, time = bisect_right(self._starts, self._place), end
            if part < len(self._starts):  # known from the other track already, by a packet a little further on
                self._starts[part] = self._place
            else:
                self._starts.append(self._place)
                self._shifts.append(end - own)
        self._ends[packet.stream_index] = time + lasts
        self.apply(packet)

    def apply(self, packet: av.Packet[Any]) -> None:
        """Shift a packet of any track as `learn` does."""
        if not self._starts:
            return
        shift = round(self._shift(packet) / packet.time_base)
        if packet.pts is not None:
            packet.pts += shift
        if packet.dts is not None:
            packet.dts += shift

    def _shift(self, packet: av.Packet[Any]) -> float:
        if packet.pos is not None:  # the second picture of an access unit has none
            self._place = packet.pos
        return self._shifts[bisect_right(self._starts, self._place)]


class Decoder(Generic[AnyFrame]):
    """One forward pass over one track with one thread. Bad packets are skipped and counted."""

    stream: VideoStream | AudioStream
    bad_packets: int
    _given: Timeline | None
    _timeline: Timeline
    _held: list[av.Packet[Any]]
    _sparing: bool

    def __init__(
        self,
        path: Path,
        kind: Kind,
        timeline: Timeline | None = None,
        limits: Limits = DEFAULT_LIMITS,
        start_s: float | None = None,
    ) -> None:
        """Raises MediaError as open_media does, and where the file has no track of this kind.

        ``timeline``: as learnt by a pass over the file; without it the file's own clock is used. ``start_s``: the
        first packet is the last key packet at or before that time; without one it is the file's.
        """
        self._given = timeline
        self.bad_packets = 0
        self._sparing = False
        self._open(path, kind)
        if start_s is not None:
            seeks = self._container.format.name in SEEKABLE
            if not (seeks and any(self._begin(start_s, back) for back in BACK_S)):
                if seeks:
                    self._container.close()
                    self._open(path, kind)
                self._begin(start_s, None)
        start_decoder(self.stream, limits)

    def _open(self, path: Path, kind: Kind) -> None:
        self._container = open_media(path)
        self._timeline = self._given or Timeline(self._container)
        stream = track(self._container, kind)
        if stream is None:
            raise MediaError(f"it has no {kind} track")
        only(self._container, stream)
        self.stream = cast("VideoStream | AudioStream", stream)
        self._base = stream.time_base or Fraction(1)
        self._held, self._packets = [], self._shifted(packets(self._container, stream))

    def _begin(self, start_s: float, back: float | None) -> bool:
        """Hold the packets from the last key packet at or before a time on, searched from ``back`` seconds before
        it (None: from the file's first packet). False where a seek led to none.
        """
        if back is not None:
            try:
                self._container.seek(math.floor((start_s - back) / self._base), stream=self.stream)
            except (av.FFmpegError, OverflowError):
                return False
            self._held, self._packets = [], self._shifted(packets(self._container, self.stream))
        for packet in self._packets:
            time = packet_time(packet, self._base, in_stored_order(self._container))
            early = time is not None and time <= start_s + EPSILON_S
            if early and (packet.is_keyframe or self.stream.type == "audio"):
                self._held = []
            self._held.append(packet)
            if not early or len(self._held) == HELD:
                break
        if back is None or not self._held:
            return back is None or self.stream.type == "audio"  # no sound follows, wherever it ended
        time = packet_time(self._held[0], self._base, in_stored_order(self._container))
        key = self._held[0].is_keyframe or self.stream.type == "audio"
        return key and time is not None and time <= start_s + EPSILON_S

    def packets(self) -> Iterator[av.Packet[Any]]:
        """Packets in file order, with their times on the clock of the timeline; none of no bytes."""
        yield from self._held
        self._held = []
        yield from self._packets

    def _shifted(self, found: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        for packet in found:
            if packet.size:
                self._timeline.apply(packet)
                yield packet

    def frames(
        self, needless: Callable[[float | None], bool] | None = None
    ) -> Iterator[tuple[float | None, AnyFrame]]:
        """Frames in display order with their time in the file's own seconds (None: unknown).

        A frame at a time that is ``needless`` is skipped undecoded, unless other frames depend on it.
        """
        for packet in self.packets():
            if needless is not None:
                self._spare(needless(packet_time(packet, self._base)))
            yield from self._decode(packet)
        yield from self._decode(None)
        self._container.close()

    def _spare(self, needless: bool) -> None:
        if needless is not self._sparing:
            self.stream.codec_context.skip_frame = "NONREF" if needless else "DEFAULT"
            self._sparing = needless

    def _decode(self, packet: av.Packet[Any] | None) -> Iterator[tuple[float | None, AnyFrame]]:
        decoded: Sequence[AnyFrame] | None = decode(self.stream, packet)
        if decoded is None or (packet is not None and packet.is_corrupt) or any(f.is_corrupt for f in decoded):
            self.bad_packets += 1
        for frame in decoded or ():
            yield frame_time(frame, self._container), frame


def start_decoder(stream: VideoStream | AudioStream, limits: Limits) -> None:
    """Set the decoder to one thread (there is a worker a core) and to refuse giant pictures."""
    stream.codec_context.thread_count = 1
    if isinstance(stream, VideoStream):
        stream.codec_context.options = {"max_pixels": str(SLACK * limits.max_pixels)}
