"""Mirror: an index in PostgreSQL as a snapshot, which is searched as one in a folder is.

    tables of clips, words       in memory; `Database.since` tells what changed
    vectors of the patterns      in the database. It finds the best of a pattern, and those of the candidates are
                                 fetched, so that scores are the same to the last bit as of any index

A clip that is put again has another row, and no row is used twice: vectors that were fetched stay right. The
database answers for the generation of the snapshot alone: else it is `Changed`, and the search begins again
(places.py).

Estimates are products that pgvector adds up in float32: the bound is that of Flat (index/scanners/flat.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.postgres.database import Database, Outdated
from index.postgres.tables import Changes
from index.scanners import (
    LARGEST_NORM,
    TINY,
    Allowed,
    Doubles,
    Floats,
    Partition,
    Results,
    Rows,
    Scanner,
    gamma,
    part_norms,
)
from index.storage import (
    Changed,
    ClipTable,
    Segment,
    Snapshot,
    Words,
    arranged,
    joined,
    pattern_of,
    shape_of,
    words_of,
)
from mee.layout import Pattern

KEPT = 64 << 20  # bytes of vectors that are kept
FETCHED = 4096  # vectors that are fetched at a time
SPARSE = 16  # where one clip of so many, or fewer, may be found, the database is given the rows
SPARE, WIDER = 8, 4  # rows besides those that are wanted; times more where too few of them count


@contextmanager
def _one_generation() -> Iterator[None]:
    try:
        yield
    except Outdated:
        raise Changed from None


@final
class Vectors:
    """(N, W) float32 in the database, read as a NumPy array is: rows, or rows and a slice of columns."""

    def __init__(self, mirror: Mirror, pattern: Pattern, generation: int, ids: Rows, width: int) -> None:
        """ids: (N,) rows of the database."""
        self.mirror, self.pattern, self.generation = mirror, pattern, generation
        self.ids, self.shape = ids, (len(ids), width)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Of all of them."""
        return 4 * self.shape[0] * self.shape[1]

    def __getitem__(self, key: Any) -> Any:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        ids = self.ids[rows]
        found = self.mirror.fetched(self.pattern, np.atleast_1d(ids), self.shape[1])
        return (found if np.ndim(ids) else found[0])[..., columns]

    def places(self, ids: Rows) -> Rows:
        """Where rows of the database are."""
        return self._order[np.searchsorted(self.ids, ids, sorter=self._order)]

    @cached_property
    def _order(self) -> Rows:
        return np.argsort(self.ids)


class Exact(Scanner):
    """Asks the database for the best of all vectors."""

    kind: ClassVar[str] = "postgres"
    remote: ClassVar[bool] = True
    vectors: Any

    def _scan(self, queries: Floats, count: int, allowed: Allowed | None) -> Results:
        found = [self._best(query, count, allowed) for query in queries]
        return np.stack([estimates for estimates, _ in found]), np.stack([places for _, places in found])

    def _best(self, query: Floats, count: int, allowed: Allowed | None) -> tuple[Floats, Rows]:
        """Of one query, as `scan`."""
        total, there = len(self.vectors), len(self.vectors) if allowed is None else allowed.count
        if not np.isfinite(query).all():
            return np.full(count, -np.inf, np.float32), np.full(count, -1)
        if not query.any():  # as of one that says nothing of the pattern
            return np.zeros(count, np.float32), np.arange(count) if allowed is None else allowed.rows[:count]
        asked = count
        while allowed is not None and there < total and there * SPARSE > total:  # most may be found: some more
            asked = min(total, asked * total // there + SPARE)
            estimates, places = self._asked(query, asked)
            kept = allowed.mask[places]
            if kept.sum() >= count:
                return estimates[kept][:count], places[kept][:count]
            if len(places) < asked or asked == total:
                break
            asked *= WIDER
        ids = None if allowed is None or there == total else self.vectors.ids[allowed.rows]
        estimates, places = self._asked(query, count, ids)
        return (estimates, places) if len(places) == count else self._asked(query, count, ids, exact=True)

    def _asked(
        self, query: Floats, count: int, ids: Rows | None = None, *, exact: bool = True
    ) -> tuple[Floats, Rows]:
        """At most so many of the best, of some rows of the database."""
        vectors = self.vectors
        how: Any = {"generation": vectors.generation, "exact": exact}
        with _one_generation():
            estimates, rows = vectors.mirror.database.search(vectors.pattern, query, count, ids, **how)
        return estimates, vectors.places(rows)

    def bound(self, queries: Floats) -> Doubles:
        norms = part_norms(queries, self.shape).sum(1)
        return np.asarray(gamma(self.shape.width) * LARGEST_NORM * norms + TINY)


@final
class Hnsw(Exact):
    """Asks an index of the database, which finds most of the best."""

    kind: ClassVar[str] = "hnsw"

    @property
    def exact(self) -> Scanner:
        return Exact(self.vectors, self.shape)

    def _asked(
        self, query: Floats, count: int, ids: Rows | None = None, *, exact: bool = False
    ) -> tuple[Floats, Rows]:
        return super()._asked(query, count, ids, exact=exact)

    def bound(self, queries: Floats) -> Doubles:
        return np.full(len(queries), np.inf)


@final
class Mirror:
    """The snapshot of a database, and what was fetched from it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._ids: Rows = np.empty(0, np.int64)  # (N,) rows of the database of the table's clips
        self._kept: dict[int, Floats] = {}  # vectors by rows of the database
        self._bytes = 0
        self._snapshot: Snapshot | None = None
        self._identity = ""

    def read(self) -> Snapshot:
        """The database as it is now; the same as before where nothing changed.

        Raises:
            InputError: it cannot be read.
        """
        before, now = self._snapshot, self.database.read_state()
        if before is not None and now.identity != self._identity:  # the index was made again
            before, self._ids, self._kept = None, self._ids[:0], {}
        if before is not None and now.generation == before.generation:
            return before
        changes = self.database.since(-1 if before is None else before.generation)
        of = changes.state
        facts = (of.layout, of.origin, of.generation, of.settings, of.offsets, of.recall, of.scale)
        segment = self._merged(before.segments[0] if before and before.segments else None, changes)
        self._identity, made = of.identity, Snapshot(*facts, again=self.read)
        self._snapshot = made.with_segments([segment] if len(segment.table) else [])
        return self._snapshot

    def fetched(self, pattern: Pattern, ids: Rows, width: int) -> Floats:
        """(n, W) vectors of rows of the database."""
        found = np.empty((len(ids), width), np.float32)
        if not width:  # of words alone
            return found
        lacking = np.array([n for n, row in enumerate(ids.tolist()) if row not in self._kept], np.int64)
        there = np.setdiff1d(np.arange(len(ids)), lacking)
        if len(there):
            found[there] = [self._kept[row] for row in ids[there].tolist()]
        for start in range(0, len(lacking), FETCHED):
            some = lacking[start : start + FETCHED]
            with _one_generation():
                vectors = self.database.vectors(pattern, ids[some])
            found[some] = vectors
            if self._bytes + vectors.nbytes > KEPT:
                self._kept, self._bytes = {}, 0
            self._kept |= zip(ids[some].tolist(), vectors)
            self._bytes += vectors.nbytes
        return found

    def _merged(self, old: Segment | None, changes: Changes) -> Segment:
        """The clips of a segment that are left, and those that were put."""
        layout = changes.state.layout
        fresh_ids = changes.rows
        kept = np.isin(self._ids, [*changes.removed, *fresh_ids], invert=True)
        tables = [changes.table]
        if old is not None:
            tables.insert(0, old.table.arrow.filter(pa.array(kept)))
        table, ids = joined(tables), np.concatenate([self._ids[kept], fresh_ids])
        order = np.asarray(pc.sort_indices(table["clip_id"])).astype(np.int64)
        arrow, self._ids = table.take(pa.array(order)).combine_chunks(), ids[order]
        new = np.argsort(order)
        of_old, of_fresh = np.full(len(kept), -1), new[kept.sum() :]
        of_old[kept] = new[: kept.sum()]
        words = {}
        for name in layout.words:
            m = layout.names.index(name)
            parts = [] if old is None or m not in old.words else [(old.words[m], of_old)]
            parts += [(changes.words[name], of_fresh)] if name in changes.words else []
            if parts:
                of_words, part, row = arranged(parts)
                first = np.cumsum([0, *(len(its.values) for its, _ in parts)])
                values = np.concatenate([its.values for its, _ in parts])[first[part] + row]
                if len(values):
                    words[m] = Words(of_words, values)
        clips, scanner = ClipTable(arrow), Hnsw if changes.state.hnsw else Exact
        codes, partitions = np.asarray(arrow["pattern"].to_numpy(zero_copy_only=False)), []
        for code in sorted(set(codes.tolist())):
            if "1" in code:
                pattern, rows = pattern_of(code), np.flatnonzero(codes == code)
                shape = shape_of(pattern, layout, False)
                vectors: Any = Vectors(self, pattern, changes.generation, self._ids[rows], shape.width)
                its_words = words_of(words, pattern, rows)
                made = scanner(vectors, shape)
                partitions.append(Partition(pattern, vectors, rows, made, clips, 0, words=its_words))
        return Segment(clips, tuple(partitions), words)
