"""Errors in input, and how messages name things; a message says what is wrong, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from difflib import SequenceMatcher
from itertools import islice
from unicodedata import category

SHOWN, LENGTH = 3, 80  # names in a sentence, letters of a name
NEAR = 0.5  # least similarity of a suggested name
LONGEST = 4000  # letters of a message
PASSWORD = re.compile(r"(postgres(?:ql)?:/{1,2}[^\s:/@]*):[^\s/@]*(@|$)|(?<=[?&])(?:ssl)?password=[^&\s']*")
BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters and marks that nobody sees


class InputError(ValueError):
    """Input cannot be used; the message is one sentence for the user, without control characters."""

    def __init__(self, message: str) -> None:
        if len(message) > LONGEST:  # a name from outside may have millions of letters
            message = f"{message[: LONGEST // 2]} … {message[-LONGEST // 2 :]}"
        super().__init__(visible(message))


class Unavailable(InputError):
    """What is asked for cannot be reached now; it may be later."""


def visible(text: str) -> str:
    """Text from outside, for a terminal, a page or a picture: what is invisible or controls them is escaped.

    A password in the url of a database is left out.
    """
    if "postgres" in text:
        text = PASSWORD.sub(r"\1\2", text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode()
        if category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") or letter in BLANKS
        else letter
        for letter in text
    )


@contextmanager
def usable(what: str) -> Iterator[None]:
    """One sentence of all that libraries raise: `what`, and why; a panic of tokenizers is no Exception."""
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            reason = " ".join(str(error).split()).split(". ")[0] or type(error).__name__
            raise InputError(f"{what}: {reason:.300}") from error
        raise


def require(holds: bool, message: str) -> None:
    """Raise a ValueError unless a condition holds."""
    if not holds:
        raise ValueError(message)


def name_id(name: str) -> str:
    """'a', shortened, with control characters escaped."""
    text = visible(name[:LENGTH])[:LENGTH]
    return f"'{text}{'…' if len(name) > LENGTH else ''}'"


def name_ids(names: Collection[str]) -> str:
    """'a', 'b', 'c' and 1,987 more."""
    return some(map(name_id, names), len(names))


def missing_shards(names: Collection[str]) -> str:
    """'shard-1' does not answer."""
    return f"{name_ids(sorted(names))} {'does' if len(names) == 1 else 'do'} not answer"


def some(shown: Iterable[str], total: int, between: str = ", ") -> str:
    """The first few of `total` things, and how many more there are."""
    return between.join(islice(shown, SHOWN)) + (f" and {total - SHOWN:,} more" if total > SHOWN else "")


def count(number: int, noun: str, plural: str = "") -> str:
    """1 video, 2,000 videos."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """(did you mean 'a' or 'b'?), with the nearest known names; empty where none is near."""
    given = name.strip().lower().replace("_", "-")
    likeness = {each: SequenceMatcher(None, given, each).ratio() for each in known}
    best = max(likeness.values(), default=0)
    nearest = " or ".join(f"'{each}'" for each, ratio in likeness.items() if ratio == best)
    return f" (did you mean {nearest}?)" if best >= NEAR else ""
