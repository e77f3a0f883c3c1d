"""What can be wrong with input; every message says what, where, and what to do. How messages name things."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import SequenceMatcher
from itertools import islice

SHOWN, LENGTH = 3, 80  # names in a sentence, letters of a name
NEAR = 0.5  # likeness of a name that may have been meant


class InputError(ValueError):
    """Something given from outside cannot be used; the message is one sentence for the user."""


def name_id(name: str) -> str:
    """'a': cut where it is long, without line breaks or what else no terminal should see."""
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name[:LENGTH])
    return f"'{text}{'…' if len(name) > LENGTH else ''}'"


def name_ids(names: Collection[str]) -> str:
    """'a', 'b', 'c' and 1,987 more."""
    return some(map(name_id, names), len(names))


def some(shown: Iterable[str], total: int, between: str = ", ") -> str:
    """The first few of so many things, and how many more there are."""
    return between.join(islice(shown, SHOWN)) + (f" and {total - SHOWN:,} more" if total > SHOWN else "")


def count(number: int, noun: str) -> str:
    """1 video, 2 videos."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """(did you mean 'a' or 'b'?), of the known names that are nearest; empty where none is near."""
    asked = name.strip().lower().replace("_", "-")
    likeness = {each: SequenceMatcher(None, asked, each).ratio() for each in known}
    best = max(likeness.values(), default=0)
    nearest = " or ".join(f"'{each}'" for each, ratio in likeness.items() if ratio == best)
    return f" (did you mean {nearest}?)" if best >= NEAR else ""
