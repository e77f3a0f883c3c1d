"""How large an upright frame becomes: its short side as asked, its long side in proportion, up to a cap."""

from __future__ import annotations

LONGEST = 4  # times the short side; a longer picture is squeezed, so that memory stays bounded


def upright_size(width: int, height: int, aspect: float, rotation: int, size: int) -> tuple[int, int]:
    """Height and width, pixels, of a stored picture once it is upright, with square pixels, and scaled.

    Args:
        width: stored pixels a row.
        height: stored rows.
        aspect: width over height of one stored pixel.
        rotation: degrees counterclockwise that make the picture upright, a multiple of 90.
        size: short side asked for, pixels.
    """
    wide, high = width * aspect, float(height)
    if rotation % 180:
        wide, high = high, wide
    scale = size / min(wide, high)
    cap = LONGEST * size
    return min(cap, max(size, round(high * scale))), min(cap, max(size, round(wide * scale)))
