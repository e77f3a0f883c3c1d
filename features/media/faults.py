"""Why a file, or a track of it, cannot be read: it is encrypted, a part of a segmented video, or cut short.

ffmpeg tells encrypted tracks of Matroska only. Others are found by the boxes of an mp4 (ISO/IEC 14496-12, 23001-7;
FairPlay's entries), by the scrambling control of packets (ISO/IEC 13818-1) and by the objects of an asf header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.container import InputContainer

_JOIN = "(cat INIT SEGMENT… > WHOLE)"
START_ONLY = f"only the start of a segmented video: join it with its segments {_JOIN}"
SEGMENT = f"a segment of a segmented video without its start (init): join it with all the others {_JOIN}"
CUT = "cut short or damaged: the index (moov) is missing"
ENCRYPTED = "encrypted: it can be played with its key only; put a copy without protection in its place"

HEAD = 1 << 20  # bytes
_FIRST = (b"ftyp", b"mdat", b"wide", b"free", b"skip", b"moov", b"styp", b"sidx", b"moof", b"emsg", b"prft")
# by level, the boxes that lead to sample entries and edits
_PATH = ((b"moov",), (b"trak",), (b"mdia", b"edts"), (b"minf",), (b"stbl",), (b"stsd",))
BOXES = 100_000  # looked at, at most
_LOCKED = {b"encv": "video", b"drmi": "video", b"enca": "audio", b"drms": "audio"}
_EBML, _SEGMENT, _CLUSTER = b"\x1aE\xdf\xa3", b"\x18S\x80g", b"\x1fC\xb6u"
_ASF_LOCKS = (  # content encryption, the extended, the advanced
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
    bytes.fromhex("338505438169e6499b74ad12cb86d58c"),
)


def reason_unread(path: Path) -> str:
    """Why nothing can be read of a file; empty where it does not say."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        if head[4:8] in _FIRST:
            return _reason_of_boxes(file, path.stat().st_size)
    if head.startswith(_CLUSTER):
        return SEGMENT
    whole = len(head) < HEAD
    return START_ONLY if head.startswith(_EBML) and _SEGMENT in head and whole and _CLUSTER not in head else ""


def encrypted(container: InputContainer, path: Path) -> set[str]:
    """Which kinds of track are encrypted: "video", "audio"."""
    kind = container.format.name
    if kind == "mpegts":
        pids = _scrambled(path)
        return {stream.type for stream in container.streams if stream.id in pids}
    if kind.startswith("mov"):
        with path.open("rb") as file:
            header = takewhile(lambda found: found[0] != b"moof", boxes(file, path.stat().st_size))
            return {_LOCKED[box] for box, _, _ in header if box in _LOCKED}
    if kind == "asf":
        with path.open("rb") as file:
            head = file.read(HEAD)
        return {"video", "audio"} if any(lock in head for lock in _ASF_LOCKS) else set()
    return {stream.type for stream in container.streams if "enc_key_id" in stream.metadata}


def _reason_of_boxes(file: BinaryIO, size: int) -> str:
    found = {box: stop for box, _, stop in boxes(file, size)}
    if not found.keys().isdisjoint(_LOCKED):
        return ENCRYPTED
    if found.get(b"moov", size + 1) <= size:
        return START_ONLY if b"mvex" in found and b"moof" not in found else ""
    return SEGMENT if not found.keys().isdisjoint((b"styp", b"sidx", b"moof")) else CUT


def boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin of the content, and end of each box of an mp4, and of those nested in it that lead to sample
    entries and edit lists; the last may be cut off.
    """
    return islice(_boxes(file, 0, size), BOXES)


def _boxes(file: BinaryIO, start: int, end: int, level: int = 0) -> Iterator[tuple[bytes, int, int]]:
    while start + 8 <= end:
        file.seek(start)
        length, box = struct.unpack(">I4s", file.read(8))
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        stop = start + length if length else end  # 0: up to the end
        if stop < start + 8:
            return
        yield box, file.tell(), stop
        if level < len(_PATH) and box in _PATH[level]:
            yield from _boxes(file, start + (16 if box == b"stsd" else 8), min(stop, end), level + 1)
        start = stop


def _scrambled(path: Path) -> set[int]:
    """Identifiers (PIDs) of the tracks of a transport stream most of whose packets are scrambled."""
    with path.open("rb") as file:
        head = np.frombuffer(file.read(HEAD), np.uint8)
    size, first = (188, 0) if head[:1] == 0x47 else (192, 4)  # on discs a time goes before each packet
    rows = head[: len(head) // size * size].reshape(-1, size)[:, first : first + 4].astype(int)
    rows = rows[rows[:, 0] == 0x47]
    pids, locked = (rows[:, 1] & 0x1F) << 8 | rows[:, 2], rows[:, 3] & 0x80 > 0
    counts = [np.bincount(some, minlength=1 << 13) for some in (pids, pids[locked])]
    return set(np.flatnonzero(2 * counts[1] > counts[0]).tolist())
