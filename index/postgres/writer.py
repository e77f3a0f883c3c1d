"""DatabaseWriter: changes an index in PostgreSQL as an IndexWriter changes one in a folder.

Each put and remove is a transaction, and readers see it at once. An index that replaces another one is made in a
schema beside it, and takes its place when it is whole. Kinds: fastscan, and auto with a recall, are HNSW, which is
made when the index is; all others are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from index.postgres.connection import Place, locked
from index.postgres.database import Database
from index.postgres.mirror import Mirror
from index.postgres.places import holds_index
from index.postgres.tables import publish
from index.scanners import Settings
from index.storage import (
    Entries,
    IndexWriter,
    Origin,
    Recall,
    ShardsWriter,
    Snapshot,
    create_writer,
    discard,
    open_writer,
    text_name,
    whole_folder,
)
from mee.errors import InputError
from mee.files import make_folder
from mee.layout import Layout, Scale


@final
class DatabaseWriter:
    """A context manager; made by `create` or `open`."""

    def __init__(self, database: Database, stack: ExitStack, *, published: bool = True) -> None:
        """stack: is left when the writer is; published: whether readers see at once what is put."""
        self._database, self._mirror, self._stack = database, Mirror(database), stack
        self.published = published

    @classmethod
    def create(
        cls,
        place: Place,
        layout: Layout,
        origin: Origin,
        *,
        settings: Settings | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Make an index without clips; raises as `Database.create`, and as `Database.writing`."""
        settings = settings or Settings()
        how: Any = {"overwrite": overwrite, "hnsw": settings.larger == "fastscan"}
        with ExitStack() as stack:
            hidden = place.beside if overwrite and holds_index(place) else None
            if hidden is not None:
                stack.enter_context(_replaced(place, hidden))
            database = Database.create(hidden or place, layout, origin, **how)
            stack.enter_context(database.writing())
            database.write_state(settings=settings)
            return cls(database, stack.pop_all(), published=hidden is None)

    @classmethod
    def open(cls, place: Place) -> Self:
        """Change an index that exists; raises as `Database.open`, and as `Database.writing`."""
        with ExitStack() as stack:
            database = Database(place)
            stack.enter_context(database.writing())
            return cls(database, stack.pop_all())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def snapshot(self) -> Snapshot:
        """What the index holds."""
        return self._mirror.read()

    def put(self, entries: Entries) -> None:
        """As `Database.put`."""
        self._database.put(entries)

    def remove(self, clip_ids: Sequence[str]) -> int:
        """As `Database.remove`."""
        return self._database.remove(clip_ids)

    def compact(
        self,
        *,
        settings: Settings,
        scale: Scale | None = None,
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> None:
        """Have other settings or another scale; there is nothing to merge.

        Raises:
            InputError: it is made exact, or approximate, which a new index can be.
        """
        now = self.snapshot
        if settings.larger != now.settings.larger and "fastscan" in (settings.larger, now.settings.larger):
            kind = "exact" if settings.larger == "fastscan" else "HNSW"
            raise InputError(
                f"the index at {self._database.place} is {kind}, and only a new one is of another kind: leave "
                "--kind and --recall out, or add --overwrite"
            )
        if (settings, scale or now.scale) != (now.settings, now.scale):
            self._database.write_state(settings=settings, scale=scale or now.scale, recall=None)
        progress(len(now), len(now))

    def set_recall(self, measured: Recall | None) -> None:
        """Record the recall that was measured."""
        self._database.write_state(recall=measured)

    def set_origin(self, origin: Origin) -> None:
        """Record where the model and the store are now."""
        self._database.write_state(origin=origin)

    def put_text(self, write: Callable[[Path], None]) -> None:
        """Keep the model's text side in the user's cache directory, as `write` fills its folder."""
        folder = self._database.place.texts / text_name(self.snapshot.origin)
        make_folder(folder.parent)
        with whole_folder(folder) as aside:
            write(aside)
            discard(folder)


@contextmanager
def _replaced(place: Place, hidden: Place) -> Iterator[None]:
    """Let no other process write an index; an index that is made meanwhile takes its place, or is not left."""
    with locked(place) as connection:
        try:
            yield
        except BaseException:
            with suppress(InputError):
                publish(connection, hidden, None)
            raise
        publish(connection, hidden, place)


Writer = IndexWriter | ShardsWriter | DatabaseWriter


def writer_at(place: Path | Place, shards: int | None = None) -> Writer:
    """Change an index that exists, as `open_writer` of index.storage does.

    Raises:
        InputError: it cannot be opened, or is written by another process, or is in another number of shards.
    """
    if isinstance(place, Path):
        return open_writer(place, shards)
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
        return create_writer(place, layout, origin, settings=settings, overwrite=overwrite, shards=shards)
    _check_no_shards(shards)
    return DatabaseWriter.create(place, layout, origin, settings=settings, overwrite=overwrite)


def _check_no_shards(shards: int | None) -> None:
    if shards:
        raise InputError("--shards makes folders; a database is one index: leave it out")
