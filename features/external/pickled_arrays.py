"""Arrays of a pickle: a dict of them by clip id, a list of them, or one array.

What stands for one array: a numpy array, a list of numbers (D,), or a list of T rows of D numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.external.formats import ArrayFile
from features.external.restricted_pickle import PickledArray, load_pickle


def open_pickle(path: Path) -> ArrayFile:
    """Load a pickle with care; the arrays in it are made when asked for.

    Raises:
        InputError: it is not to be trusted, damaged, or holds something else than arrays.
    """
    content = load_pickle(path)
    if isinstance(content, PickledArray):
        content = content.content
    if isinstance(content, np.ndarray):
        return ArrayFile(path, ("",), lambda _: content)
    if isinstance(content, dict):
        by_name: dict[str, Any] = {}
        for key, value in content.items():
            name = _name(path, key)
            if name in by_name:
                raise InputError(f"{path} holds two arrays of '{name}', one named by text and one by a number")
            by_name[name] = value
        return ArrayFile(path, tuple(by_name), lambda name: _array(path, name, by_name[name]))
    if isinstance(content, (list, tuple)):
        names = tuple(str(place) for place in range(len(content)))
        return ArrayFile(path, names, lambda name: _array(path, name, content[int(name)]), names_are="places")
    raise InputError(f"{path} holds {_kind(content)}; it should hold a dict of arrays by clip id, or one array")


def _name(path: Path, key: Any) -> str:
    if isinstance(key, bytes):  # text of Python 2
        return key.decode("utf-8", errors="replace")
    if isinstance(key, (str, int)) and not isinstance(key, bool):
        return str(key)
    raise InputError(f"{path} names an array by {_kind(key)}; clip ids are text")


def _array(path: Path, name: str, value: Any) -> NDArray[Any] | None:
    """One clip's value; None where it is None."""
    value = value.content if isinstance(value, PickledArray) else value
    if value is None or isinstance(value, np.ndarray):
        return value
    if isinstance(value, (list, tuple)):
        rows = [row.content if isinstance(row, PickledArray) else row for row in value]
        if all(isinstance(row, (str, bytes)) for row in rows) and rows:
            return np.array([_name(path, row) for row in rows])
        if all(_is_number(row) or _is_row(row) for row in rows):
            try:
                return np.array(rows)
            except ValueError as error:
                raise InputError(f"{path}: the rows of {name!r} differ in length; a stream is (T, D)") from error
        inner = next(row for row in rows if not (_is_number(row) or _is_row(row)))
        raise InputError(f"{path}: {name!r} is a list with {_kind(inner)} in it; a stream is (D,) or (T, D)")
    raise InputError(f"{path}: {name!r} is {_kind(value)}, and should be an array (D,) or (T, D)")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_row(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, (list, tuple)) and all(map(_is_number, value))


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"a dict of {', '.join(repr(key) for key in list(value)[:3])}" if value else "an empty dict"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return {"list": "a list", "str": "text", "bytes": "text", "NoneType": "None"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )
