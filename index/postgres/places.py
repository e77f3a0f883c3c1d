"""Where an index is, in a folder or in a database, as commands are told it.

What this takes is imported where it is used: commands begin here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from index.postgres.connection import Place

if TYPE_CHECKING:
    from index.storage import Snapshot

SCHEMES = ("postgresql://", "postgres://")


def place_of(given: str | Path | Place) -> Path | Place:
    """A folder, or a database as its url names it.

    Raises:
        InputError: the url is malformed, or the package psycopg is missing.
    """
    if isinstance(given, str):
        return Place(given) if given.startswith(SCHEMES) else Path(given)
    return given


def home_of(place: Path | Place) -> Path:
    """Where the text sides of an index's models are: of one in a database, in the user's cache directory."""
    return place if isinstance(place, Path) else place.texts


def snapshot_at(place: Path | Place) -> Snapshot:
    """Open an index.

    Raises:
        InputError: there is none, or it cannot be read, or is of another version.
    """
    if isinstance(place, Path):
        from index.storage import read_snapshot

        return read_snapshot(place)
    from index.postgres.database import Database
    from index.postgres.mirror import Mirror

    return Mirror(Database(place)).read()


def holds_index(place: Path | Place) -> bool:
    """Whether there is an index, damaged or not.

    Raises:
        InputError: the database does not answer, or the index there is of another version.
    """
    if isinstance(place, Path):
        from index.storage import has_index

        return has_index(place)
    from index.postgres.connection import sentences

    with place.connect(create=True) as connection, sentences(place):
        found = connection.execute("SELECT to_regclass('mee_index')").fetchone()
        return found is not None and found[0] is not None
