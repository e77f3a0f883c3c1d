"""What a filter says about each clip of a table: true, false, or unknown.

    a comparison with null             unknown
    not unknown                        unknown
    unknown and false, unknown and x   false, else unknown
    unknown or true, unknown or x      true, else unknown
    column is None                     never unknown

This is the three-valued logic of SQL; clips of which the whole is unknown are not found. Numbers are compared as
integers where both sides are, else as float64; text by code points.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.request.filters_columns import Found, kind_of_column, read
from index.request.filters_tree import (
    WORDS,
    All,
    Begins,
    Column,
    Compare,
    Condition,
    Contains,
    Ends,
    Flag,
    IsNull,
    Kind,
    Literal,
    Not,
    Some,
    Truth,
    Within,
    wrong,
)

KERNELS = {
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}


def check(text: str, condition: Condition, columns: Mapping[str, Found]) -> None:
    """See that a filter fits the columns of an index.

    Raises:
        InputError: an unknown column, or kinds that do not go together.
    """
    if isinstance(condition, (All, Some)):
        for part in condition.conditions:
            check(text, part, columns)
    elif isinstance(condition, Not):
        check(text, condition.condition, columns)
    elif isinstance(condition, Compare):
        _check_pair(text, condition, columns)
    elif not isinstance(condition, Truth):
        kind = kind_of_column(text, condition.column, columns)
        name, at = condition.column.name, condition.column.at
        if isinstance(condition, Flag) and kind not in (None, "truth"):
            say = 'duration < 30, or split == "test"'
            raise wrong(
                text, f"names {name!r} at character {at}, which holds {_holds(kind)}: compare it, like {say}"
            )
        if isinstance(condition, (Contains, Begins, Ends)) and kind not in (None, "text"):
            raise wrong(text, f"looks for text in {name!r} at character {at}, which holds {_holds(kind)}")
        if isinstance(condition, Within) and condition.values:
            _check_kinds(text, name, kind, condition.values[0].kind, at)


def _check_pair(text: str, pair: Compare, columns: Mapping[str, Found]) -> None:
    sides = (pair.left, pair.right) if isinstance(pair.left, Column) else (pair.right, pair.left)
    column, other = sides
    assert isinstance(column, Column)  # one of them is, the parser sees to that
    kind = kind_of_column(text, column, columns)
    against = other.kind if isinstance(other, Literal) else kind_of_column(text, other, columns)
    _check_kinds(text, column.name, kind, against, pair.left.at)
    if "truth" in (kind, against) and pair.operator not in ("==", "!="):
        raise wrong(
            text, f"orders {column.name!r} at character {pair.left.at}, which is true or false; use == or !="
        )


def _check_kinds(text: str, name: str, kind: Kind | None, against: Kind | None, at: int) -> None:
    if kind is not None and against is not None and kind != against:
        raise wrong(
            text, f"compares {name!r}, which holds {_holds(kind)}, with {WORDS[against]} at character {at}"
        )


def _holds(kind: Kind | None) -> str:
    return {"number": "numbers", "text": "text", "truth": "true or false", None: "nothing"}[kind]


def matches(condition: Condition, table: Any, columns: Mapping[str, Found]) -> NDArray[np.bool_]:
    """(rows of the table,) which clips a checked filter finds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = _Evaluation(table, columns).of(condition)
    if isinstance(found, pa.Scalar):
        return np.full(len(table), bool(found.as_py()))
    return np.asarray(pc.fill_null(found, False).to_numpy(), dtype=bool)


class _Evaluation:
    """One table's columns, each read once."""

    def __init__(self, table: Any, columns: Mapping[str, Found]) -> None:
        self.table, self.columns = table, columns
        self.seen: dict[str, Any] = {}

    def of(self, condition: Condition) -> Any:
        """An array of true, false and null, or one such value for all clips."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if isinstance(condition, All):
            return reduce(pc.and_kleene, map(self.of, condition.conditions))
        if isinstance(condition, Some):
            return reduce(pc.or_kleene, map(self.of, condition.conditions))
        if isinstance(condition, Not):
            return pc.invert(self.of(condition.condition))
        if isinstance(condition, Truth):
            return pa.scalar(condition.value)
        if isinstance(condition, Compare):
            return self.compared(condition)
        column = self.column(condition.column)
        if isinstance(condition, IsNull):
            return pc.is_null(column)
        if self.kind(condition.column) is None:
            return pa.scalar(None, pa.bool_())
        if isinstance(condition, Flag):
            return column
        if isinstance(condition, Contains):
            return pc.match_substring(column, condition.part)
        if isinstance(condition, Within):
            return self.within(column, condition)
        kernel, parts = (
            (pc.starts_with, condition.starts) if isinstance(condition, Begins) else (pc.ends_with, condition.ends)
        )
        unknown_or_false = pc.is_null(column, nan_is_null=False)
        none = pc.if_else(unknown_or_false, pa.scalar(None, pa.bool_()), pa.scalar(False))
        return reduce(pc.or_kleene, (kernel(column, part) for part in parts), none)

    def compared(self, pair: Compare) -> Any:
        """left operator right."""
        import pyarrow as pa
        import pyarrow.compute as pc

        both = (pair.left, pair.right)
        kinds = [self.kind(side) for side in both]
        if None in kinds:
            return pa.scalar(None, pa.bool_())
        sides = [self.column(side) if isinstance(side, Column) else pa.scalar(side.value) for side in both]
        if kinds[0] == "number" and any(side.type != pa.int64() for side in sides):
            sides = [side.cast(pa.float64(), safe=False) for side in sides]
        elif kinds[0] == "text":
            sides = [side.cast(pa.large_string()) for side in sides]
        return pc.call_function(KERNELS[pair.operator], sides)

    def within(self, column: Any, condition: Within) -> Any:
        """column in (…); unknown where the column is null."""
        import pyarrow as pa
        import pyarrow.compute as pc

        values = [literal.value for literal in condition.values]
        if column.type == pa.int64():  # 2.5 is none of the integers
            values = [whole for value in values if (whole := int(value)) == value and abs(whole) < 2**63]
        elif column.type == pa.float64():
            values = [float(value) for value in values]
        found = pc.is_in(column, value_set=pa.array(values, column.type))
        return pc.if_else(pc.is_null(column), pa.scalar(None, pa.bool_()), found)

    def column(self, column: Column) -> Any:
        """As a filter computes with it."""
        if column.name not in self.seen:
            self.seen[column.name] = read(self.table, column.name, self.kind(column))
        return self.seen[column.name]

    def kind(self, side: Column | Literal) -> Kind | None:
        """What it holds; it has been checked before."""
        return side.kind if isinstance(side, Literal) else kind_of_column("", side, self.columns)
