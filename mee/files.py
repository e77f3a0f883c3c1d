"""Files that are there whole, or not at all: written aside, as .<name>.<process>, and then put in their place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mee.errors import InputError


@contextmanager
def whole_file(path: Path, what: str) -> Iterator[Path]:
    """Where to write what becomes `path` in the end; an error leaves what was there before.

    Args:
        path: the file.
        what: to call its content in messages, in the plural: "ranks".

    Raises:
        InputError: it cannot be written there, or not in UTF-8.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield aside
        aside.replace(path)
    except UnicodeEncodeError as error:
        raise InputError(f"{what} cannot be written to '{path}': a name is no text that UTF-8 knows") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error  # not in a library's words, of the other name
        raise InputError(f"{what} cannot be written to '{path}': {reason}") from error
    finally:
        with suppress(OSError):
            aside.unlink()
