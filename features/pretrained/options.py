"""Options of an extractor's word, ``:key=value,key=value``, read and checked."""

from __future__ import annotations

import math
from collections.abc import Collection

from features.errors import InputError
from features.extractor_spec import ExtractorSpec


def check_options(spec: ExtractorSpec, known: Collection[str]) -> None:
    """Refuse keys that the extractor does not have.

    Raises:
        InputError: there is one.
    """
    for key in spec.options:
        if key not in known:
            raise InputError(f"'{spec}': there is no option '{key}' here; there are {', '.join(sorted(known))}")


def positive_number(spec: ExtractorSpec, key: str, default: float) -> float:
    """The value of an option that is a number above 0.

    Raises:
        InputError: it is not.
    """
    text = spec.options.get(key)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"'{spec}': {key} must be a number above 0, got '{text}'")
    return value


def positive_count(spec: ExtractorSpec, key: str, default: int) -> int:
    """The value of an option that is a whole number above 0.

    Raises:
        InputError: it is not.
    """
    text = spec.options.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InputError(f"'{spec}': {key} must be a whole number above 0, got '{text}'")
    return int(text)
