"""What a filter can ask of clips: the columns of an index's tables.

    clip_id, video   text
    start_s, end_s   number, seconds
    duration         number, end_s - start_s
    …                what else the index was given: text, number, true or false

What belongs to the index itself (pattern, constant, active, version) is no column of a filter. NaN counts as null.
A table without a column that another table has holds nulls there.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from index.request.filters_tree import Column, Kind, wrong
from index.request.near_names import did_you_mean

OWN = ("pattern", "constant", "active", "version")
DURATION = "duration"
ONLY_WORDS = {"true": "True", "false": "False", "none": "None", "null": "None", "AND": "and", "OR": "or"}
Found = Kind | Literal["null", "other", "mixed"]


def columns_of(tables: Sequence[Any]) -> dict[str, Found]:
    """Columns of some pyarrow tables, and what they hold."""
    columns: dict[str, Found] = {}
    for table in tables:
        for field in table.schema:
            if field.name in OWN:
                continue
            found, before = _kind(field.type), columns.get(field.name, "null")
            if before == "null" or found == "null":
                columns[field.name] = before if found == "null" else found
            elif found != before:
                columns[field.name] = "mixed"
    if "start_s" in columns and "end_s" in columns:
        columns[DURATION] = "number"
    return columns


def kind_of_column(text: str, column: Column, columns: Mapping[str, Found]) -> Kind | None:
    """What a column holds; None: nulls only, which go with anything.

    Raises:
        InputError: there is no such column, or a filter cannot ask for what it holds.
    """
    found = columns.get(column.name)
    if found == "other":
        raise wrong(text, f"asks for {column.name!r}, which holds neither numbers nor text nor true or false")
    if found == "mixed":
        raise wrong(text, f"asks for {column.name!r}, which holds values of several kinds")
    if found is None:
        there = ", ".join(map(_spelled, columns))
        hint = f" (write {ONLY_WORDS[column.name]}?)" if column.name in ONLY_WORDS else ""
        raise wrong(
            text,
            f"names a column that is not there at character {column.at}: "
            f"{column.name!r}{hint or did_you_mean(column.name, list(columns))}; there are {there}",
        )
    return None if found == "null" else found


def read(table: Any, name: str, kind: Kind | None) -> Any:
    """A column as a filter computes with it: int64 or float64, string, bool; null where there is no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name == DURATION:
        return pc.subtract(read(table, "end_s", "number"), read(table, "start_s", "number"))
    here = table.column(name) if name in table.schema.names else None
    if here is None or pa.types.is_null(here.type):
        wanted = {"number": pa.float64(), "text": pa.string(), "truth": pa.bool_(), None: pa.bool_()}[kind]
        return pa.chunked_array([pa.nulls(len(table), wanted)])
    if kind == "number":
        return _numbers(here)
    return here.cast(pa.string()) if kind == "text" and not pa.types.is_large_string(here.type) else here


def _numbers(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(column.type):
        return column.cast(pa.float64() if column.type == pa.uint64() else pa.int64(), safe=False)
    values = column.cast(pa.float64())
    return pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)


def _kind(kind: Any) -> Found:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return "text" if _kind(kind.value_type) == "text" else "other"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "truth"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    return "null" if pa.types.is_null(kind) else "other"


def _spelled(name: str) -> str:
    """A column's name as a filter writes it."""
    return name if name.isidentifier() and not keyword.iskeyword(name) else f'column("{name}")'
