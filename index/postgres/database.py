"""Database: an index in a PostgreSQL database, written and searched. tables.py says what it holds."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

import numpy as np

from index.postgres.connection import Place, composed, lock, locked, make_extension, sentences
from index.postgres.tables import (
    FORMAT,
    TABLES,
    WIDEST,
    WIDEST_HALF,
    WIDEST_HNSW,
    Changes,
    State,
    drop,
    put,
    remove,
    since,
    table_of,
    tables_of,
    vectors_of,
)
from index.storage import Entries, Origin
from mee.errors import InputError
from mee.layout import Layout, Pattern

if TYPE_CHECKING:
    from index.postgres.connection import Connection
    from index.scanners import Floats, Rows

LAST = "SELECT change, generation FROM mee_index"
AGAIN_S = 20  # after a lost connection, to see whether a change is there
SEEN = (100, 1000)  # candidates of an approximate index, at least and at most
Answer = TypeVar("Answer")


class Outdated(Exception):
    """The index is not any more what was asked about; read `since` again."""


@final
class Database:
    """An index in a database. Threads may share it to read; one at a time may write."""

    def __init__(self, place: Place) -> None:
        """Open the index at a place."""
        self.place = place
        self._free: list[Connection] = []  # to read, not in use
        self._writer: Connection | None = None
        self.state = self.read_state()

    @classmethod
    def open(cls, url: str) -> Self:
        """Open an index that exists.

        Raises:
            InputError: there is none, or it cannot be read; the message says what to do.
        """
        return cls(Place(url))

    @classmethod
    def create(
        cls,
        url: str | Place,
        layout: Layout,
        origin: Origin,
        *,
        offsets: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        hnsw: bool = False,
    ) -> Self:
        """Make an index without clips; its schema and the extension are made where they are missing.

        offsets: what the clips' offsets are, if they have any; overwrite: delete the index that is there, if any;
        hnsw: have approximate indexes, which `writing` makes at its end.

        Raises:
            InputError: there is an index, or there can be none; the message says what to do.
        """
        from index.scanners import Settings

        place = url if isinstance(url, Place) else Place(url)
        new = State(
            generation=0,
            layout=layout,
            origin=origin,
            settings=Settings(),
            offsets=offsets,
            identity=uuid.uuid4().hex,
            columns={},
            hnsw=hnsw,
        )
        if new.width([True] * len(layout.names)) > WIDEST:
            raise InputError(f"pgvector keeps vectors of at most {WIDEST:,} components; use smaller embeddings")
        with place.connect(write=True, create=True) as connection, sentences(place):
            if connection.info.parameter_status("server_encoding") != "UTF8":
                raise InputError(
                    f"the database at {place} does not keep text as UTF-8; make another: createdb -E UTF8"
                )
            make_extension(connection, place)
            connection.execute(composed("CREATE SCHEMA IF NOT EXISTS {}", place.schema))
        with place.connect(write=True) as connection, sentences(place), connection.transaction():
            lock(connection, place)
            if "mee_index" in tables_of(connection, place) and not overwrite:
                raise InputError(f"there is an index at {place} already; --overwrite replaces it")
            drop(connection, place)
            connection.execute(TABLES)
            facts = (FORMAT, new.identity, new.identity, new.content())
            connection.execute("INSERT INTO mee_index VALUES (%s, %s, 0, %s, 0, %s)", facts)
        return cls(place)

    def __repr__(self) -> str:
        return f"Database('{self.place}')"

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._free:
            self._free.pop().close()

    def read_state(self) -> State:
        """Read `state` again."""
        self.state = self._asked(lambda connection: State.read(connection, self.place))
        return self.state

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only one that writes, until the end; put and remove do it on their own outside of it.

        Raises:
            InputError: another one writes.
        """
        if self._writer is not None:
            yield
            return
        with locked(self.place) as self._writer:
            try:
                yield
                if self.state.hnsw:
                    with sentences(self.place):
                        self._approximate(self._writer)
            finally:
                self._writer = None

    def put(self, entries: Entries) -> None:
        """Add clips, and replace those of the same names: all of them or, if an error is raised, none.

        Raises:
            ValueError: this index cannot keep them.
            InputError: they could not be written, or the connection was lost; the message says if they are there.
        """
        entries = entries.checked(self.state.layout, offsets=self.state.offsets is not None)
        if len(entries):
            self._change(lambda connection, state, first: put(connection, state, entries, first))

    def remove(self, clip_ids: Sequence[str]) -> int:
        """Remove clips; returns how many.

        Raises:
            ValueError: one is not in the index; nothing is removed.
            InputError: it could not be written, as of `put`.
        """
        gone = list(dict.fromkeys(clip_ids))

        def change(connection: Connection, state: State, first: int) -> tuple[State, int]:
            there = remove(connection, replace(state, generation=state.generation + 1), gone)
            unknown = [clip_id for clip_id in gone if clip_id not in there]
            if unknown:
                raise ValueError(f"{len(unknown)} clips are not in the index, '{unknown[0]}' among them")
            return state, first

        if gone:
            self._change(change)
        return len(gone)

    def write_state(self, **facts: Any) -> None:
        """Record origin, offsets, scale or recall, by name; None: there is none.

        Raises:
            ValueError: clips have no offsets, or some, and would need new vectors.
            InputError: it could not be written, as of `put`.
        """

        def change(connection: Connection, state: State, first: int) -> tuple[State, int]:
            new = replace(state, **facts)
            if first and (new.offsets is None) != (state.offsets is None):
                raise ValueError("clips have offsets from the beginning, or never: make the index again")
            return new, first

        self._change(change)

    def since(self, generation: int) -> Changes:
        """What happened after a generation, as of one moment; -1: all clips.

        Raises:
            InputError: the database does not answer.
        """
        return self._asked(lambda connection: since(connection, self.place, generation))

    def search(
        self,
        pattern: Pattern,
        vector: Floats,
        k: int,
        where: Rows | None = None,
        *,
        generation: int | None = None,
        exact: bool = False,
    ) -> tuple[Floats, Rows]:
        """The best clips of a pattern by inner product, which is computed in float32.

        Args:
            pattern: which experts the clips have.
            vector: (W,) float32, finite.
            k: how many clips, at least 1.
            where: (N,) rows of which some may be found; None: all.
            generation: what the index has to be at; None: any.
            exact: use no approximate index.

        Returns:
            (n,) inner products in falling order, (n,) rows; n < k only where no more clips may be found.

        Raises:
            Outdated: the index is of another generation, or another index.
            InputError: the database does not answer.
        """
        state, values = self.state, dict[str, Any](k=k)
        values["vector"] = f"[{','.join(map(repr, vector.tolist()))}]"
        condition, width = "", state.width(pattern)
        if where is not None:
            condition, values["rows"] = "WHERE row = ANY(%(rows)s::bigint[])", np.asarray(where, np.int64).tolist()
        approximate = state.hnsw and not exact and width <= WIDEST_HALF

        def ask(connection: Connection) -> list[Any]:
            kind = f"halfvec({width})" if approximate and width > WIDEST_HNSW else "vector"
            left = "vector" if kind == "vector" else f"vector::{kind}"
            query = f"""SELECT generation, identity, found.* FROM mee_index LEFT JOIN LATERAL (
                SELECT row, vector <#> %(vector)s::vector AS distance FROM {{}} {condition}
                ORDER BY ({left}) <#> %(vector)s::{kind} LIMIT %(k)s) found ON true"""
            text = composed(query, table_of(pattern))
            if not approximate:
                return connection.execute(text, values, prepare=True).fetchall()
            with connection.transaction():
                seen = str(min(max(2 * k, SEEN[0]), SEEN[1]))
                connection.execute(
                    "SELECT set_config('enable_indexscan', 'on', true), set_config('hnsw.ef_search', %s, true), "
                    "set_config('hnsw.iterative_scan', 'strict_order', true)",
                    (seen,),
                )
                return connection.execute(text, values, prepare=True).fetchall()

        found = self._asked(ask)
        there = [each for each in found if each[2] is not None]
        if found[0][1] != state.identity or generation not in (None, found[0][0]):
            raise Outdated(f"generation {found[0][0]}")
        if approximate and len(there) < k:  # it gives up before it has seen all
            return self.search(pattern, vector, k, where, generation=generation, exact=True)
        scores = -np.array([each[3] for each in there], np.float32)
        order = np.argsort(-scores, kind="stable")
        return scores[order], np.array([each[2] for each in there], np.int64)[order]

    def vectors(self, pattern: Pattern, rows: Rows) -> Floats:
        """(n,) rows of clips of a pattern -> (n, W) their vectors.

        Raises:
            Outdated: one is not there any more.
            InputError: the database does not answer.
        """
        wanted, width = np.asarray(rows, np.int64), self.state.width(pattern)
        if not width or not len(wanted):
            return np.empty((len(wanted), width), np.float32)
        query = composed(
            "SELECT row, vector FROM {} WHERE row = ANY(%s::bigint[]) ORDER BY row", table_of(pattern)
        )
        there, found = self._asked(lambda connection: vectors_of(connection, query, (wanted.tolist(),), width))
        if not np.isin(wanted, there).all():
            raise Outdated("a clip was removed")
        return found[np.searchsorted(there, wanted)]

    def _asked(self, ask: Callable[[Connection], Answer]) -> Answer:
        """What a connection answers; where it is lost, another one is asked once more."""
        import psycopg

        with sentences(self.place):
            for last in (False, True):
                try:
                    connection = self._free.pop()
                except IndexError:
                    connection = self.place.connect()
                try:
                    answer = ask(connection)
                except BaseException as error:
                    lost = connection.broken or isinstance(error, psycopg.errors.AdminShutdown)
                    connection.close()
                    if isinstance(error, psycopg.errors.UndefinedTable) and hasattr(self, "state"):
                        raise Outdated("a table is not there any more") from None
                    if last or not lost:
                        raise
                    self.close()  # the others are lost, too
                else:
                    self._free.append(connection)
                    return answer
        raise AssertionError

    def _change(self, change: Callable[[Connection, State, int], tuple[State, int]]) -> None:
        """Go on to the next generation in a transaction; `change` gets the state and the next free number."""
        own, before = uuid.uuid4().hex, self.state
        with self.writing():
            connection = self._writer
            assert connection is not None
            try:
                with sentences(self.place), connection.transaction():
                    (first,) = connection.execute("SELECT next_row FROM mee_index FOR UPDATE").fetchone() or (0,)
                    before = State.read(connection, self.place)
                    if before.identity != self.state.identity:
                        raise InputError(f"the index at {self.place} was made again since; open it again")
                    state, used = change(connection, before, first)
                    connection.execute(
                        "UPDATE mee_index SET generation = %s, change = %s, next_row = %s, content = %s",
                        (before.generation + 1, own, used, state.content()),
                    )
            except InputError:
                if connection.closed:  # else it was rolled back
                    raise InputError(self._lost(own, before.generation)) from None
                raise
            self.state = replace(state, generation=before.generation + 1)

    def _lost(self, change: str, generation: int) -> str:
        """Whether a change is there during which the connection was lost."""
        begun = time.monotonic()
        lost = f"the connection to the database at {self.place} was lost during a change"
        while time.monotonic() < begun + AGAIN_S:
            try:
                last, now = self._asked(lambda connection: connection.execute(LAST).fetchone()) or ("", 0)
            except (InputError, Outdated):
                time.sleep(0.5)
                continue
            if last == change:
                return f"{lost}, which is there, whole (generation {now}); go on after it"
            if now == generation:
                return f"{lost}, of which nothing is there; run it again"
            break
        return f"{lost}, which is there, whole, or not: run it again, which replaces it if it is there"

    def _approximate(self, connection: Connection) -> None:
        """Make the approximate indexes that are missing."""
        for name in tables_of(connection, self.place):
            if name.startswith("mee_vectors_"):
                query = "SELECT atttypmod FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'vector'"
                (width,) = connection.execute(query, (composed("{}", name).as_string(),)).fetchone() or (0,)
                kind, text = (
                    ("vector", "vector") if width <= WIDEST_HNSW else ("halfvec", f"vector::halfvec({width})")
                )
                create = f"CREATE INDEX IF NOT EXISTS {{}} ON {{}} USING hnsw (({text}) {kind}_ip_ops)"
                if width <= WIDEST_HALF:
                    connection.execute(composed(create, f"{name}_hnsw"[-60:], name))
