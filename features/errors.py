"""What can be wrong with input; every message says what, where, and what to do."""

from unicodedata import category

LONGEST = 4000  # letters of a message
BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters and marks that nobody sees


class InputError(ValueError):
    """Something given from outside cannot be used; the message is one sentence for the user."""

    def __init__(self, message: str) -> None:
        if len(message) > LONGEST:  # a name from outside may have millions of letters
            message = f"{message[: LONGEST // 2]} … {message[-LONGEST // 2 :]}"
        super().__init__(visible(message))


def visible(text: str) -> str:
    """Text from outside, for a terminal, a page or a picture: what is invisible or controls them is escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode()
        if category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") or letter in BLANKS
        else letter
        for letter in text
    )


class MediaError(InputError):
    """A media file cannot be read; the message is the reason, without the file's name."""
