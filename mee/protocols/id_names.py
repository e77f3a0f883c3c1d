"""How a message names ids that come from files, on one line and no more than three; and how it counts."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN, _LENGTH = 3, 80


def name_id(name: str) -> str:
    """'a': cut where it is long, without line breaks or what else no terminal should see."""
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name[:_LENGTH])
    return f"'{text}{'…' if len(name) > _LENGTH else ''}'"


def count(number: int, noun: str) -> str:
    """1 video, 2 videos."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def name_ids(ids: Sequence[str]) -> str:
    """'a', 'b', 'c' and 1,987 more."""
    shown = ", ".join(map(name_id, ids[:_SHOWN]))
    return f"{shown} and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else shown
