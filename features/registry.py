"""EXTRACTORS: the one table, stream name -> where its class is.

A third party adds a row from its own package by an entry point in the group ``mee.extractors``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from features.errors import InputError
from features.extractor import Extractor
from features.record import ROW

EXTRACTORS = {
    "appearance": "features.appearance:AppearanceExtractor",
    "motion": "features.motion:MotionExtractor",
    "audio": "features.audio:AudioExtractor",
    "face": "features.face:FaceExtractor",
}


RESERVED = frozenset(("parts", "writers", "imports", "written_at", "shard", *ROW))  # names the store itself uses


def known_extractors() -> dict[str, str]:
    """The table with the rows of installed third parties; ours cannot be replaced."""
    foreign = {entry.name: entry.value for entry in entry_points(group="mee.extractors")}
    return EXTRACTORS | foreign | EXTRACTORS  # ours are listed first, and win


def make_extractor(name: str) -> Extractor:
    """Load and build the extractor of one stream.

    Raises:
        InputError: no extractor bears this name.
    """
    table = known_extractors()
    if name not in table:
        raise InputError(f"no extractor is called '{name}'; there are {', '.join(table)}")
    if name in RESERVED:
        raise InputError(f"no stream may be called '{name}': the store uses this name itself")
    module, _, attribute = table[name].partition(":")
    try:
        make = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the extractor '{name}' ({table[name]}) cannot be loaded: {error}") from error
    extractor = make()
    if not isinstance(extractor, Extractor):
        raise InputError(f"'{name}' ({table[name]}) is not an Extractor; its entry point must name a subclass")
    return extractor
