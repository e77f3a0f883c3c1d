"""Names that are spelled nearly as one that is not there, for messages: "; did you mean 'audio'?"."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import islice, takewhile

SHOWN = 3
WEIGHED = 50  # of which, where equally alike, those come first that begin and end alike
CLOSE = 0.1  # names that are so much less alike than the nearest are not shown
COMPARED = 20_000  # names that are compared letter by letter; of more, those that begin or end alike


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """A question that follows the sentence, or nothing where no name is near.

    Args:
        name: which is not there.
        names: which are.
    """
    near = near_names(name, names)
    return f" (did you mean {' or '.join(repr(one) for one in near)}?)" if near else ""


def near_names(name: str, names: Sequence[str]) -> list[str]:
    """At most three names, the nearest first; upper and lower case are the same, and a part of a name is near."""
    small = name.lower()
    by_small: dict[str, str] = {}
    for one in names if len(names) <= COMPARED else _alike(small, names):
        by_small.setdefault(one.lower(), one)
    close = difflib.get_close_matches(small, by_small, n=WEIGHED)
    ranked = sorted((-_likeness(small, one), -_ends(small, one), one) for one in close)
    near = [one for unlike, _, one in ranked if unlike < ranked[0][0] + CLOSE]
    inside = sorted((one for one in by_small if small and small in one), key=lambda one: (len(one), one))
    return [by_small[one] for one in dict.fromkeys([*near, *inside])][:SHOWN]


def _alike(small: str, names: Sequence[str]) -> list[str]:
    """Of many names those that begin or end as a name does, or hold it; it is in small letters."""
    half = max(3, len(small) // 2)
    begin, end = small[:half], small[-half:]
    alike = ((one, one.lower()) for one in names)
    kept = (one for one, low in alike if low.startswith(begin) or low.endswith(end) or small in low)
    return list(islice(kept, COMPARED))


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _ends(one: str, other: str) -> int:
    """How many letters are the same from the front, and from the back."""
    pairs = (zip(one, other), zip(reversed(one), reversed(other)))
    return sum(1 for both in pairs for _ in takewhile(lambda pair: pair[0] == pair[1], both))
