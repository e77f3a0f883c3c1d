"""A media file opened for reading: its tracks, its packets, and one sentence when it cannot be opened.

ffmpeg's own log is silent under PyAV unless somebody turns it on, so nothing is done here to silence it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from features.errors import MediaError

MAX_PIXELS = 100_000_000  # a larger picture is refused before it is decoded
_COVER = Disposition.attached_pic | Disposition.timed_thumbnails

Kind = Literal["video", "audio"]
AnyFrame = TypeVar("AnyFrame", VideoFrame, AudioFrame)


def open_media(path: Path) -> InputContainer:
    """Open a file to read it; only local bytes are followed, never an address inside the file.

    Raises:
        MediaError: there is no such file, it is empty, damaged, or no media file.
    """
    if not path.is_file():
        raise MediaError("there is no such file" if not path.exists() else "not a file")
    if path.stat().st_size == 0:
        raise MediaError("the file is empty (0 bytes)")
    try:
        return av.open(str(path), "r", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except PermissionError as error:
        raise MediaError("no permission to read it") from error
    except (av.FFmpegError, OSError) as error:
        raise not_media(path, "its content is of no known media format") from error


def not_media(path: Path, reason: str) -> MediaError:
    """The error for a file that holds nothing for us; an mp4 without its index is no mystery."""
    if _lacks_index(path):
        return MediaError("cut short or damaged: the index (moov) is missing")
    return MediaError(f"not a video: {reason}")


def _lacks_index(path: Path) -> bool:
    """Whether this is an mp4 or mov file, by its first box, that has no moov box."""
    size = path.stat().st_size
    with path.open("rb") as file:
        position, first = 0, True
        while position + 8 <= size:
            file.seek(position)
            length, kind = struct.unpack(">I4s", file.read(8))
            if first and kind not in (b"ftyp", b"mdat", b"wide", b"free", b"skip"):
                return False
            if kind == b"moov":
                return bool(position + length > size)  # begun, but cut off
            if length == 1:
                length = int.from_bytes(file.read(8), "big")
            if length < 8:  # 0: up to the end of the file
                return not first or length == 0
            position, first = position + length, False
    return not first


def track(container: InputContainer, kind: Kind) -> Stream | None:
    """The track of a kind that a player would choose; a cover picture is no video track."""
    streams = [s for s in container.streams if s.type == kind and not s.disposition & _COVER]
    best = container.streams.best(kind)
    return best if best in streams else next(iter(streams), None)


def only(container: InputContainer, *wanted: Stream) -> None:
    """Spare the demuxer the work on every other track."""
    for stream in container.streams:
        if stream not in wanted:
            stream.discard = Discard.all


def packets(container: InputContainer, *streams: Stream) -> Iterator[av.Packet[Any]]:
    """Packets in file order, up to where the file can be read; the empty ones that flush come last."""
    try:
        yield from container.demux(*streams)
    except (av.FFmpegError, OSError):
        return


def packet_time(packet: av.Packet[Any]) -> float | None:
    """When a packet is shown or heard, in the file's own seconds; None where nothing is said."""
    stamp = packet.pts if packet.pts is not None else packet.dts
    return None if stamp is None else float(stamp * packet.time_base)


class Decoder(Generic[AnyFrame]):
    """One forward pass over one track with one thread. Bad packets are skipped and counted."""

    def __init__(self, path: Path, kind: Kind) -> None:
        """Raises MediaError as open_media does, and where the file has no track of this kind."""
        self._container = open_media(path)
        stream = track(self._container, kind)
        if stream is None:
            raise MediaError(f"it has no {kind} track")
        only(self._container, stream)
        self.stream = cast("VideoStream | AudioStream", stream)
        self.bad_packets = 0
        start_decoder(self.stream)

    def frames(self) -> Iterator[tuple[float | None, AnyFrame]]:
        """Frames in display order with their time in the file's own seconds (None: not said)."""
        flushed = False
        for packet in packets(self._container, self.stream):
            flushed = packet.size == 0
            yield from self._decode(packet)
        if not flushed:  # reading broke off
            yield from self._decode(None)
        self._container.close()

    def _decode(self, packet: av.Packet[Any] | None) -> Iterator[tuple[float | None, AnyFrame]]:
        try:
            decoded = self.stream.decode(packet)
        except (av.FFmpegError, ValueError):
            self.bad_packets += 1
            return
        if (packet is not None and packet.is_corrupt) or any(frame.is_corrupt for frame in decoded):
            self.bad_packets += 1
        for frame in decoded:
            stamp = frame.pts if frame.pts is not None else frame.dts
            time = None if stamp is None or self.stream.time_base is None else float(stamp * self.stream.time_base)
            yield time, cast("AnyFrame", frame)


def start_decoder(stream: VideoStream | AudioStream) -> None:
    """Set the decoder to one thread (workers run one a core) and to refuse giant pictures."""
    stream.codec_context.thread_count = 1
    if isinstance(stream, VideoStream):
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
