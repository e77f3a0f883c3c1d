"""Entries: clips to be put into an index, as rows of a table and their embeddings.

table      the columns below
packed     (N, E) float32, each present expert of norm at most 1.001; anything where one is missing
available  (N, M) bool; a clip without any stream is kept and listed, and no search finds it
words      of each expert of words, rows with vectors (table.py), for all clips that have it; not in `packed`

Columns of a table of clips, here and on disk:

    clip_id   string    not null, unique among the clips that count
    video     string    not null
    start_s   float64   finite
    end_s     float64   finite
    pattern   string    "1011": the third expert is missing; derived from `available`
    offset    float64   what a normalisation subtracts from the clip's scores, finite as float32; null: none
    version   string    of what the clip was made from; null: unknown
    ...                 metadata: string, float64, int64 or bool, nulls allowed; or all null

A column that a table does not have is null for all of its clips. In one index a column is always text, or always
bool, or always numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.scanners import LARGEST_NORM
from index.storage.table import NEEDED, OPTIONAL, STANDARD, WORDS, Words, arranged
from mee.layout import Layout, Pattern

if TYPE_CHECKING:
    import pandas as pd

    from mee.data import Utterance
    from mee.encode import Gallery

NORM = LARGEST_NORM  # unit norms, with float16 and rounding; what the error bounds of index/scanners allow for


@dataclass(frozen=True, eq=False)
class Entries:
    """N clips."""

    table: pa.Table
    packed: NDArray[np.float32]
    available: NDArray[np.bool_]
    words: Mapping[str, Words] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def of(
        cls,
        gallery: Gallery,
        clips: pd.DataFrame,
        layout: Layout,
        words: Mapping[str, Sequence[Sequence[Utterance] | None]] | None = None,
    ) -> Entries:
        """The clips of a gallery, those without any stream included.

        clips: index clip_id; columns video, start_s, end_s, optionally offset, version and metadata; a row for
        every clip of the gallery, and possibly others. words: of each expert of words, for each of the gallery's
        clips, what its rows of vectors were made from.

        Raises:
            ValueError: a clip has no row or two, or the index cannot keep a column or a vector.
        """
        ids = [*gallery.clip_ids, *gallery.without_stream]
        if not clips.index.is_unique:
            twice = clips.index[clips.index.duplicated()][0]
            raise ValueError(f"clip '{twice}' has two rows in the table of clips")
        missing = sorted(set(ids) - set(clips.index))
        if missing:
            raise ValueError(f"{len(missing)} clips have no row in the table of clips, '{missing[0]}' among them")
        rows = clips.loc[ids]
        columns = {"clip_id": pa.array(ids, type=pa.string())}
        for name in rows.columns:
            try:
                columns[str(name)] = pa.Array.from_pandas(rows[name])
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
                raise ValueError(f"column '{name}' of the table of clips holds values of several types") from error
        packed = np.zeros((len(ids), layout.total), dtype=np.float32)
        packed[: len(gallery.clip_ids)] = gallery.video.packed.detach().cpu().float().numpy()
        available = np.zeros((len(ids), len(layout.names)), dtype=np.bool_)
        available[: len(gallery.clip_ids)] = gallery.video.available.cpu().numpy()
        given = {name: _words(gallery, name, (words or {})[name]) for name in layout.words}
        return cls(pa.table(columns), packed, available, given).checked(layout)

    def part(self, rows: NDArray[np.int64]) -> Entries:
        """Some of the clips."""
        if len(rows) == len(self):
            return self
        new, words = np.full(len(self), -1), {}
        new[rows] = np.arange(len(rows))
        for name, its in self.words.items():
            table, _, row = arranged([(its, new)])
            words[name] = Words(table, its.values[row])
        return Entries(self.table.take(pa.array(rows)), self.packed[rows], self.available[rows], words)

    def checked(self, layout: Layout, *, offsets: bool = False) -> Entries:
        """Check that an index can keep all of it, and cast the columns; offsets: clips with a stream need one.

        Raises:
            ValueError: it cannot.
        """
        table = standard_columns(self.table)
        shapes = (len(table), layout.total), (len(table), len(layout.names))
        if (self.packed.shape, self.available.shape) != shapes or self.available.dtype != np.bool_:
            given = f"{self.packed.shape} vectors and {self.available.shape} {self.available.dtype} availability"
            raise ValueError(
                f"{len(table)} clips come with {given}; this index wants {shapes[0]} and {shapes[1]} bool"
            )
        packed = np.ascontiguousarray(self.packed, dtype=np.float32)
        _check_clips(table)
        _check_norms(table, packed, self.available, layout)
        _check_words(table, self.words, self.available, layout)
        if offsets:
            import pyarrow.compute as pc  # here, and below: a search needs none of it

            lacking = np.asarray(pc.is_null(table["offset"])) & self.available.any(axis=1)
            if lacking.any():
                first = table["clip_id"][int(lacking.argmax())]
                raise ValueError(
                    f"this index has offsets, and {lacking.sum()} clips have none, '{first}' among them; "
                    "give each its own, or remove the offsets from the index"
                )
        return Entries(table, packed, self.available, self.words)


def _words(gallery: Gallery, name: str, texts: Sequence[Sequence[Utterance] | None]) -> Words:
    """The rows of an expert of words, of the clips that have it."""
    rows = gallery.video.words[name]
    counts = rows.offsets.diff().tolist()
    if [len(each or ()) for each in texts] != counts:
        raise ValueError(f"the texts of expert '{name}' are not those that its vectors were made from")
    clip = np.repeat(np.arange(len(counts)), counts)
    columns = zip(*((start, end, text) for each in texts for start, end, text in each or ()))
    given = [clip, *columns] if len(clip) else [[] for _ in WORDS]
    table = pa.table({key: pa.array(column, kind) for (key, kind), column in zip(WORDS.items(), given)})
    return Words(table, np.ascontiguousarray(rows.values.detach().cpu().float().numpy()))


def _check_words(
    table: pa.Table, words: Mapping[str, Words], available: NDArray[np.bool_], layout: Layout
) -> None:
    """Those that have a stream of words have one row at least, the others none; times are finite, norms small."""
    if words.keys() != set(layout.words):
        raise ValueError(f"there are words of experts {sorted(words)}, and the index wants {sorted(layout.words)}")
    for name, its in words.items():
        m = layout.names.index(name)
        if its.values.shape != (len(its.table), layout.sizes[m]) or its.table["words"].null_count:
            raise ValueError(f"the words of expert '{name}' have {its.values.shape} vectors, or lack a text")
        if not np.array_equal(its.clips, np.flatnonzero(available[:, m])):
            raise ValueError(f"the clips with words of expert '{name}' are not those that have its stream")
        times = (its.table["start_s"], its.table["end_s"])
        fine = np.logical_and.reduce([np.isfinite(np.asarray(each, dtype=np.float64)) for each in times])
        with np.errstate(all="ignore"):
            fine &= np.einsum("ne,ne->n", its.values, its.values) <= NORM**2
        if not fine.all():
            clip = table["clip_id"][its.table["clip"][int(fine.argmin())].as_py()]
            raise ValueError(
                f"words of clip '{clip}' by expert '{name}' have no finite time, or a norm above {NORM}"
            )


def _check_clips(table: pa.Table) -> None:
    import pyarrow.compute as pc

    ids = table["clip_id"]
    if ids.null_count or pc.any(pc.equal(ids, "")).as_py():
        raise ValueError("a clip has no clip_id")
    if pc.count_distinct(ids).as_py() < len(table):
        counts = pc.value_counts(ids)
        several = counts.filter(pc.greater(counts.field("counts"), 1))
        raise ValueError(f"clip '{several[0]['values']}' is given twice")
    finite = {name: pc.is_finite(table[name]) for name in ("start_s", "end_s")}
    finite["offset"] = finite_offsets(table)
    good = {"video": pc.not_equal(table["video"], ""), **finite}
    for name, fine in good.items():
        fine = pc.fill_null(fine, name == "offset")
        if not pc.all(fine, min_count=0).as_py():
            clip = ids[pc.index(fine, False).as_py()]
            raise ValueError(f"clip '{clip}' has no {'' if name == 'video' else 'finite '}{name}")


def _check_norms(
    table: pa.Table, packed: NDArray[np.float32], available: NDArray[np.bool_], layout: Layout
) -> None:
    for m, (name, columns) in enumerate(zip(layout.names, layout.slices)):
        with np.errstate(all="ignore"):  # what is missing may be anything
            squares = np.einsum("ne,ne->n", packed[:, columns], packed[:, columns])
            bad = available[:, m] & ~(squares <= NORM**2)
        if bad.any():
            row = int(bad.argmax())
            norm = float(np.sqrt(squares[row]))
            what = f"norm {norm:.4g}, more than {NORM}" if np.isfinite(norm) else "values that are not finite"
            raise ValueError(f"the embedding of clip '{table['clip_id'][row]}' by expert '{name}' has {what}")


def standard_columns(table: pa.Table) -> pa.Table:
    """Cast and order the columns as above; optional ones that are missing become null."""
    names = table.column_names
    if len(set(names)) < len(names):
        raise ValueError(f"the table of clips has two columns '{next(n for n in names if names.count(n) > 1)}'")
    if "pattern" in names:
        raise ValueError("column 'pattern' of the table of clips is made by the index; give yours another name")
    for name in NEEDED:
        if name not in names:
            raise ValueError(f"column '{name}' of the table of clips is missing")
    columns = {}
    for name, kind in {**NEEDED, **OPTIONAL}.items():
        columns[name] = _cast(table[name] if name in names else pa.nulls(len(table), kind), kind, name)
    columns |= {name: kept_column(table[name], name) for name in names if name not in columns}
    return pa.table(columns).combine_chunks()


def kept_column(column: pa.ChunkedArray | pa.Array, name: str) -> pa.ChunkedArray | pa.Array:
    """A column of metadata as an index keeps it.

    Raises:
        ValueError: an index cannot keep it.
    """
    return _cast(column, _kept_type(column.type, name), name)


def as_pandas(table: pa.Table) -> pd.DataFrame:
    """A table of such columns, with nullable dtypes."""
    import pandas as pd

    kinds: dict[pa.DataType, Any] = {pa.string(): pd.StringDtype(), pa.null(): pd.StringDtype()}
    kinds |= {pa.int64(): pd.Int64Dtype(), pa.float64(): pd.Float64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=kinds.get)
    return frame


def finite_offsets(table: pa.Table) -> pa.Array | pa.ChunkedArray:
    """Which offsets are finite as the float32 that vectors hold; null where there is none."""
    import pyarrow.compute as pc

    return pc.is_finite(table["offset"].cast(pa.float32(), safe=False))


def together(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """The columns of several tables in one; int64 and float64 make float64.

    Raises:
        ValueError: a column is of different types.
    """
    fields: dict[str, pa.DataType] = {}
    for schema in schemas:
        for field in schema:
            known = fields.get(field.name, pa.null())
            if pa.types.is_null(known) or known == field.type:
                fields[field.name] = field.type
            elif not pa.types.is_null(field.type):
                if {known, field.type} != {pa.int64(), pa.float64()}:
                    words = f"holds {_word(field.type)} here and {_word(known)} in the index"
                    raise ValueError(f"column '{field.name}' {words}; give it another name")
                fields[field.name] = pa.float64()
    return pa.schema(list(fields.items()))


def joined(tables: Iterable[pa.Table]) -> pa.Table:
    """Concatenate tables; a column that one lacks is null there."""
    parts = list(tables)
    return parts[0] if len(parts) == 1 else pa.concat_tables(parts, promote_options="permissive")


def _kept_type(kind: pa.DataType, name: str) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _kept_type(kind.value_type, name)
    for is_kind, kept in (
        (pa.types.is_string, pa.string()),
        (pa.types.is_large_string, pa.string()),
        (pa.types.is_string_view, pa.string()),
        (pa.types.is_floating, pa.float64()),
        (pa.types.is_integer, pa.int64()),
        (pa.types.is_boolean, pa.bool_()),
        (pa.types.is_null, pa.null()),
    ):
        if is_kind(kind):
            return kept
    raise ValueError(f"column '{name}' holds {kind}; an index keeps text, numbers and true or false")


def _cast(column: pa.ChunkedArray | pa.Array, kind: pa.DataType, name: str) -> pa.ChunkedArray | pa.Array:
    try:
        cast = column.cast(kind)
        if pa.types.is_floating(kind) and name not in STANDARD:
            import pyarrow.compute as pc

            cast = pc.if_else(pc.is_nan(cast), pa.scalar(None, kind), cast)  # filters know null, not NaN
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"column '{name}' holds {column.type} that are not {_word(kind)}") from error
    return cast


def _word(kind: pa.DataType) -> str:
    if pa.types.is_string(kind):
        return "text"
    return "true or false" if pa.types.is_boolean(kind) else "numbers"


def code_of(pattern: Sequence[bool]) -> str:
    """M flags -> M digits."""
    return "".join("1" if present else "0" for present in pattern)


def pattern_of(code: str) -> Pattern:
    """M digits -> M flags."""
    if not code or set(code) - {"0", "1"}:
        raise ValueError(f"'{code}' is not an availability pattern")
    return tuple(digit == "1" for digit in code)


def by_pattern(available: NDArray[np.bool_]) -> Iterator[tuple[Pattern, NDArray[np.int64]]]:
    """The patterns among (N, M) flags, each with the rising rows that have it."""
    if not len(available):
        return
    order = np.lexsort(available.T[::-1])  # stable
    starts = np.flatnonzero((available[order[1:]] != available[order[:-1]]).any(1)) + 1
    for rows in np.split(order, starts):
        yield tuple(available[rows[0]].tolist()), rows
