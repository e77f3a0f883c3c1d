"""What a file holds: container, tracks, orientation, and when each packet is shown or heard.

One pass over the packets, without decoding them. So clips can be cut before the first frame is decoded, and the
same way whichever reader and streams are requested; durations in headers are not trusted. Only the first picture
is decoded (without pictures, the first sound): its time is time 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
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
from features.media.clip import SourceFacts, Span
from features.media.colour import TRANSFERS
from features.media.container import (
    JOINABLE,
    Timeline,
    channel_count,
    decode,
    frame_time,
    in_seconds,
    in_stored_order,
    only,
    open_media,
    packet_time,
    packets,
    start_decoder,
    track,
    tracks,
)
from features.media.faults import ENCRYPTED, encrypted, reason_unread
from features.media.frames import NO_CROP, Crop, Orientation, container_crop, orientation, scaled_size
from features.media.library import DEFAULT_LIMITS, Limits

LONGEST_HOLD_S = 3600.0  # a picture makes clips for at most so long: a longer pause is mostly a leap of the clock
LONGEST_PACKET_S = 30.0  # longer durations of single packets are not believed
TAIL_GAPS = 3  # the last picture may outlast its packet by so many times the longest pause between two
UNSAID_S = 0.5  # a packet of sound without a duration lasts until the next, up to this
DOLBY, UNSPECIFIED = "Dolby Vision without an HDR10 or HLG picture: its colours are wrong", 2
PROGRESSIVE = 1  # the larger field orders are interlaced
NOTHING = "not a video: it holds neither pictures nor sound"
TAIL_S = 1.0  # sound that outlasts the pictures by less does not make the file longer


@dataclass(frozen=True, kw_only=True)
class PictureFacts:
    """A video track that can be decoded."""

    codec: str
    pixel_format: str
    width: int  # stored pixels, cropped, before the picture is turned upright
    height: int
    rate: float | None  # mean pictures a second
    step: float  # usual seconds from one picture to the next
    times: NDArray[np.float64]  # (N,) seconds, ascending, of all packets that are shown
    end_s: float
    aspect: float = 1.0  # width over height of one pixel
    orientation: Orientation = field(default_factory=Orientation)
    trimmed: bool = False  # an edit list hides some packets
    spaced: bool = True  # every picture has a display time, and no two the same
    leading: int = 0  # pictures stored after a key picture, but shown before it: groups are open
    corrupt: int = 0  # packets that the container marks as damaged or incomplete
    crop: Crop = NO_CROP  # by the container
    interlaced: bool = False  # the first picture is, or the header says so
    profile: str = ""  # of the codec: "High", "Profile 0"
    hdr: bool = False  # the first picture is

    @property
    def upright(self) -> tuple[float, float]:
        """Height and width of its pictures, upright and with square pixels, at the stored number of rows."""
        wide, high = self.width * self.aspect, float(self.height)
        return (wide, high) if self.orientation.transposed else (high, wide)

    def shape(self, size: int) -> tuple[int, int]:
        """The same, scaled to a short side of ``size`` pixels."""
        return scaled_size(*self.upright, size)


@dataclass(frozen=True, kw_only=True)
class SoundFacts:
    """A sound track, which may turn out not to be decodable."""

    codec: str
    rate: int
    held: NDArray[np.float64]  # (N, 2) seconds from and to which each packet lasts, from time 0 on
    channels: int = 1
    profile: str = ""


@dataclass(frozen=True, kw_only=True)
class MediaFacts:
    """What readers need to know of a file before they decode it."""

    container: str
    picture: PictureFacts | None
    extent_s: float  # duration by the packets that are really there
    limits: Limits
    origin_s: float = 0.0  # time 0 on the file's own clock
    sound: SoundFacts | None = None
    declared_s: float | None = None  # duration by the header
    timeline: Timeline | None = None  # of a video
    fault: str = ""  # a track that is there but cannot be decoded
    notes: tuple[str, ...] = ()  # what readers do to it that is no damage: "HDR brought to SDR"

    @property
    def source(self) -> SourceFacts:
        """What the store records of the file."""
        picture, sound = self.picture, self.sound
        facts: dict[str, Any] = {"file_seconds": round(float(self.held[:, 1].max()), 3)}
        if picture is not None:
            height, width = map(round, picture.upright)
            facts |= {"width": width, "height": height, "fps": picture.rate, "video_codec": picture.codec}
        if sound is not None:
            facts |= {"audio_codec": sound.codec, "audio_rate": sound.rate}
        return SourceFacts(**facts)

    def has_sound(self, span: Span) -> bool:
        """Whether a span holds any packet of sound."""
        if self.sound is None:
            return False
        held = self.sound.held
        return bool(((held[:, 0] < span.end_s) & (held[:, 1] > span.start_s)).any())

    @property
    def seconds(self) -> float:
        """How long anything is shown or heard, without gaps."""
        held = self.held[np.argsort(self.held[:, 0])]
        before = np.append(0.0, np.maximum.accumulate(held[:-1, 1]))
        return float(np.maximum(held[:, 1] - np.maximum(held[:, 0], before), 0.0).sum())

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
    """The times of all packets, and the first decoded picture (or sound)."""

    def __init__(
        self,
        container: InputContainer,
        streams: Sequence[VideoStream | AudioStream],
        limits: Limits,
        head_s: float = math.inf,
    ) -> None:
        self.timeline = Timeline(container)
        self.numbered = in_stored_order(container)
        self.first: dict[int, Any] = {}
        self.whole = True
        self.discarded = self.corrupt = self.untimed = self.leading = 0
        self._key_time = -math.inf
        bases = {stream.index: stream.time_base or Fraction(1) for stream in container.streams}
        own = {stream.index: stream for stream in streams}
        # the other sound and subtitles count for the duration only, which a header gives for all tracks together
        timed = [s for s in container.streams if s.index in own or s.type in ("audio", "subtitle")]
        self.stamps: dict[int, list[tuple[float, float]]] = {index: [] for index in bases}  # time and duration
        self.counts = dict.fromkeys(bases, 0)
        self.repeated = self.ended = -math.inf  # when the last repeated picture ends, and the last packet of all
        seconds = dict.fromkeys(bases, 0.0)
        only(container, *timed)
        for packet in packets(container, *timed):
            index, base = packet.stream_index, bases[packet.stream_index]
            if index in own:
                self.timeline.learn(packet)
            else:
                self.timeline.apply(packet)
            lasts = in_seconds(packet.duration or 0, base)
            time = packet_time(packet, base, self.numbered and packet.stream.type == "video")
            if time is not None and not packet.is_discard:
                self.ended = max(self.ended, time + lasts)
            if index in own and packet.size:
                self.counts[index] += 1
                self._decode_first(own[index], packet)
                self._note(packet, time, lasts)
                seconds[index] += min(lasts, LONGEST_PACKET_S)
                limits.check_seconds(seconds[index])  # here, because the pass itself may take long
                if streams[0].index in self.first and seconds[index] > head_s:
                    self.whole = False
                    break
            elif time is not None and packet.stream.type == "video":
                self.repeated = max(self.repeated, time + lasts)
        for stream in streams:
            self._decode_first(stream, None)

    def _decode_first(self, stream: VideoStream | AudioStream, packet: av.Packet[Any] | None) -> None:
        """The first frame of each track; that of the sound counts only where there is no picture."""
        if stream.index in self.first or (self.first and stream.type == "audio"):
            return
        if decoded := decode(stream, packet):
            self.first[stream.index] = decoded[0]

    def _note(self, packet: av.Packet[Any], time: float | None, lasts: float) -> None:
        if packet.stream.type == "video":
            self.corrupt += packet.is_corrupt
            self.discarded += packet.is_discard
            self.untimed += packet.pts is None
            if time is not None:
                self._key_time = time if packet.is_keyframe else self._key_time
                self.leading += time < self._key_time
        if time is not None and not packet.is_discard:
            self.stamps[packet.stream_index].append((time, lasts))


def probe_file(path: Path, limits: Limits = DEFAULT_LIMITS, head_s: float = math.inf) -> MediaFacts:
    """Read what a file holds; raises MediaError where it cannot be opened, or decoded, or exceeds the limits.

    ``head_s``: seconds of a track after which the pass ends, except where the clock may restart; times and
    durations are those of this part.
    """
    with open_media(path) as container:
        locked = encrypted(container, path)
        video, audio = (None if kind in locked else track(container, kind) for kind in ("video", "audio"))
        if video is None and audio is None:
            if not locked and (tracks(container, "video") or tracks(container, "audio")):
                raise MediaError("there is no decoder for the pictures and the sound in it")
            raise MediaError(ENCRYPTED if locked else reason_unread(path) or NOTHING)
        if isinstance(video, VideoStream):
            limits.check_pixels(video.width, video.height)
        streams = [stream for stream in (video, audio) if isinstance(stream, VideoStream | AudioStream)]
        for stream in streams:
            start_decoder(stream, limits)
        walk = _Walk(container, streams, limits, math.inf if container.format.name in JOINABLE else head_s)
        # the others are announced, and empty
        there = [s for s in streams if walk.counts[s.index] or s.frames or not walk.whole]
        shown = video is not None and video.index in walk.first
        if not walk.first:
            damage = "damaged: neither pictures nor sound in it can be decoded"
            raise MediaError(reason_unread(path) or (damage if there else NOTHING))
        main = cast("Stream", video if shown else audio).index
        origin = frame_time(walk.first[main], container)
        if origin is None:
            origin = min((time for time, _ in walk.stamps[main]), default=0.0)
        picture = _picture_facts(cast("VideoStream", video), walk, origin) if shown else None
        sound = _sound_facts(cast("AudioStream", audio), walk, origin) if audio in there else None
        faults = [f"the {'picture' if kind == 'video' else 'sound'} track is encrypted" for kind in sorted(locked)]
        announced = tracks(container, "video") and (video is None or video in there)
        if announced and not shown and "video" not in locked:
            faults.append("the picture track cannot be decoded")
        declared, extent = _durations(container, there, walk)
        if picture is not None:
            picture = _kept(picture, walk.stamps[main], sound, declared or 0.0)
            extent = max(extent, picture.end_s)
        facts = MediaFacts(
            container=container.format.name,
            origin_s=origin,
            picture=picture,
            sound=sound,
            declared_s=declared,
            extent_s=extent,
            timeline=walk.timeline,
            limits=limits,
            fault="; ".join(faults),
            notes=(DOLBY,) if shown and _is_dolby_alone(cast("VideoStream", video), walk.first[main]) else (),
        )
    limits.check_seconds(seconds := facts.seconds)
    longest = np.diff(picture.times, append=picture.end_s).max() if picture is not None else 0.0
    if longest > LONGEST_HOLD_S and (left_out := float(facts.held[:, 1].max()) - seconds) > TAIL_S:
        note = f"{left_out:.0f} s are in no clip: without sound a picture is kept for an hour at most"
        facts = replace(facts, notes=(*facts.notes, note))
    return facts


def _durations(container: InputContainer, streams: Sequence[Stream], walk: _Walk) -> tuple[float | None, float]:
    """Seconds by the header, and by the packets: of these tracks where each has its own, else of the whole file.

    A header may count from the file's time 0 or from its first packet.
    """
    stamps = [stamp for track_stamps in walk.stamps.values() for stamp in track_stamps]
    first, last = min((t for t, _ in stamps), default=0.0), max((t + d for t, d in stamps), default=0.0)
    own = [in_seconds(s.duration, s.time_base) for s in streams if s.duration and s.time_base]
    if own and len(own) == len(streams):
        return max(own), last - first
    declared = container.duration / av.time_base if container.duration else None
    return declared, max(walk.ended, last - first)


def _picture_facts(stream: VideoStream, walk: _Walk, origin: float) -> PictureFacts:
    frame: VideoFrame = walk.first[stream.index]
    rate = stream.average_rate or stream.guessed_rate
    per_second = float(rate) if rate and 0.1 <= rate <= 1000 else None
    step = 1 / per_second if per_second else 0.04
    stamps = sorted(walk.stamps[stream.index]) or [(origin + n * step, step) for n in range(max(walk.untimed, 1))]
    if walk.numbered:
        origin = stamps[0][0]  # the first picture comes out some packets after its own
    times = np.maximum(np.array([time for time, _ in stamps]) - origin, 0.0)
    spaced = not walk.numbered and walk.untimed == 0 and bool((np.diff(times) > 0).all())
    if stream.container.format.name == "mpeg" and not spaced:  # ffmpeg guesses most times; the rate is constant
        even = step * np.arange(len(times))
        times = even + np.maximum.accumulate(times - even)
    # repeated at last, it stays to the end of the sound: the encoder of a still picture sends nothing more
    held_until = min(walk.ended, walk.repeated + TAIL_S) if walk.repeated > stamps[-1][0] else -math.inf
    aspect = float(stream.sample_aspect_ratio or 1)
    top, bottom, left, right = crop = container_crop(stream)
    return PictureFacts(
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=frame.format.name,
        width=frame.width - left - right,
        height=frame.height - top - bottom,
        aspect=aspect if 0.05 < aspect < 20 else 1.0,
        orientation=orientation(frame),
        rate=per_second,
        step=step,
        times=times,
        end_s=max(float(times[-1]) + min(stamps[-1][1] or step, LONGEST_HOLD_S), held_until - origin),
        spaced=spaced,
        leading=walk.leading,
        trimmed=walk.discarded > 0,
        corrupt=walk.corrupt,
        crop=crop,
        interlaced=frame.interlaced_frame or stream.codec_context.field_order > PROGRESSIVE,
        profile=stream.codec_context.profile or "",
        hdr=frame.color_trc in TRANSFERS,
    )


def _is_dolby_alone(stream: VideoStream, first: VideoFrame) -> bool:
    """Whether this is Dolby Vision whose pictures are neither HDR10, HLG nor SDR: profile 5."""
    signs = stream.codec_context.codec_tag in ("dvh1", "dvhe", "dva1", "dvav", "dav1")
    return first.color_trc == UNSPECIFIED and (signs or first.side_data.get("DOVI_METADATA") is not None)


def _kept(
    picture: PictureFacts, stamps: Sequence[tuple[float, float]], sound: SoundFacts | None, declared: float
) -> PictureFacts:
    """A lone picture, or the last one of a slide show, stays to the end of the sound; and to that of the header,
    where its packet does not say how long.
    """
    pauses, last = np.diff(picture.times), float(picture.times[-1])
    patience = min(TAIL_GAPS * float(pauses.max()) if len(pauses) else LONGEST_HOLD_S, LONGEST_HOLD_S)
    unsaid = not stamps or not max(stamps)[1]
    said = max(float(sound.held[:, 1].max()) if sound is not None else 0.0, declared if unsaid else 0.0)
    return replace(picture, end_s=said) if picture.end_s + TAIL_S < said <= last + patience else picture


def _sound_facts(stream: AudioStream, walk: _Walk, origin: float) -> SoundFacts | None:
    stamps = np.array(sorted(walk.stamps[stream.index]) or [(origin, 0.0)])
    starts = stamps[:, 0] - origin
    until_next = np.append(np.diff(starts), 0.0)
    lasts = np.where(stamps[:, 1] > 0, stamps[:, 1], np.minimum(until_next, UNSAID_S))
    ends = starts + np.clip(lasts, 0.001, LONGEST_PACKET_S)
    held = np.maximum(np.stack([starts, ends], axis=1), 0.0)[ends > 0]
    if len(held) == 0:
        return None
    own = stream.codec_context
    return SoundFacts(
        codec=own.codec.canonical_name,
        rate=stream.rate,
        held=held,
        channels=channel_count(own),
        profile=own.profile or "",
    )
