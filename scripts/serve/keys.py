"""Keys: clip and video ids as words of addresses, base64url of their UTF-8: no dot, slash or percent sign."""

from __future__ import annotations

import base64
import binascii

from mee.errors import InputError

LONGEST = 8192


def key_of(name: str) -> str:
    """walk.mp4#t=10,20 -> d2Fsay5tcDQjdD0xMCwyMA"""
    return base64.urlsafe_b64encode(name.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def name_of(key: str) -> str:
    """The id of a key; an InputError where it is none."""
    try:
        if not 0 < len(key) <= LONGEST:
            raise ValueError
        name = base64.b64decode(key + "=" * (-len(key) % 4), altchars=b"-_", validate=True).decode(
            "utf-8", "surrogatepass"
        )
        if key_of(name) != key:
            raise ValueError
    except (ValueError, binascii.Error):
        raise InputError("this address names no clip; follow a link of a hit") from None
    return name
