"""An index in a PostgreSQL database: its tables, what puts and removes clips there, and what reads them.

    mee_index          one row: format, identity (another one after every `create`), generation, the next free number
                       of a row, and as JSON what index.json holds (index/storage/manifest.py), the columns, and hnsw
    mee_clips          the clips that count: row, the generation of their put, duration (end_s - start_s), and the
                       columns of index/storage/entries.py; text has collation C: it is compared by code points
    mee_vectors_1011   (row, vector): the clips of one availability pattern, as in a partition (index/scanners)
    mee_words_2        of the expert of words of that number: word, row of its clip, start_s, end_s, words
    mee_word_vectors_2 (row, vector): the vectors of these words; `row` is the number of the word
    mee_removed        (row, generation): rows that the put or remove of that generation took away

The number of a row is never used again. A change is one transaction and one more generation: whole, or not there.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

import numpy as np
import pyarrow as pa

from index.postgres.connection import Place, composed, sentences
from index.storage import (
    STANDARD,
    Entries,
    Manifest,
    Origin,
    Recall,
    Words,
    code_of,
    of_entries,
    parsed,
    shape_of,
    together,
)
from mee.errors import InputError
from mee.layout import Layout, Pattern, Scale

if TYPE_CHECKING:
    from index.filter import Filter
    from index.postgres.connection import Connection
    from index.scanners import Floats, Rows

FORMAT = 1
BATCH = 4096  # rows that are sent at a time
WIDEST, WIDEST_HNSW, WIDEST_HALF = 16_000, 2_000, 4_000  # components of a vector, and of one that HNSW indexes
TYPES = {pa.string(): 'text COLLATE "C"', pa.float64(): "float8", pa.int64(): "bigint", pa.bool_(): "boolean"}
KINDS = {str(kind): kind for kind in (*TYPES, pa.null())}
OWN = {**STANDARD, "row": pa.int64(), "generation": pa.int64(), "duration": pa.float64()}  # of mee_clips
Answer = TypeVar("Answer")


class Outdated(Exception):
    """The index is of another generation than what was asked about."""


@dataclass(frozen=True, kw_only=True)
class State:
    """The index at one moment, without its clips."""

    manifest: Manifest  # without segments
    identity: str  # of the index that one `create` made; generations of another one are no earlier ones of it
    columns: Mapping[str, tuple[str, pa.DataType]]  # metadata: the name in SQL, and the type; null: not in SQL
    hnsw: bool  # whether patterns have an approximate index

    @property
    def layout(self) -> Layout:
        return self.manifest.layout

    @property
    def origin(self) -> Origin:
        return self.manifest.origin

    @property
    def generation(self) -> int:
        return self.manifest.generation

    @property
    def offsets(self) -> Mapping[str, Any] | None:
        return self.manifest.offsets

    @property
    def scale(self) -> Scale | None:
        return self.manifest.scale

    @property
    def recall(self) -> Recall | None:
        return self.manifest.recall

    @property
    def schema(self) -> pa.Schema:
        """Of all clips."""
        return pa.schema([*STANDARD.items(), *((name, kind) for name, (_, kind) in self.columns.items())])

    def width(self, pattern: Sequence[bool]) -> int:
        """W: components of the vectors of a pattern."""
        return shape_of(tuple(pattern), self.layout, self.offsets is not None).width

    def content(self) -> str:
        """As JSON, but for identity and generation."""
        columns = {name: (own, str(kind)) for name, (own, kind) in self.columns.items()}
        return json.dumps({"manifest": asdict(self.manifest), "columns": columns, "hnsw": self.hnsw})

    @classmethod
    def read(cls, identity: str, generation: int, content: str) -> Self:
        """The opposite."""
        its = json.loads(content)
        columns = {name: (own, KINDS[kind]) for name, (own, kind) in its["columns"].items()}
        manifest = parsed({**its["manifest"], "generation": generation})
        return cls(manifest=manifest, identity=identity, columns=columns, hnsw=its["hnsw"])


@dataclass(frozen=True)
class Changes:
    """What happened since a generation."""

    state: State  # now
    table: pa.Table  # the clips put since, with the columns of index/storage/entries.py
    rows: Rows  # their numbers, rising
    removed: Rows  # rows removed since, those put and removed since included
    words: Mapping[str, Words]  # of each expert of words, of the clips in `table`

    @property
    def generation(self) -> int:
        """Now."""
        return self.state.generation


@final
class Database:
    """An index in a database. To be used by many threads; those who write take turns (`writing`)."""

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
        """Make an index without clips; the schema and the extension are made where they are missing.

        offsets: what the clips' offsets are, if they have any; overwrite: delete the index that is there, if any;
        hnsw: have an approximate index of each pattern, of which `writing` makes those that are missing at its end.

        Raises:
            InputError: there is an index, or there can be none; the message says what to do.
        """
        from index.scanners import Settings

        place = url if isinstance(url, Place) else Place(url)
        manifest = Manifest(generation=0, layout=layout, origin=origin, settings=Settings(), offsets=offsets)
        state = State(manifest=manifest, identity=uuid.uuid4().hex, columns={}, hnsw=hnsw)
        with place.connect(write=True) as connection, sentences(place):
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute(composed("CREATE SCHEMA IF NOT EXISTS {}", place.schema))
            with connection.transaction():
                there = [name for (name,) in connection.execute(OURS, (place.schema,))]
                if "mee_index" in there and not overwrite:
                    raise InputError(f"there is an index at {place} already; --overwrite replaces it")
                for name in there:
                    connection.execute(composed("DROP TABLE {}", name))
                for statement in TABLES:
                    connection.execute(statement)
                own = ", ".join(f"{_quoted(name)} {TYPES[kind]}" for name, kind in STANDARD.items())
                connection.execute(f"{CLIPS}, {own})")
                connection.execute("CREATE UNIQUE INDEX ON mee_clips (clip_id)")
                connection.execute("CREATE INDEX ON mee_clips (generation)")
                content = (FORMAT, state.identity, 0, 0, state.content())
                connection.execute("INSERT INTO mee_index VALUES (%s, %s, %s, %s, %s)", content)
        return cls(place)

    def __repr__(self) -> str:
        return f"Database('{self.place}')"

    def close(self) -> None:
        """Close all connections that are not in use."""
        while self._free:
            self._free.pop().close()

    def read_state(self) -> State:
        """Read `state` again."""
        self.state = self._asked(lambda connection: _state(connection))
        return self.state

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the single writer; put and remove take no turns within it."""
        if self._writer is not None:
            yield
            return
        with self.place.connect(write=True) as connection:
            with sentences(self.place):
                if not connection.execute(LOCK, (self.place.schema,)).fetchone()[0]:
                    raise InputError(f"another process is writing the index at {self.place}")
            self._writer = connection
            try:
                yield
                if self.state.hnsw:
                    with sentences(self.place):
                        self._approximate(connection)
            finally:
                self._writer = None

    def put(self, entries: Entries) -> None:
        """Add clips, and replace those of the same names: all of them or, if an error is raised, none.

        Raises:
            ValueError: this index cannot keep them.
            InputError: they could not be written.
        """
        entries = entries.checked(self.state.layout, offsets=self.state.offsets is not None)
        with self._changing() as (connection, state, first):
            columns = _columns(state, entries.table.schema)
            segment = of_entries(entries, state.layout, offsets=state.offsets is not None)
            _remove(connection, state, segment.table.arrow["clip_id"].to_pylist())
            rows, used = first + np.arange(len(segment.table)), first + len(segment.table)
            for part in segment.partitions:
                if part.vectors.shape[1]:
                    name = _table_of(part.pattern)
                    _make(connection, name, part.vectors.shape[1])
                    _copy_vectors(connection, name, rows[part.rows], part.vectors)
            for m, words in segment.words.items():
                numbers, used = used + np.arange(len(words.table)), used + len(words.table)
                _make(connection, f"mee_word_vectors_{m}", words.values.shape[1])
                connection.execute(WORDS.format(m))
                _copy_vectors(connection, f"mee_word_vectors_{m}", numbers, words.values)
                table = words.table.set_column(0, "row", pa.array(rows[words.clip]))
                _copy_table(connection, f"mee_words_{m}", table.add_column(0, "word", pa.array(numbers)))
            for name, (own, kind) in columns.items():
                before = state.columns.get(name, (own, pa.null()))[1]
                if pa.types.is_null(before) and not pa.types.is_null(kind):
                    connection.execute(composed(f"ALTER TABLE mee_clips ADD COLUMN {{}} {TYPES[kind]}", own))
                elif before != kind:
                    connection.execute(composed("ALTER TABLE mee_clips ALTER COLUMN {} TYPE float8", own))
            _copy_table(
                connection, "mee_clips", _for_sql(segment.table.arrow, columns, rows, state.generation + 1)
            )
            self._write(connection, replace(state, columns=columns), used)

    def remove(self, clip_ids: Sequence[str]) -> int:
        """Remove clips; returns how many.

        Raises:
            ValueError: one is not in the index; nothing is removed.
            InputError: it could not be written.
        """
        gone = list(dict.fromkeys(clip_ids))
        with self._changing() as (connection, state, first):
            there = _remove(connection, state, gone)
            if len(there) < len(gone):
                unknown = [clip_id for clip_id in gone if clip_id not in there]
                raise ValueError(f"{len(unknown)} clips are not in the index, '{unknown[0]}' among them")
            self._write(connection, state, first)
        return len(gone)

    def write_state(self, **facts: Any) -> None:
        """Record origin, offsets, scale or recall; None: there is none."""
        with self._changing() as (connection, state, first):
            self._write(connection, replace(state, manifest=replace(state.manifest, **facts)), first)

    def since(self, generation: int) -> Changes:
        """What happened after a generation; -1: all clips. Of another `State.identity` than before it says nothing.

        Raises:
            InputError: the database does not answer.
        """
        return self._asked(lambda connection: _since(connection, generation))

    def search(
        self,
        pattern: Pattern,
        vector: Floats,
        k: int,
        where: Filter | Rows | None = None,
        *,
        generation: int | None = None,
        exact: bool = False,
    ) -> tuple[Floats, Rows]:
        """The best clips of a pattern by inner product, which is computed in float32.

        Args:
            pattern: which experts the clips have.
            vector: (W,) float32, finite.
            k: how many clips.
            where: which clips may be found: those that fulfil a filter, or (N,) rows; None: all.
            generation: what the index has to be; None: any.
            exact: do not use an approximate index.

        Returns:
            (n,) inner products in falling order, (n,) rows; n < k only where fewer clips may be found.

        Raises:
            Outdated: the index is of another generation.
            InputError: the database does not answer, or the filter does not fit the columns.
        """
        text = "[" + ",".join(map(repr, vector.tolist())) + "]"
        found = self._asked(lambda connection: _search(connection, self.state, pattern, text, k, where, exact))
        if generation is not None and found[0] != generation:
            raise Outdated
        return found[1], found[2]

    def vectors(self, pattern: Pattern, rows: Rows) -> Floats:
        """(n,) rows of clips of a pattern -> (n, W) their vectors.

        Raises:
            Outdated: one is not there any more.
            InputError: the database does not answer.
        """
        wanted = np.asarray(rows, np.int64)
        width = self.state.width(pattern)
        if not width or not len(wanted):
            return np.empty((len(wanted), width), np.float32)
        query = composed("SELECT row, vector FROM {} WHERE row = ANY(%s::bigint[])", _table_of(pattern))
        there, found = self._asked(lambda connection: _vectors(connection, query, (wanted.tolist(),), width))
        order = np.argsort(there)
        places = np.searchsorted(there[order], wanted)
        if len(there) == 0 or (places >= len(there)).any() or (there[order][places] != wanted).any():
            raise Outdated
        return found[order[places]]

    def _asked(self, ask: Callable[[Connection], Answer]) -> Answer:
        """What a connection answers; a lost one is replaced once."""
        with sentences(self.place):
            connection = self._free.pop() if self._free else self.place.connect()
            answer = ask(connection)
            self._free.append(connection)
            return answer

    @contextmanager
    def _changing(self) -> Iterator[tuple[Connection, State, int]]:
        """A transaction that changes the index: the state before, and the next free number of a row."""
        with self.writing(), sentences(self.place):
            assert self._writer is not None
            with self._writer.transaction():
                self._writer.execute("SELECT FROM mee_index FOR UPDATE")
                state = _state(self._writer)
                if state.identity != self.state.identity:
                    raise InputError(f"the index at {self.place} was replaced by another one; open it again")
                yield self._writer, state, self._writer.execute("SELECT next_row FROM mee_index").fetchone()[0]
            self.state = _state(self._writer)

    def _write(self, connection: Connection, state: State, used: int) -> None:
        """Go on to the next generation."""
        update = "UPDATE mee_index SET generation = generation + 1, next_row = %s, content = %s"
        connection.execute(update, (used, state.content()))

    def _approximate(self, connection: Connection) -> None:
        """Make the approximate indexes that are missing."""


OURS = r"SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename LIKE 'mee\_%%'"
LOCK = "SELECT pg_try_advisory_lock(x'6d6565'::int, quote_ident(%s)::regnamespace::oid::int)"
TABLES = (
    "CREATE TABLE mee_index (format int, identity text, generation bigint, next_row bigint, content text)",
    "CREATE TABLE mee_removed (row bigint, generation bigint)",
    "CREATE INDEX ON mee_removed (generation)",
)
CLIPS = "CREATE TABLE mee_clips (row bigint PRIMARY KEY, generation bigint, duration float8"
WORDS = """CREATE TABLE IF NOT EXISTS mee_words_{0} (word bigint PRIMARY KEY, row bigint, start_s float8, end_s float8,
    words text); CREATE INDEX IF NOT EXISTS mee_words_{0}_row ON mee_words_{0} (row)"""


def _state(connection: Connection) -> State:
    found = connection.execute("SELECT format, identity, generation, content FROM mee_index").fetchone()
    return State.read(*found[1:])


def _table_of(pattern: Sequence[bool]) -> str:
    code = code_of(pattern)
    return f"mee_vectors_{code}" if len(code) < 50 else f"mee_vectors_x{int(code, 2):x}"  # names have 63 bytes


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _columns(state: State, schema: pa.Schema) -> dict[str, tuple[str, pa.DataType]]:
    """The metadata columns after a put: a column's name in SQL is its own, where that can be."""
    columns = {}
    for field in together([state.schema, schema]):
        if field.name not in STANDARD:
            own = field.name
            if (
                own in OWN
                or "\0" in own
                or len(own.encode()) > 60
                or own in ("ctid", "xmin", "xmax", "cmin", "cmax")
            ):
                own = f"column {len(columns)}"
            columns[field.name] = state.columns.get(field.name, (own, None))[0], field.type
    return columns


def _remove(connection: Connection, state: State, clip_ids: Sequence[str]) -> set[str]:
    """Remove clips; those that are there are returned."""
    query = "DELETE FROM mee_clips WHERE clip_id = ANY(%s) RETURNING row, pattern, clip_id"
    gone = connection.execute(query, (list(clip_ids),)).fetchall()
    if gone:
        rows = [row for row, _, _ in gone]
        for code in {pattern for _, pattern, _ in gone}:
            pattern = [digit == "1" for digit in code]
            its = ([row for row, own, _ in gone if own == code],)
            if state.width(pattern):
                connection.execute(composed("DELETE FROM {} WHERE row = ANY(%s)", _table_of(pattern)), its)
            for m, name in enumerate(state.layout.names):
                if pattern[m] and name in state.layout.words:
                    connection.execute(
                        f"WITH gone AS (DELETE FROM mee_words_{m} WHERE row = ANY(%s) RETURNING word) "
                        f"DELETE FROM mee_word_vectors_{m} WHERE row IN (SELECT word FROM gone)",
                        its,
                    )
        query = "INSERT INTO mee_removed SELECT unnest(%s::bigint[]), %s"
        connection.execute(query, (rows, state.generation + 1))
    return {clip_id for _, _, clip_id in gone}


def _make(connection: Connection, name: str, width: int) -> None:
    """A table of vectors, where it is missing."""
    create = f"CREATE TABLE IF NOT EXISTS {{}} (row bigint PRIMARY KEY, vector vector({width}) NOT NULL)"
    connection.execute(composed(create, name))


def _copy_vectors(connection: Connection, name: str, rows: Rows, vectors: Floats) -> None:
    """Send (N,) rows and (N, W) vectors as PostgreSQL's and pgvector's binary formats have them."""
    width = vectors.shape[1]
    head = [
        ("fields", ">i2"),
        ("eight", ">i4"),
        ("row", ">i8"),
        ("bytes", ">i4"),
        ("width", ">i2"),
        ("zero", ">i2"),
    ]
    kind = np.dtype([*head, ("vector", ">f4", (width,))])
    with connection.cursor() as cursor, cursor.copy(composed("COPY {} FROM STDIN (FORMAT binary)", name)) as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for start in range(0, len(rows), BATCH):
            block = np.zeros(len(rows[start : start + BATCH]), kind)
            block["fields"], block["eight"], block["bytes"], block["width"] = 2, 8, 4 * width + 4, width
            block["row"], block["vector"] = rows[start : start + BATCH], vectors[start : start + BATCH]
            copy.write(block.tobytes())
        copy.write(b"\xff\xff")


def _copy_table(connection: Connection, name: str, table: pa.Table) -> None:
    """Send a table. CSV, as Arrow writes it and PostgreSQL reads it without a loop of Python over the rows."""
    from pyarrow.csv import WriteOptions, write_csv

    columns = ", ".join(map(_quoted, table.column_names))
    with connection.cursor() as cursor, cursor.copy(f"COPY {name} ({columns}) FROM STDIN (FORMAT csv)") as copy:
        for start in range(0, len(table), BATCH):
            text = BytesIO()
            write_csv(table.slice(start, BATCH), text, WriteOptions(include_header=False))
            copy.write(text.getvalue())


def _table(connection: Connection, query: str, values: Sequence[Any], schema: pa.Schema) -> pa.Table:
    """What a query finds, with columns of these types."""
    from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

    with connection.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv)", values) as copy:
        text = b"".join(copy)
    if not text:
        return schema.empty_table()
    return read_csv(
        BytesIO(text),
        ReadOptions(column_names=schema.names, block_size=len(text) + 1),
        ParseOptions(newlines_in_values=True),
        ConvertOptions(
            column_types=schema,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _vectors(connection: Connection, query: Any, values: Sequence[Any], width: int) -> tuple[Rows, Floats]:
    """(n,) rows and (n, W) vectors of a query for both."""
    found = connection.cursor(binary=True).execute(query, values).fetchall()
    kind = np.dtype([("width", ">i2"), ("zero", ">i2"), ("vector", ">f4", (width,))])
    vectors = np.frombuffer(b"".join(vector for _, vector in found), kind)["vector"].astype(np.float32)
    return np.array([row for row, _ in found], np.int64), vectors


def _for_sql(
    table: pa.Table, columns: Mapping[str, tuple[str, pa.DataType]], rows: Rows, generation: int
) -> pa.Table:
    """A segment's table as mee_clips has it."""
    import pyarrow.compute as pc

    made = {"row": pa.array(rows), "generation": pa.array(np.full(len(rows), generation))}
    made["duration"] = pc.subtract(table["end_s"], table["start_s"])
    made |= {name: table[name] for name in STANDARD}
    made |= {
        own: table[name]
        for name, (own, _) in columns.items()
        if name in table.column_names and not pa.types.is_null(table[name].type)
    }
    return pa.table(made)


def _since(connection: Connection, generation: int) -> Changes:
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        state = _state(connection)
        kept = {name: own for name, (own, kind) in state.columns.items() if not pa.types.is_null(kind)}
        names = {**{name: name for name in STANDARD}, **kept}
        schema = pa.schema([field for field in state.schema if field.name in names])
        listed = ", ".join(map(_quoted, names.values())).replace("%", "%%")  # else a placeholder
        query = f"SELECT {listed}, row FROM mee_clips WHERE generation > %s ORDER BY row"
        table = _table(connection, query, (generation,), schema.append(pa.field("", pa.int64())))
        rows, table = np.array(table[len(schema)]), table.select(range(len(schema)))
        for name, (_, kind) in state.columns.items():
            if pa.types.is_null(kind):
                table = table.append_column(name, pa.nulls(len(table)))
        query = "SELECT row FROM mee_removed WHERE generation > %s"
        removed = np.array([row for (row,) in connection.execute(query, (generation,))], np.int64)
        words = {name: _words(connection, state, name, rows, generation) for name in state.layout.words}
    return Changes(state, table.combine_chunks(), rows, removed, words)


def _words(connection: Connection, state: State, name: str, clips: Rows, generation: int) -> Words:
    """The words of an expert, of the clips put since a generation."""
    m = state.layout.names.index(name)
    schema = pa.schema([("word", pa.int64()), ("clip", pa.int64()), ("start_s", pa.float64())])
    schema = pa.schema([*schema, ("end_s", pa.float64()), ("words", pa.string())])
    if not connection.execute("SELECT to_regclass(%s)", (f"mee_words_{m}",)).fetchone()[0]:
        return Words(schema.remove(0).empty_table(), np.empty((0, state.layout.sizes[m]), np.float32))
    its = f"FROM mee_words_{m} w JOIN mee_clips c USING (row)"
    query = f"SELECT word, row, w.start_s, w.end_s, words {its} WHERE c.generation > %s ORDER BY word"
    table = _table(connection, query, (generation,), schema)
    query = f"SELECT v.row, vector FROM mee_word_vectors_{m} v JOIN mee_words_{m} w ON v.row = word "
    query += "JOIN mee_clips c ON c.row = w.row WHERE c.generation > %s ORDER BY 1"
    _, values = _vectors(connection, query, (generation,), state.layout.sizes[m])
    clip = np.searchsorted(clips, np.asarray(table["clip"]))
    order = np.argsort(clip, kind="stable")
    return Words(table.remove_column(0).set_column(0, "clip", pa.array(clip)).take(pa.array(order)), values[order])


def _search(
    connection: Connection, state: State, pattern: Pattern, vector: str, k: int, where: Any, exact: bool
) -> tuple[int, Floats, Rows]:
    """The generation, and what Database.search returns."""
    table, values, condition = _table_of(pattern), {"vector": vector, "k": k}, ""
    if where is not None:
        condition, values["rows"] = "WHERE row = ANY(%(rows)s::bigint[])", np.asarray(where, np.int64).tolist()
    query = f"""SELECT generation, found.row, found.distance FROM mee_index LEFT JOIN LATERAL (
        SELECT row, vector <#> %(vector)s::vector AS distance FROM {{}} {condition}
        ORDER BY vector <#> %(vector)s::vector LIMIT %(k)s) found ON true"""
    found = connection.execute(composed(query, table), values).fetchall()
    generation, there = found[0][0], [each for each in found if each[1] is not None]
    scores = -np.array([distance for _, _, distance in there], np.float32)
    order = np.argsort(-scores, kind="stable")
    return generation, scores[order], np.array([row for _, row, _ in there], np.int64)[order]
