"""Columns of a table of clips.

    clip_id   string    not null, unique among what can be found
    video     string    not null
    start_s   float64   finite
    end_s     float64   finite
    pattern   string    "1011": the third expert is missing; derived, not given
    offset  float64   what a normalisation takes from the clip's scores, finite as float32; null: none
    version   string    of what the clip was made from; null: unknown
    ...                 metadata: string, float64, int64 or bool, nulls allowed; or nothing but null

A column that a table does not have is null for all of its clips. In one index a column is always text, or always
bool, or always numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mee.scoring import Pattern

if TYPE_CHECKING:
    import pandas as pd

NEEDED = {"clip_id": pa.string(), "video": pa.string(), "start_s": pa.float64(), "end_s": pa.float64()}
OPTIONAL = {"offset": pa.float64(), "version": pa.string()}
DERIVED = ("pattern", "vector")  # of tables and of the log
STANDARD = (*NEEDED, "pattern", *OPTIONAL)


def standard_columns(table: pa.Table) -> pa.Table:
    """The same table with the types and the order above; what is optional and not there is null."""
    names = table.column_names
    if len(set(names)) < len(names):
        raise ValueError(f"the table of clips has two columns '{next(n for n in names if names.count(n) > 1)}'")
    for name in (*NEEDED, *DERIVED):
        if (name in names) == (name in DERIVED):
            problem = "is made by the index; give yours another name" if name in DERIVED else "is missing"
            raise ValueError(f"column '{name}' of the table of clips {problem}")
    columns = {}
    for name, kind in {**NEEDED, **OPTIONAL}.items():
        given = table[name] if name in names else pa.nulls(len(table), kind)
        columns[name] = _as(given, kind, name)
    for name in names:
        if name not in columns:
            columns[name] = kept_column(table[name], name)
    return pa.table({name: _whole(column) for name, column in columns.items()})


def kept_column(column: pa.ChunkedArray | pa.Array, name: str) -> pa.ChunkedArray | pa.Array:
    """A column of metadata as an index keeps it; ValueError where it cannot."""
    return _as(column, _kept(column.type, name), name)


def as_pandas(table: pa.Table) -> pd.DataFrame:
    """A table of such columns, nullable."""
    import pandas as pd

    kinds = {
        pa.string(): pd.StringDtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.float64(): pd.Float64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
        pa.null(): pd.StringDtype(),
    }
    frame: pd.DataFrame = table.to_pandas(types_mapper=kinds.get)
    return frame


def with_pattern(table: pa.Table, codes: pa.Array) -> pa.Table:
    """The table with its derived column in its place."""
    return table.add_column(len(NEEDED), "pattern", codes)


def finite_offsets(table: pa.Table) -> pa.Array | pa.ChunkedArray:
    """Which offsets are finite as the float32 that vectors carry; null where there is none."""
    return pc.is_finite(table["offset"].cast(pa.float32(), safe=False))


def together(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """The columns of several tables, in one; integers and fractions make fractions."""
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
    """One table under another, of which each may have columns that the others do not have."""
    parts = list(tables)
    return parts[0] if len(parts) == 1 else pa.concat_tables(parts, promote_options="permissive")


def _kept(kind: pa.DataType, name: str) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _kept(kind.value_type, name)
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


def _as(column: pa.ChunkedArray | pa.Array, kind: pa.DataType, name: str) -> pa.ChunkedArray | pa.Array:
    try:
        cast = column.cast(kind)
        if pa.types.is_floating(kind) and name not in STANDARD:
            cast = pc.if_else(pc.is_nan(cast), pa.scalar(None, kind), cast)  # a filter knows null, not NaN
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"column '{name}' holds {column.type} that are not {_word(kind)}") from error
    return cast


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


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
        raise ValueError(f"'{code}' is no availability pattern")
    return tuple(digit == "1" for digit in code)


def code_column(available: NDArray[np.bool_]) -> pa.Array:
    """(N, M) flags -> N codes."""
    if not len(available):
        return pa.array([], type=pa.string())
    patterns, group = np.unique(available, axis=0, return_inverse=True)
    codes = pa.array([code_of(pattern) for pattern in patterns], type=pa.string())
    return codes.take(pa.array(group.reshape(-1)))


def by_pattern(available: NDArray[np.bool_]) -> Iterator[tuple[Pattern, NDArray[np.int64]]]:
    """Patterns of (N, M) flags that have a stream, each with the rising rows that have it."""
    if not len(available):
        return
    patterns, group = np.unique(available, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if pattern.any():
            yield tuple(pattern.tolist()), np.flatnonzero(group.reshape(-1) == number)
