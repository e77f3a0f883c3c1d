"""Where an index is, in a folder or in a database, as commands are told it.

What this takes is imported where it is used: commands begin here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from index.postgres.connection import Place
from mee.errors import InputError

if TYPE_CHECKING:
    from index.postgres.writer import DatabaseWriter
    from index.scanners import Settings
    from index.storage import IndexWriter, Origin, ShardsWriter, Snapshot
    from mee.layout import Layout

    Writer = IndexWriter | ShardsWriter | DatabaseWriter
else:
    Writer = Any  # what it is made of loads psycopg, or more than most commands need

SCHEMES = ("postgresql://", "postgres://")
TRIES = 20  # of a search in a database that is written to
Asked = ParamSpec("Asked")
Found = TypeVar("Found")


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

    with place.connect() as connection, sentences(place):
        found = connection.execute("SELECT to_regclass('mee_index')").fetchone()
        return found is not None and found[0] is not None


def writer_at(place: Path | Place, shards: int | None = None) -> Writer:
    """Change an index that exists, as `open_writer` of index.storage does.

    Raises:
        InputError: it cannot be opened, or is written by another process, or is in another number of shards.
    """
    if isinstance(place, Path):
        from index.storage import open_writer

        return open_writer(place, shards)
    from index.postgres.writer import DatabaseWriter

    _check_no_shards(shards)
    return DatabaseWriter.open(place)


def created_at(
    place: Path | Place, layout: Layout, origin: Origin, *, settings: Settings, overwrite: bool, shards: int
) -> Writer:
    """Make an index without clips, as `create_writer` of index.storage does.

    Raises:
        InputError: something else is there, or it is written by another process, or it cannot be made.
    """
    if isinstance(place, Path):
        from index.storage import create_writer

        return create_writer(place, layout, origin, settings=settings, overwrite=overwrite, shards=shards)
    from index.postgres.writer import DatabaseWriter

    _check_no_shards(shards)
    return DatabaseWriter.create(place, layout, origin, settings=settings, overwrite=overwrite)


def _check_no_shards(shards: int | None) -> None:
    if shards:
        raise InputError("--shards makes folders; a database is one index: leave it out")


def of_one_state(
    work: Callable[Concatenate[Any, Asked], Found],
) -> Callable[Concatenate[Any, Asked], Found]:
    """A method of a Searcher that is called again where a database was written to meanwhile."""

    @wraps(work)
    def done(self: Any, *asked: Asked.args, **more: Asked.kwargs) -> Found:
        from index.storage import Changed

        for _ in range(TRIES):
            try:
                return work(self, *asked, **more)
            except Changed:
                if not self.refresh():
                    raise
        raise Changed

    return cast("Callable[Concatenate[Any, Asked], Found]", done)
