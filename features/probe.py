"""What a file holds: container, tracks, rotation, and when each packet is shown or heard.

The packets are walked once without decoding them, so that clips can be cut before the first frame is
decoded, and cut alike whichever reader and streams are asked for; durations in headers are not believed.
Only the first picture is decoded (without one, the first sound): its time is time 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from features.errors import MediaError
from features.media_file import MAX_PIXELS, not_media, only, open_media, packet_time, packets, start_decoder, track

LONGEST_HOLD_S = 30.0  # a picture is believed to stay on display this long, whatever the file says
UNSAID_S = 0.5  # a packet of sound that does not say how long it lasts goes on to the next, up to this
TAIL_S = 1.0  # sound that outlasts the pictures by less makes the file no longer


@dataclass(frozen=True, kw_only=True)
class PictureFacts:
    """A video track that can be decoded."""

    codec: str
    pixel_format: str
    width: int  # stored pixels, before rotation
    height: int
    aspect: float  # width over height of one pixel
    rotation: int  # degrees counterclockwise that make the picture upright: 0, 90, 180, 270
    step: float  # usual seconds from one picture to the next
    times: NDArray[np.float64]  # (N,) seconds, ascending, of all packets that are shown
    end_s: float
    trimmed: bool  # an edit list hides some packets
    corrupt: int  # packets that the container itself calls damaged or incomplete


@dataclass(frozen=True, kw_only=True)
class SoundFacts:
    """A sound track; whether it can be decoded shows when it is."""

    codec: str
    rate: int
    held: NDArray[np.float64]  # (N, 2) seconds from and to which each packet lasts, from time 0 on

    def within(self, start_s: float, end_s: float) -> bool:
        """Whether any packet is heard in this span of seconds."""
        return bool(((self.held[:, 0] < end_s) & (self.held[:, 1] > start_s)).any())


@dataclass(frozen=True, kw_only=True)
class MediaFacts:
    """All that a reader has to know before it decodes."""

    container: str
    origin_s: float  # time 0 on the file's own clock
    picture: PictureFacts | None
    sound: SoundFacts | None
    declared_s: float | None  # duration by the header
    extent_s: float  # duration by the packets that are really there
    fault: str = ""  # a track that is there but cannot be decoded

    @property
    def held(self) -> NDArray[np.float64]:
        """(N, 2) seconds from and to which each picture and each piece of sound lasts."""
        rows: list[NDArray[np.float64]] = []
        if self.picture is not None:
            times = self.picture.times
            ends = np.minimum(np.append(times[1:], self.picture.end_s), times + LONGEST_HOLD_S)
            rows.append(np.stack([times, ends], axis=1))
        if self.sound is not None:
            sound = self.sound.held
            if self.picture is not None and sound[:, 1].max(initial=0) < self.picture.end_s + TAIL_S:
                sound = np.minimum(sound, self.picture.end_s)
            rows.append(sound)
        return np.concatenate(rows)


class _Walk:
    """Packet times of the tracks, and the first picture (or first sound) on the way."""

    def __init__(self, container: InputContainer, video: Stream | None, audio: Stream | None) -> None:
        self.stamps: dict[int, list[tuple[float, float]]] = {}
        self.first: dict[int, Any] = {}
        self.discarded = self.corrupt = 0
        streams = [stream for stream in (video, audio) if stream is not None]
        for stream in streams:
            self.stamps[stream.index] = []
        for packet in packets(container, *streams):
            self._decode_first(packet)
            if packet.size:
                self._note(packet, packet.stream is video)

    def _decode_first(self, packet: av.Packet[Any]) -> None:
        if packet.stream_index in self.first:
            return
        try:
            decoded = packet.decode()
        except (av.FFmpegError, ValueError):
            return
        if decoded:
            self.first[packet.stream_index] = decoded[0]

    def _note(self, packet: av.Packet[Any], is_picture: bool) -> None:
        if is_picture:
            self.corrupt += packet.is_corrupt
            self.discarded += packet.is_discard
        time = packet_time(packet)
        if time is not None and not packet.is_discard:
            self.stamps[packet.stream_index].append((time, float((packet.duration or 0) * packet.time_base)))


def probe(path: Path) -> MediaFacts:
    """Find out what a file holds.

    Raises:
        MediaError: it cannot be opened, holds neither pictures nor sound that can be decoded, or
            its pictures are larger than 100 megapixels.
    """
    with open_media(path) as container:
        video, audio = track(container, "video"), track(container, "audio")
        if video is None and audio is None:
            raise not_media(path, "it holds neither pictures nor sound")
        if isinstance(video, VideoStream) and video.width * video.height > MAX_PIXELS:
            raise MediaError(f"its pictures are too large: {video.width} x {video.height} pixels")
        only(container, *(stream for stream in (video, audio) if stream is not None))
        for stream in (video, audio):
            if isinstance(stream, VideoStream | AudioStream):
                start_decoder(stream)
        walk = _Walk(container, video, audio)
        shown = video is not None and video.index in walk.first
        if not shown and (audio is None or audio.index not in walk.first):
            raise MediaError("damaged: neither pictures nor sound in it can be decoded")
        main = video if shown else audio
        assert main is not None
        origin = _time_of(walk.first[main.index], main)
        if origin is None:
            origin = min((time for time, _ in walk.stamps[main.index]), default=0.0)
        stamps = [stamp for track_stamps in walk.stamps.values() for stamp in track_stamps]
        picture = _picture_facts(cast("VideoStream", video), walk, origin) if shown else None
        return MediaFacts(
            container=container.format.name,
            origin_s=origin,
            picture=picture,
            sound=_sound_facts(cast("AudioStream", audio), walk, origin) if audio is not None else None,
            declared_s=container.duration / av.time_base if container.duration else None,
            extent_s=max((t + d for t, d in stamps), default=0.0) - min((t for t, _ in stamps), default=0.0),
            fault="the picture track cannot be decoded" if video is not None and not shown else "",
        )


def _time_of(frame: Any, stream: Stream) -> float | None:
    stamp = frame.pts if frame.pts is not None else frame.dts
    return None if stamp is None or stream.time_base is None else float(stamp * stream.time_base)


def _picture_facts(stream: VideoStream, walk: _Walk, origin: float) -> PictureFacts:
    frame: VideoFrame = walk.first[stream.index]
    rate = stream.average_rate or stream.guessed_rate
    step = float(1 / rate) if rate and 0.1 <= rate <= 1000 else 0.04
    stamps = sorted(walk.stamps[stream.index]) or [(origin, 0.0)]
    times = np.maximum(np.array([time for time, _ in stamps]) - origin, 0.0)
    aspect = float(stream.sample_aspect_ratio or 1)
    return PictureFacts(
        codec=stream.codec_context.name,
        pixel_format=frame.format.name,
        width=frame.width,
        height=frame.height,
        aspect=aspect if 0.05 < aspect < 20 else 1.0,
        rotation=round(frame.rotation / 90) * 90 % 360,
        step=step,
        times=times,
        end_s=float(times[-1]) + min(stamps[-1][1] or step, LONGEST_HOLD_S),
        trimmed=walk.discarded > 0,
        corrupt=walk.corrupt,
    )


def _sound_facts(stream: AudioStream, walk: _Walk, origin: float) -> SoundFacts | None:
    stamps = np.array(sorted(walk.stamps[stream.index]) or [(origin, 0.0)])
    starts = stamps[:, 0] - origin
    until_next = np.append(np.diff(starts), 0.0)
    lasts = np.where(stamps[:, 1] > 0, stamps[:, 1], np.minimum(until_next, UNSAID_S))
    ends = starts + np.clip(lasts, 0.001, LONGEST_HOLD_S)
    held = np.maximum(np.stack([starts, ends], axis=1), 0.0)[ends > 0]
    if len(held) == 0:
        return None
    return SoundFacts(codec=stream.codec_context.name, rate=stream.rate, held=held)
