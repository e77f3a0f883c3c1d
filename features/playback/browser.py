"""What a browser plays as it is: a short list of containers and codecs, and nothing unusual about the file.

Browsers count an mp4's time from presentation time 0, after edit lists, and other files' from the time stamps they
hold; some count from the first packet. So a file is direct only where both are the same. `zero_s` is its first
picture's time there: time 0 of clips.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import av

from features.errors import MediaError
from features.media import IMAGE_SUFFIXES, Decoder, MediaFacts, boxes, open_media, probe_file, tracks

# container -> codecs of pictures, codecs of sound, and MIME type of files without pictures
PLAYED: dict[str, tuple[frozenset[str], frozenset[str], str]] = {
    "mp4": (frozenset(("h264", "av1", "vp9")), frozenset(("aac", "mp3", "opus", "flac")), "audio/mp4"),
    "webm": (frozenset(("vp8", "vp9", "av1")), frozenset(("opus", "vorbis")), "audio/webm"),
    "mp3": (frozenset(), frozenset(("mp3",)), "audio/mpeg"),
    "ogg": (frozenset(), frozenset(("opus",)), "audio/ogg"),
    "flac": (frozenset(), frozenset(("flac",)), "audio/flac"),
    "wav": (frozenset(), frozenset(("pcm_s16le",)), "audio/wav"),
}
PROFILES = {"h264": ("Baseline", "Constrained Baseline", "Main", "High"), "vp9": ("Profile 0",), "av1": ("Main",)}
KINDS: tuple[Literal["video", "audio"], ...] = ("video", "audio")
PIXELS = ("yuv420p", "yuvj420p")
KEPT = 8
_KNOWN: dict[tuple[int, ...], MediaFacts] = {}  # of files, by what tells them apart
HEAD_S = 3.0  # of a file whose clock cannot restart; what comes later is believed to be like it
NEAR_S, APART_S = 0.1, 0.5  # how late the first packet may be; how far apart pictures and sound may begin
MP3_PACKETS, PADDING = 2000, 1
LONGEST_BOX, EMPTY = 1 << 16, -1  # bytes; the media time of an edit that shows nothing
_IMAGES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif", b"RIFF": "image/webp"}
_WEBM = b"\x42\x82\x84webm"  # the type of document in the header of Matroska


@dataclass(frozen=True, kw_only=True)
class Playable:
    """How a file can be shown in a page."""

    kind: Literal["video", "audio", "image"]
    direct: bool  # the file as it is, with ranges; else its moments are converted
    mime: str  # of the file where direct, else of what a conversion gives
    zero_s: float = 0.0  # where time 0 of clips is on the player's time line of the file as it is
    why: str = ""  # a part of a sentence, why the file is converted: "its video codec is hevc"


def playable(path: Path) -> Playable:
    """How a file can be shown; reads its header and the packets of its beginning.

    Raises:
        MediaError: it cannot be read.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Playable(kind="image", direct=True, mime=_image_type(path))
    facts = facts_of(path)
    kind: Literal["video", "audio"] = "video" if facts.picture is not None else "audio"
    container = _container(path, facts)
    why = next(_obstacles(path, facts, container), "")
    if why:
        return Playable(kind=kind, direct=False, mime=f"{kind}/mp4", why=why)
    mime = f"video/{container}" if kind == "video" else PLAYED[container][2]
    return Playable(kind=kind, direct=True, mime=mime, zero_s=facts.origin_s)


def facts_of(path: Path) -> MediaFacts:
    """What the file holds, by its first seconds, or by all of it where its clock may restart; kept for later."""
    status = path.stat()
    key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns  # the path may be a link that is reused
    if key not in _KNOWN:
        _KNOWN[key] = probe_file(path, head_s=HEAD_S)
        if len(_KNOWN) > KEPT:
            del _KNOWN[next(iter(_KNOWN))]
    return _KNOWN[key]


def odd_picture(facts: MediaFacts) -> str:
    """What about the pictures a browser shows wrongly or not at all, whatever the container; empty: nothing."""
    picture = facts.picture
    if picture is None:
        return ""
    if (
        picture.codec in PROFILES
        and picture.pixel_format in PIXELS
        and picture.profile not in PROFILES[picture.codec]
    ):
        return f"its video profile is {picture.profile or 'unknown'}"
    oddities = {
        f"its pixel format is {picture.pixel_format}": picture.pixel_format not in PIXELS,
        "its pictures are HDR": picture.hdr,
        "its pictures are interlaced": picture.interlaced,
        "its pictures are mirrored": picture.orientation.mirrored,
        "its pictures are cropped by the container": any(picture.crop),
        "an edit list hides some pictures": picture.trimmed,
    }
    return next((why for why, odd in oddities.items() if odd), "")


def _obstacles(path: Path, facts: MediaFacts, container: str) -> Iterator[str]:
    """Why a browser would not play the file as it is, each a part of a sentence."""
    videos, sounds, _ = PLAYED.get(container, (frozenset(), frozenset(), ""))
    picture, sound = facts.picture, facts.sound
    if facts.fault:
        yield facts.fault
    if container not in PLAYED or (picture is not None and not videos):
        yield f"its container is {container}"
    if picture is not None and picture.codec not in videos:
        yield f"its video codec is {picture.codec}"
    if sound is not None and sound.codec not in sounds:
        yield f"its audio codec is {sound.codec}"
    if odd := odd_picture(facts):
        yield odd
    with open_media(path) as opened:
        for kind in KINDS:
            if len(tracks(opened, kind)) > 1:
                yield f"it has several {kind} tracks"
        first = (opened.start_time or 0) / av.time_base
    if abs(first) > NEAR_S:
        yield f"its clock starts at {first:.1f} s"
    late = float(sound.held[0, 0]) if sound is not None else 0.0
    if max(late, facts.origin_s - first) > APART_S:
        yield "its sound and its pictures begin far apart"
    if container == "mp4":
        yield from _odd_boxes(path)
    if container == "mp3" and _varies(path):
        yield "its bit rate varies, so that browsers miss the time"


def _container(path: Path, facts: MediaFacts) -> str:
    """ffmpeg's name, or that of the kind of mp4 and Matroska."""
    with path.open("rb") as file:
        head = file.read(64)
    if facts.container.startswith("mov,"):
        return "mp4" if head[4:8] == b"ftyp" else "mov"
    if facts.container == "matroska,webm":
        return "webm" if _WEBM in head else "matroska"
    return facts.container


def _image_type(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    for start, mime in _IMAGES.items():
        if head.startswith(start) and (start != b"RIFF" or head[8:] == b"WEBP"):
            return mime
    raise MediaError("not a gif, jpg, png or webp image")


def _odd_boxes(path: Path) -> Iterator[str]:
    """What browsers apply differently or not at all: fragments, cropping, several looks, more than one edit."""
    with path.open("rb") as file:
        for name, begin, end in boxes(file, path.stat().st_size):
            file.seek(begin)
            content = file.read(min(end - begin, LONGEST_BOX)) if name in (b"stsd", b"elst") else b""
            if name == b"mvex":
                yield "it is fragmented"
            elif name == b"stsd" and content[4:8] != b"\0\0\0\1":
                yield "its pictures or its sound change their format"
            elif name == b"stsd" and b"clap" in content:
                yield "its pictures are cropped by the container"
            elif name == b"elst":
                form, size = (">qqi", 20) if content[:1] == b"\1" else (">iii", 12)
                whole = content[8 : len(content) - (len(content) - 8) % size]
                edits = [(media, rate) for _, media, rate in struct.iter_unpack(form, whole) if media != EMPTY]
                if len(edits) > 1 or any(rate != 1 << 16 for _, rate in edits):
                    yield "its edit list has several parts"


def _varies(path: Path) -> bool:
    sizes = [packet.size for packet in islice(Decoder(path, "audio").packets(), MP3_PACKETS)]
    return max(sizes, default=0) - min(sizes, default=0) > PADDING
