"""Packets of a moment taken as they are, where browsers play their codec in an MP4.

Pictures begin with a key picture at or before the moment from which all that follows can be decoded: of H.264 that
is an IDR picture. What comes before the moment has times below 0, which an edit list then hides. Decode times are
made anew, because containers lack or guess them:

    dts[n] = sorted(pts)[n] - max over k of (sorted(pts)[k] - pts[k])        n, k: in the order of decoding
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.video.stream import VideoStream

from features.media import Decoder, MediaFacts
from features.playback.browser import PLAYED, odd_picture

LEAD_S = 10.0  # how far before the moment its key picture may be
LARGEST = 256 << 20  # bytes
GAP_S = 0.02  # by which a packet of sound may miss the end of the one before
SHAPE = 0.01
HOLD_STAMPS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "flv")  # of when each picture is shown
# codec -> profiles; Chromium delays Opus by as much as the edit list of the pictures hides
SOUNDS = {"aac": ("LC",), "mp3": ("",)}
MOST_CHANNELS = 6
UNITS = ("5", "7-8")  # kinds of NAL unit of H.264: of IDR pictures, of parameter sets


@dataclass(frozen=True, kw_only=True)
class Copied:
    """Packets of one track in the order of decoding; their times count from the moment's start."""

    decoder: Decoder[Any]  # keeps open what its stream belongs to
    packets: list[Any]
    seconds: float


def copied_pictures(path: Path, facts: MediaFacts, start_s: float, end_s: float) -> Copied | None:
    """The packets; None where pictures must be converted."""
    picture = facts.picture
    playable = picture is not None and picture.codec in PLAYED["mp4"][0] and not odd_picture(facts)
    if picture is None or not playable or facts.container not in HOLD_STAMPS:
        return None
    decoder: Decoder[Any] = Decoder(path, "video", facts.timeline, start_s=facts.origin_s + start_s)
    stream = cast("VideoStream", decoder.stream)
    if abs(float(stream.codec_context.sample_aspect_ratio or 1) - picture.aspect) > SHAPE:
        return None  # only the container says so, and its word is not copied
    taken: list[Any] = []
    size, first = 0, 0.0
    for packet in decoder.packets():
        if packet.pts is None or packet.is_corrupt or packet.is_discard or packet.has_sidedata("new_extradata"):
            return None
        time = float(packet.pts * packet.time_base) - facts.origin_s
        if not taken:
            first = time
            if not packet.is_keyframe or not start_s - LEAD_S <= first <= start_s + picture.step:
                return None
        if packet.dts is not None and float(packet.dts * packet.time_base) - facts.origin_s >= end_s:
            break
        size += packet.size
        if time < first or size > LARGEST:
            return None
        taken.append(packet)
    stamps = sorted(packet.pts for packet in taken)
    if len(set(stamps)) < len(taken) or not taken:
        return None
    base = taken[0].time_base
    if first + float((stamps[-1] - stamps[0]) * base) < start_s:
        return None  # the last picture stays on display in the moment
    if picture.codec == "h264" and not _independent(stream, taken):
        return None
    delay = max(stamp - packet.pts for stamp, packet in zip(stamps, taken))
    start = round((facts.origin_s + start_s) / base)
    for stamp, packet in zip(stamps, taken):
        packet.pts, packet.dts = packet.pts - start, stamp - delay - start
    last = max(taken, key=lambda packet: packet.pts)
    last.duration = last.duration or round(picture.step / base)
    seconds = float((last.pts + last.duration) * base)
    return Copied(decoder=decoder, packets=taken, seconds=seconds)


def copied_sound(path: Path, facts: MediaFacts, start_s: float, end_s: float) -> Copied | None:
    """The packets; None where sound must be converted, because it begins late or has gaps, too."""
    sound = facts.sound
    if sound is None or sound.profile not in SOUNDS.get(sound.codec, ()) or sound.channels > MOST_CHANNELS:
        return None
    decoder: Decoder[Any] = Decoder(path, "audio", facts.timeline, start_s=facts.origin_s + start_s)
    rate, samples = decoder.stream.rate, cast("AudioStream", decoder.stream).frame_size
    taken: list[Any] = []
    due = start_s
    for packet in decoder.packets():
        if packet.pts is None or packet.is_corrupt or packet.is_discard or packet.has_sidedata("new_extradata"):
            return None
        time = float(packet.pts * packet.time_base) - facts.origin_s
        lasts = samples / rate if samples else float((packet.duration or 0) * packet.time_base)
        if time >= end_s or lasts <= 0:
            break
        if not taken:
            if time < start_s - GAP_S / 2:  # the one before the moment
                continue
            if time > start_s + lasts:
                return None
            due = time
        if abs(time - due) > GAP_S:
            return None
        packet.pts = packet.dts = round((due - start_s) / packet.time_base)  # jitter does not add up
        due += lasts
        taken.append(packet)
    return Copied(decoder=decoder, packets=taken, seconds=due - start_s) if taken else None


def _independent(stream: Any, taken: Sequence[Any]) -> bool:
    """Whether packets of H.264 begin with an IDR picture and hold no parameter sets but those of the header, where
    an MP4 has them.
    """
    pictures, sets = (BitStreamFilterContext(f"filter_units=pass_types={kinds}", stream) for kinds in UNITS)
    header: bytes = stream.codec_context.extradata or b""
    # a header that begins otherwise has lengths, and then sets stand there only
    known = sets.filter(Packet(header)) if header[:1] == b"\0" else []
    found = {bytes(unit) for packet in taken for unit in sets.filter(Packet(bytes(packet)))}
    return bool(pictures.filter(Packet(bytes(taken[0])))) and found <= {bytes(unit) for unit in known}
