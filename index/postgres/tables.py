"""The tables of an index in a database, and how clips come into them and out of them.

    mee_index          one row: format, identity (another one after every `create`), generation, the last change (a
                       name that it gave itself), the next free number of a row, and as JSON a `State`
    mee_clips          the clips that count: row, the generation of their put, and the columns of
                       index/storage/entries.py; text has collation C, which no update of a system changes
    mee_vectors_1011   (row, vector): the clips of one availability pattern, as in a partition (index/scanners)
    mee_words_2        of the expert of words of that number: word, row of its clip, start_s, end_s, words
    mee_word_vectors_2 (row, vector): the vectors of these words; `row` is the number of the word
    mee_removed        (row, generation): rows that the put or remove of that generation took away

The number of a row is never used again. A change is one transaction and one more generation: whole, or not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from index.postgres.connection import composed, quoted, sentences
from index.storage import STANDARD, Entries, Manifest, Words, code_of, of_entries, parsed, shape_of, together
from mee.errors import InputError

if TYPE_CHECKING:
    from index.postgres.connection import Connection, Place
    from index.scanners import Floats, Rows
    from index.storage import Segment

FORMAT, BATCH = 1, 4096  # rows that are sent at a time
WIDEST, WIDEST_HNSW, WIDEST_HALF = 16_000, 2_000, 4_000  # components of a vector, and of one that HNSW indexes
INLINE = 1_950  # components of a vector that fits into a page beside others' heads
LONGEST_NAME = 60  # bytes; PostgreSQL cuts names at 63
TYPES = {pa.string(): 'text COLLATE "C"', pa.float64(): "float8", pa.int64(): "bigint", pa.bool_(): "boolean"}
KINDS = {str(kind): kind for kind in (*TYPES, pa.null())}
TAKEN = {*STANDARD, "row", "generation", "tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"}
LISTED = "SELECT tablename FROM pg_tables WHERE schemaname = %s AND left(tablename, 4) = 'mee_'"
TABLES = f"""
    CREATE TABLE mee_index
        (format int, identity text, generation bigint, change text, next_row bigint, content text);
    CREATE TABLE mee_removed (row bigint, generation bigint);
    CREATE INDEX ON mee_removed (generation);
    CREATE TABLE mee_clips (row bigint PRIMARY KEY, generation bigint,
        {", ".join(f'"{name}" {TYPES[kind]}' for name, kind in STANDARD.items())});
    CREATE UNIQUE INDEX ON mee_clips (clip_id);
    CREATE INDEX ON mee_clips (generation)"""
WORDS = """CREATE TABLE IF NOT EXISTS mee_words_{0} (word bigint PRIMARY KEY, row bigint, start_s float8,
    end_s float8, words text); CREATE INDEX IF NOT EXISTS mee_words_{0}_row ON mee_words_{0} (row)"""


@dataclass(frozen=True, kw_only=True)
class State(Manifest):
    """The index at one moment, without its clips."""

    identity: str  # of the index that one `create` made: of others a generation says nothing
    columns: Mapping[str, tuple[str, pa.DataType]]  # metadata: the name in SQL, and the type; null: not in SQL
    hnsw: bool  # whether patterns have an approximate index

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
        facts = asdict(replace(self, columns={}))
        return json.dumps({**facts, "columns": columns})

    @classmethod
    def read(cls, connection: Connection, place: Place) -> Self:
        """As the database has it.

        Raises:
            InputError: it is of another format.
        """
        found = connection.execute("SELECT format, identity, generation, content FROM mee_index").fetchone()
        number, identity, generation, content = found or (None, "", 0, "")
        if number != FORMAT:
            raise InputError(
                f"the index at {place} is of format {number}, and this version of mee reads {FORMAT}; make "
                "the index again: mee index STORE MODEL URL --overwrite"
            )
        its = json.loads(content)
        own: dict[str, Any] = {
            "columns": {name: (its_own, KINDS[kind]) for name, (its_own, kind) in its.pop("columns").items()}
        }
        own |= {"identity": identity, "hnsw": its.pop("hnsw")}
        del its["identity"]
        return cls(**vars(parsed({**its, "generation": generation})), **own)


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


def table_of(pattern: Sequence[bool]) -> str:
    """The name of the table of a pattern's vectors."""
    code = code_of(pattern)
    return f"mee_vectors_{code}" if len(code) < LONGEST_NAME - 12 else f"mee_vectors_x{int(code, 2):x}"


def publish(connection: Connection, hidden: Place, place: Place | None) -> None:
    """Put the index of a hidden schema in the place of another one, at once; None: delete it."""
    with sentences(hidden), connection.transaction():
        if place is not None:
            drop(connection, place)
            for name in tables_of(connection, hidden):
                move = "ALTER TABLE {}.{} SET SCHEMA {}"
                connection.execute(composed(move, hidden.schema, name, place.schema))
        drop(connection, hidden)
        connection.execute(composed("DROP SCHEMA IF EXISTS {}", hidden.schema))


def tables_of(connection: Connection, place: Place) -> list[str]:
    """Those of the index that is there."""
    return [name for (name,) in connection.execute(LISTED, (place.schema,))]


def drop(connection: Connection, place: Place) -> None:
    """Delete the index that is there, if any."""
    for name in tables_of(connection, place):
        connection.execute(composed("DROP TABLE {}.{}", place.schema, name))


def put(connection: Connection, state: State, entries: Entries, first: int) -> tuple[State, int]:
    """Send clips whose rows begin with a number; the state with their columns, and the next free number."""
    state = replace(state, columns=_columns(state, entries.table.schema), generation=state.generation + 1)
    segment = of_entries(entries, state.layout, offsets=state.offsets is not None)
    remove(connection, state, entries.table["clip_id"].to_pylist())
    rows, used = first + np.arange(len(segment.table)), first + len(segment.table)
    for part in segment.partitions:
        if part.vectors.shape[1]:
            _send_vectors(connection, table_of(part.pattern), rows[part.rows], part.vectors)
    for m, words in segment.words.items():
        numbers, used = used + np.arange(len(words.table)), used + len(words.table)
        _send_vectors(connection, f"mee_word_vectors_{m}", numbers, words.values)
        connection.execute(WORDS.format(m))
        table = words.table.set_column(0, "row", pa.array(rows[words.clip]))
        _send_table(connection, f"mee_words_{m}", table.add_column(0, "word", pa.array(numbers)))
    _send_clips(connection, state, segment, rows)  # last: a new column locks the table
    return state, used


def remove(connection: Connection, state: State, clip_ids: Sequence[str]) -> set[str]:
    """Remove clips as of the state's generation; those that were there are returned."""
    query = "DELETE FROM mee_clips WHERE clip_id = ANY(%s) RETURNING row, pattern, clip_id"
    gone = connection.execute(query, (list(clip_ids),)).fetchall()
    for code in sorted({code for _, code, _ in gone}):
        pattern, its = [digit == "1" for digit in code], ([row for row, own, _ in gone if own == code],)
        connection.execute("INSERT INTO mee_removed SELECT unnest(%s::bigint[]), %s", (*its, state.generation))
        if state.width(pattern) and any(pattern):
            connection.execute(composed("DELETE FROM {} WHERE row = ANY(%s)", table_of(pattern)), its)
        for m, name in enumerate(state.layout.names):
            if pattern[m] and name in state.layout.words:
                query = f"WITH gone AS (DELETE FROM mee_words_{m} WHERE row = ANY(%s) RETURNING word) "
                query += f"DELETE FROM mee_word_vectors_{m} WHERE row IN (SELECT word FROM gone)"
                connection.execute(query, its)
    return {clip_id for _, _, clip_id in gone}


def since(connection: Connection, place: Place, generation: int) -> Changes:
    """See Database.since."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        state = State.read(connection, place)
        names = {name: own for name, (own, kind) in state.columns.items() if not pa.types.is_null(kind)}
        names = {name: name for name in STANDARD} | names
        schema = pa.schema([one for one in state.schema if one.name in names])
        query = f"SELECT {', '.join(map(quoted, names.values()))}, row FROM mee_clips "
        table = _table(connection, f"{query} WHERE generation > %s ORDER BY row", generation, [*schema, NUMBER])
        rows, table = np.array(table[len(schema)], np.int64), table.select(range(len(schema)))
        for name in state.columns.keys() - names.keys():
            table = table.append_column(name, pa.nulls(len(table)))
        removed = connection.execute("SELECT row FROM mee_removed WHERE generation > %s", (generation,))
        gone = np.array([row for (row,) in removed], np.int64)
        words = {name: _words(connection, state, name, rows, generation) for name in state.layout.words}
    return Changes(state, table.combine_chunks(), rows, gone, words)


def vectors_of(connection: Connection, query: Any, values: Any, width: int) -> tuple[Rows, Floats]:
    """(n,) rows and (n, W) vectors of a query for both."""
    found = connection.cursor(binary=True).execute(query, values).fetchall()
    kind = np.dtype([("width", ">i2"), ("zero", ">i2"), ("vector", ">f4", (width,))])
    vectors = np.frombuffer(b"".join(vector for _, vector in found), kind)["vector"].astype(np.float32)
    return np.array([row for row, _ in found], np.int64), vectors


NUMBER = pa.field("", pa.int64())
SAID = [pa.field("clip", pa.int64()), pa.field("start_s", pa.float64()), pa.field("end_s", pa.float64())]
SAID += [pa.field("words", pa.string())]


def _words(connection: Connection, state: State, name: str, clips: Rows, generation: int) -> Words:
    """The words of an expert, of the clips put since a generation, whose rows are given."""
    m = state.layout.names.index(name)
    if connection.execute("SELECT to_regclass(%s)", (f"mee_words_{m}",)).fetchone() == (None,):
        return Words(pa.schema(SAID).empty_table(), np.empty((0, state.layout.sizes[m]), np.float32))
    its = f"FROM mee_words_{m} w JOIN mee_clips c USING (row)"
    after = "WHERE c.generation > %s ORDER BY 1"
    query = f"SELECT word, row, w.start_s, w.end_s, words {its} {after}"
    table = _table(connection, query, generation, [NUMBER, *SAID]).remove_column(0)
    query = f"SELECT v.row, vector {its} JOIN mee_word_vectors_{m} v ON v.row = word {after}"
    _, values = vectors_of(connection, query, (generation,), state.layout.sizes[m])
    clip = np.searchsorted(clips, np.array(table["clip"], np.int64))
    order = np.argsort(clip, kind="stable")
    return Words(table.set_column(0, SAID[0], pa.array(clip)).take(pa.array(order)), values[order])


def _columns(state: State, schema: pa.Schema) -> dict[str, tuple[str, pa.DataType]]:
    """The metadata columns after a put: a column's name in SQL is its own, where that can be."""
    columns: dict[str, tuple[str, pa.DataType]] = {}
    for one in together([state.schema, schema]):
        if one.name not in STANDARD:
            usable = one.name and one.name not in TAKEN and "\0" not in one.name
            usable = usable and len(one.name.encode()) <= LONGEST_NAME and not one.name.startswith("column ")
            own = one.name if usable else f"column {len(columns)}"
            columns[one.name] = state.columns.get(one.name, (own, None))[0], one.type
    return columns


def _send_clips(connection: Connection, state: State, segment: Segment, rows: Rows) -> None:
    """Send a segment's table, whose columns are made or changed where they are not there yet."""
    query = "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'mee_clips'::regclass"
    there = dict(connection.execute(query).fetchall())
    table = segment.table.arrow
    made = {"row": pa.array(rows), "generation": pa.array(np.full(len(rows), state.generation))}
    made |= {name: table[name] for name in STANDARD}
    for name, (own, kind) in state.columns.items():
        if not pa.types.is_null(kind) and own not in there:
            connection.execute(composed(f"ALTER TABLE mee_clips ADD COLUMN {{}} {TYPES[kind]}", own))
        elif kind == pa.float64() and there[own] == "bigint":
            connection.execute(composed("ALTER TABLE mee_clips ALTER COLUMN {} TYPE float8", own))
        if name in table.column_names and not pa.types.is_null(table[name].type):
            made[own] = table[name]
    _send_table(connection, "mee_clips", pa.table(made))


def _send_vectors(connection: Connection, name: str, rows: Rows, vectors: Floats) -> None:
    """Send (N,) rows and (N, W) vectors as PostgreSQL's and pgvector's binary formats have them.

    The table is made where it is missing.
    """
    width = vectors.shape[1]
    there = connection.execute("SELECT to_regclass(%s)", (composed("{}", name).as_string(),)).fetchone()
    if there == (None,):
        create = f"CREATE TABLE {{}} (row bigint PRIMARY KEY, vector vector({width}) NOT NULL)"
        connection.execute(composed(create, name))
        if width <= INLINE:  # out of line, as vectors above 2 kB are else, they are read three times slower
            connection.execute(composed("ALTER TABLE {} ALTER vector SET STORAGE PLAIN", name))
    names = (
        ("fields", ">i2"),
        ("eight", ">i4"),
        ("row", ">i8"),
        ("bytes", ">i4"),
        ("width", ">i2"),
        ("zero", ">i2"),
    )
    kind = np.dtype([*names, ("vector", ">f4", (width,))])
    with connection.cursor() as cursor, cursor.copy(composed("COPY {} FROM STDIN (FORMAT binary)", name)) as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for start in range(0, len(rows), BATCH):
            block = np.zeros(len(rows[start : start + BATCH]), kind)
            block["fields"], block["eight"], block["bytes"], block["width"] = 2, 8, 4 * width + 4, width
            block["row"], block["vector"] = rows[start : start + BATCH], vectors[start : start + BATCH]
            copy.write(block.tobytes())
        copy.write(b"\xff\xff")


def _send_table(connection: Connection, name: str, table: pa.Table) -> None:
    """Send a table as CSV, which Arrow writes and PostgreSQL reads without a loop of Python over the rows."""
    from pyarrow.csv import WriteOptions, write_csv

    into = composed(
        f"COPY {name} ({', '.join(['{}'] * table.num_columns)}) FROM STDIN (FORMAT csv)", *table.schema.names
    )
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        for start in range(0, len(table), BATCH):
            text = BytesIO()
            write_csv(table.slice(start, BATCH), text, WriteOptions(include_header=False))
            copy.write(text.getvalue())


def _table(connection: Connection, query: str, value: Any, fields: Sequence[pa.Field]) -> pa.Table:
    """What a query finds."""
    from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

    with connection.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv)", (value,)) as copy:
        text = b"".join(copy)
    if not text:
        return pa.schema(fields).empty_table()
    names = [f"c{number}" for number in range(len(fields))]
    options = ConvertOptions(
        column_types=dict(zip(names, (one.type for one in fields))),
        null_values=[""],
        true_values=["t"],
        false_values=["f"],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    read = ReadOptions(column_names=names, block_size=len(text) + 1)
    return read_csv(BytesIO(text), read, ParseOptions(newlines_in_values=True), options).rename_columns(
        [one.name for one in fields]
    )
