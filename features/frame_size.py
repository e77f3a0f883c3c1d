"""How large an upright frame becomes: its short side as asked, its long side in proportion, up to a cap."""

from __future__ import annotations

LONGEST = 4  # times the short side; a longer picture is squeezed, so that memory stays bounded


def square_size(width: int, height: int, aspect: float, transposed: bool) -> tuple[float, float]:
    """Height and width, pixels, of a stored picture once it is upright, with square pixels, at its own height."""
    wide, high = width * aspect, float(height)
    return (wide, high) if transposed else (high, wide)


def upright_size(width: int, height: int, aspect: float, transposed: bool, size: int) -> tuple[int, int]:
    """Height and width, pixels, of a stored picture once it is upright, with square pixels, and scaled.

    Args:
        width: stored pixels a row.
        height: stored rows.
        aspect: width over height of one stored pixel.
        transposed: whether the upright picture stands on what is a stored column's side.
        size: short side asked for, pixels.
    """
    high, wide = square_size(width, height, aspect, transposed)
    scale = size / min(wide, high)
    cap = LONGEST * size
    return min(cap, max(size, round(high * scale))), min(cap, max(size, round(wide * scale)))
