"""ArrayFile: arrays by name, each read when it is asked for, whatever the format of the file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, final

from features.errors import InputError


class ArrayLike(Protocol):
    """What an ndarray, a memory map and an HDF5 data set have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        ...

    @property
    def dtype(self) -> Any:
        """Type of the elements."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Some of it; with `...`, all of it as an ndarray."""
        ...


@final
@dataclass(frozen=True)
class ArrayFile:
    """The arrays of one file, or of one folder."""

    path: Path
    names: tuple[str, ...]  # of the arrays; one empty name where the file holds a single array without a name
    read: Callable[[str], ArrayLike | None]  # by name; None where the file says that there is nothing
    names_are: Literal["clips", "places", "unknown"] = "unknown"  # ids of clips, or only places in a list

    def array(self, name: str) -> ArrayLike:
        """The array of this name.

        Raises:
            InputError: it cannot be read, or there is nothing.
        """
        with errors_of(self.path, name):
            array = self.read(name)
        if array is None:
            raise InputError(f"{self.path}: {name!r} holds nothing")
        return array


@contextmanager
def errors_of(path: Path, name: str = "") -> Iterator[None]:
    """Turn what the readers of numpy, zip, HDF5 and safetensors raise into one sentence."""
    from safetensors import SafetensorError

    failures = (ValueError, TypeError, OSError, EOFError, KeyError, RuntimeError, MemoryError, SyntaxError)
    try:
        yield
    except InputError:
        raise
    except (*failures, zipfile.BadZipFile, zlib.error, SafetensorError) as error:
        where = f"{path}: {name!r}" if name else str(path)
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise InputError(
                f"{where} holds Python objects, or is no numpy file; save plain arrays of numbers, or the same as "
                "a .pickle, which is read with care"
            ) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where} cannot be read, it may be damaged or of another format ({reason})") from error
