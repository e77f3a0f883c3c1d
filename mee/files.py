"""Atomic writes: a file is written as .<name>.<process> and then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mee.errors import InputError


@contextmanager
def whole_file(path: Path, what: str) -> Iterator[Path]:
    """The path to write to, renamed to `path` at the end; after an error `path` is unchanged.

    Args:
        path: the file.
        what: its content in messages, in the plural: "ranks".

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
        reason = os.strerror(error.errno) if error.errno else error  # a library would show the other name
        raise InputError(f"{what} cannot be written to '{path}': {reason}") from error
    finally:
        with suppress(OSError):
            aside.unlink()
