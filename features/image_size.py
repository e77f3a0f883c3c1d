"""Width and height of a still image, read from its header so that a giant is refused before decoding."""

from __future__ import annotations

import struct

from features.errors import MediaError

_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start-of-frame markers
_JPEG_BARE = frozenset(range(0xD0, 0xDA)) | {0x01, 0xFF}  # markers without a length


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in stored pixels of a jpg, png or webp file.

    Raises:
        MediaError: it is none of these, or its header is damaged.
    """
    try:
        kind = image_kind(data)
        if not kind:
            raise MediaError("not a jpg, png or webp image")
        width, height = {"png": _png, "jpeg": _jpeg, "webp": _webp}[kind](data)
    except (struct.error, IndexError) as error:
        raise MediaError("cut short or damaged: the image has no size") from error
    return width, height


def image_kind(data: bytes) -> str:
    """ "jpeg", "png" or "webp"; empty for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8"):
        return "jpeg"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""


def _jpeg(data: bytes) -> tuple[int, int]:
    place = 2
    while True:
        marker = data[place + 1]
        if data[place] != 0xFF or marker == 0xFF:
            place += 1
        elif marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        elif marker in _JPEG_BARE:
            place += 2
        else:
            place += 2 + int(struct.unpack_from(">H", data, place + 2)[0])


def _png(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int(struct.unpack_from("<I", data, 21)[0])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
