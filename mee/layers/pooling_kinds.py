"""Names of the poolings over time, and the size of what they make of a (T, D) stream.

mean, max, first, last   D
netvlad-K                K * D     K clusters
transformer[-N]          256       N layers (default 1) of a small transformer encoder

Several kinds are concatenated. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from mee.errors import require

PLAIN = ("mean", "max", "first", "last")  # they have nothing to learn
LEARNT = ("netvlad", "transformer")
TRANSFORMER_WIDTH = 256


def parse_pooling(kind: str) -> tuple[str, int]:
    """Name and number of one kind: "netvlad-16" -> ("netvlad", 16), "mean" -> ("mean", 0)."""
    if kind in PLAIN:
        return kind, 0
    if kind == "transformer":
        return kind, 1
    name, _, number = kind.partition("-")
    if name in LEARNT and number.isascii() and number.isdecimal() and number[0] != "0":
        return name, int(number)
    known = f"{', '.join(PLAIN)}, netvlad-K, transformer or transformer-N"
    raise ValueError(f"pooling must be one of {known}, got '{kind}'")


def pooled_size(kinds: Sequence[str], dim: int) -> int:
    """The size of the pooled vector of a (T, dim) stream."""
    parsed = map(parse_pooling, kinds)
    return sum({"netvlad": count * dim, "transformer": TRANSFORMER_WIDTH}.get(name, dim) for name, count in parsed)


def check_pooling(whose: str, kinds: Sequence[str]) -> None:
    """Refuse an empty list, an unknown kind, and a repeated kind.

    Raises:
        ValueError: names the kind.
    """
    require(len(kinds) > 0, f"{whose}: at least one pooling is needed")
    require(len(set(kinds)) == len(kinds), f"{whose}: every pooling counts once, got {', '.join(kinds)}")
    for kind in kinds:
        try:
            parse_pooling(kind)
        except ValueError as error:
            raise ValueError(f"{whose}: {error}") from error
