"""Filter: which clips of an index may be found, in Python's grammar, of which little is allowed.

    condition := condition and condition | condition or condition | not condition | ( condition ) | True | False
               | operand (== | != | < | <= | > | >=) operand …        chained as in Python: 10 < duration <= 30
               | column in (value, …) | column not in (value, …)      also [ ] and { }
               | "text" in column | column.startswith("text") | column.endswith("text"), or of ("text", …)
               | column is None | column is not None | column         the last of a column that is true or false
    operand   := column | number | "text" | True | False
    column    := name | `any name` | column("any name")            names that Python knows need no ` and no quotes

A comparison with a missing value is neither true nor false, as in SQL, nor is its opposite; only `is None` finds
such clips. Integers are compared as integers, other numbers as float64, text by code points. `ast` parses the
text, nodes outside the grammar are refused, and `pyarrow.compute` evaluates the others: nothing is run as code.
"""

from __future__ import annotations

import ast
import json
import keyword
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from typing import Any, Self
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index.storage import OPTIONAL, together
from mee.errors import InputError, did_you_mean, name_id

HOLDS = {pa.int64(): "numbers", pa.float64(): "numbers", pa.string(): "text", pa.bool_(): "true or false"}
KERNELS: dict[type[ast.cmpop], str] = {ast.Eq: "equal", ast.Lt: "less", ast.Gt: "greater"}
KERNELS |= {ast.NotEq: "not_equal", ast.LtE: "less_equal", ast.GtE: "greater_equal"}
METHODS = {"startswith": pc.starts_with, "endswith": pc.ends_with}
HIDDEN = ("pattern", *OPTIONAL)  # columns for the index itself
QUOTE = "a column whose name is no plain word is written in backticks, `Taken At`"
LANGUAGE = (
    'a filter is made of comparisons like duration < 30 or split == "test" (==, !=, <, <=, >, >=, in, is None), '
    "joined by and, or, not"
)
QUOTED = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|`([^`]+)`""", re.DOTALL)  # a text, or a column
LONGEST = 20_000  # characters of a filter


@dataclass(frozen=True)
class Filter:
    """A condition that a clip fulfils or not."""

    text: str
    body: ast.expr = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a filter.

        Raises:
            InputError: it is empty or malformed, or holds something that is not in the grammar.
        """
        text = text.strip()
        if not text or len(text) > LONGEST:
            raise wrong(text, f"has {len(text):,} characters, and 1 to {LONGEST:,} are allowed; {LANGUAGE}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's remarks on style
                plain = QUOTED.sub(lambda found: found[1] or f"column({found[2]!r})", text)
                parsed = cls(text, ast.parse(plain, mode="eval").body)
        except SyntaxError as error:
            place = f" at character {error.offset}" if error.lineno == 1 and error.offset else ""
            reason = error.msg.partition(". ")[0].partition(": ")[0]
            raise wrong(text, f"is malformed{place} ({reason}); {LANGUAGE}; {QUOTE}") from None
        except (RecursionError, MemoryError):
            raise wrong(text, "is nested too deeply; write it with fewer brackets") from None
        except ValueError:
            raise wrong(text, "holds a character that is not text; take it out") from None
        parsed._found(None, {})
        return parsed

    def masks(self, tables: Sequence[pa.Table]) -> list[NDArray[np.bool_]]:
        """Which clips fulfil it, of each segment's table.

        Raises:
            InputError: it names an unknown column, or compares what cannot be compared.
        """
        columns, masks = filterable(tables), []
        for table in tables:
            found = self._found(table, columns)
            if isinstance(found, pa.Scalar):
                found = pa.array([found.as_py()] * len(table), pa.bool_())
            masks.append(np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), dtype=bool))
        return masks

    def _found(self, table: pa.Table | None, columns: Mapping[str, pa.DataType]) -> Any:
        try:
            return _Evaluation(self.text, table, columns).condition(self.body)
        except RecursionError:
            raise wrong(self.text, "is nested too deeply; write it with fewer brackets") from None


@cache
def _unknown() -> pa.Scalar:
    """Neither true nor false. Not made on import: pyarrow loads pandas for it, which most searches do without."""
    return pa.scalar(None, pa.bool_())


@dataclass(frozen=True)
class _Operand:
    """A column, or a value where there is no name."""

    name: str | None
    data: Any  # an array or a scalar; of type null where nothing is known, which goes with anything

    @property
    def holds(self) -> str | None:
        return HOLDS.get(self.data.type)


@dataclass(frozen=True)
class _Evaluation:
    """A filter over one table; without a table only its grammar is checked."""

    text: str
    table: pa.Table | None
    columns: Mapping[str, pa.DataType]

    def condition(self, node: ast.expr) -> Any:
        """Its truth for each clip: an array of true, false and null, or one scalar for all."""
        if isinstance(node, ast.BoolOp):
            kernel = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
            return reduce(kernel, map(self.condition, node.values))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return pc.invert(self.condition(node.operand))
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            return reduce(pc.and_kleene, map(self.comparison, operands, node.ops, operands[1:]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return self.method(node, node.func)
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            return pa.scalar(node.value)
        column = self.column(node)
        if column is None:
            raise self.refused(node)
        if column.holds not in (None, "true or false"):
            raise wrong(
                self.text, f"names '{column.name}', which holds {column.holds}, and compares it with nothing"
            )
        return _unknown() if column.holds is None else column.data

    def comparison(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Any:
        """One pair of a chain."""
        if isinstance(operator, (ast.Is, ast.IsNot)):
            column = self.column(left)
            if column is None or not (isinstance(right, ast.Constant) and right.value is None):
                raise wrong(self.text, "uses 'is', which is written column is None or column is not None")
            return pc.is_null(column.data) if isinstance(operator, ast.Is) else pc.is_valid(column.data)
        if isinstance(operator, (ast.In, ast.NotIn)):
            found = self.membership(left, right)
            return found if isinstance(operator, ast.In) else pc.invert(found)
        sides = [self.column(node) or self.value(node) for node in (left, right)]
        column, other = sides if sides[0].name is not None else sides[::-1]
        self.check(column, other.holds)
        if "true or false" in (column.holds, other.holds) and not isinstance(operator, (ast.Eq, ast.NotEq)):
            raise wrong(self.text, f"orders '{column.name}', which is true or false; use == or !=")
        if None in (column.holds, other.holds):
            return _unknown()
        data = [side.data for side in sides]
        if column.holds == "numbers" and any(each.type != pa.int64() for each in data):
            data = [each.cast(pa.float64(), safe=False) for each in data]
        return pc.call_function(KERNELS[type(operator)], data)

    def membership(self, left: ast.expr, right: ast.expr) -> Any:
        """column in (value, …), or "text" in column."""
        column, container = self.column(left), self.column(right)
        if container is not None and column is None:
            part = self.value(left)
            if part.holds != "text":
                raise wrong(self.text, f"looks for something else than text in quotes in '{container.name}'")
            self.check(container, "text")
            return _unknown() if container.holds is None else pc.match_substring(container.data, part.data.as_py())
        if column is None or not isinstance(right, (ast.Tuple, ast.List, ast.Set)):
            raise wrong(self.text, "uses 'in', which is written column in (value, value) or \"text\" in column")
        given = [self.value(element) for element in right.elts]
        if len({value.holds for value in given}) > 1:
            raise wrong(self.text, f"compares '{column.name}' with values that are not all of one kind")
        self.check(column, given[0].holds if given else None)
        if column.holds is None:
            return _unknown()
        values = [value.data.as_py() for value in given]
        if column.data.type == pa.int64():  # 2.5 is none of the integers
            values = [whole for value in values if (whole := int(value)) == value and abs(whole) < 2**63]
        elif column.holds == "numbers":
            values = list(map(float, values))
        found = pc.is_in(column.data, value_set=pa.array(values, column.data.type))
        return pc.if_else(pc.is_null(column.data), _unknown(), found)

    def method(self, node: ast.Call, function: ast.Attribute) -> Any:
        """column.startswith("text"), column.endswith(("text", "text"))."""
        column = self.column(function.value)
        if column is None or function.attr not in METHODS or node.keywords or len(node.args) != 1:
            raise self.refused(node)
        given = node.args[0]
        parts = [self.value(part) for part in (given.elts if isinstance(given, ast.Tuple) else [given])]
        if any(part.holds != "text" for part in parts):
            raise wrong(self.text, f"gives {function.attr} of '{column.name}' something else than text in quotes")
        self.check(column, "text")
        if column.holds is None:
            return _unknown()
        none = pc.if_else(pc.is_null(column.data), _unknown(), pa.scalar(False))
        return reduce(
            pc.or_kleene, [METHODS[function.attr](column.data, part.data.as_py()) for part in parts], none
        )

    def column(self, node: ast.expr) -> _Operand | None:
        """A name, or column("a name"); None of anything else."""
        if isinstance(node, ast.Name):
            name = node.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "column":
            given = node.args[0] if len(node.args) == 1 and not node.keywords else None
            if not (isinstance(given, ast.Constant) and isinstance(given.value, str)):
                raise wrong(self.text, 'uses column(…), which takes one name in quotes: column("frame rate")')
            name = given.value
        else:
            return None
        if self.table is None:
            return _Operand(name, pa.nulls(0))
        if name not in self.columns:  # Python composes letters of names
            name = {normalize("NFKC", one): one for one in self.columns}.get(normalize("NFKC", name), name)
        if name not in self.columns:
            there = ", ".join(map(spelled, self.columns))
            hint = did_you_mean(name, map(spelled, self.columns))
            raise wrong(self.text, f"names no column: {name_id(name)}{hint}; there are {there}")
        return _Operand(name, values_of(self.table, name, self.columns[name]))

    def value(self, node: ast.expr) -> _Operand:
        """A number, a text, True or False."""
        try:
            value = ast.literal_eval(node)
            if isinstance(value, float) and math.isinf(value):
                raise OverflowError
            data = pa.scalar(value)
        except OverflowError:
            raise wrong(self.text, "holds a number that is too large") from None
        except UnicodeError:
            raise wrong(self.text, "holds a character that is not text; take it out") from None
        except (ValueError, TypeError):
            raise self.refused(node) from None
        if data.type not in HOLDS:
            raise self.refused(node)
        return _Operand(None, data)

    def check(self, column: _Operand, other: str | None) -> None:
        """Refuse what cannot be compared with a column."""
        if column.name is None:
            raise wrong(self.text, f"compares a value with a value, and no column; {QUOTE}")
        if None not in (column.holds, other) and column.holds != other:
            raise wrong(self.text, f"compares '{column.name}', which holds {column.holds}, with {other}")

    def refused(self, node: ast.expr) -> InputError:
        """What is Python, and not in the grammar."""
        there = None if "`" in self.text else ast.get_source_segment(self.text, node)  # else at another place
        return wrong(self.text, f"holds {name_id(there or ast.unparse(node))[1:-1]}; {LANGUAGE}; {QUOTE}")


def filterable(tables: Sequence[pa.Table]) -> dict[str, pa.DataType]:
    """The columns that a filter of these tables may name."""
    types = {one.name: one.type for one in together(table.schema for table in tables)}
    return {name: kind for name, kind in types.items() if name not in HIDDEN} | {"duration": pa.float64()}


def values_of(table: pa.Table, column: str, kind: pa.DataType) -> Any:
    """What a filter compares: a column of a table; where the table has none, nulls of a type."""
    if column == "duration":
        return pc.subtract(table["end_s"], table["start_s"])
    data = table[column] if column in table.column_names else pa.nulls(len(table))
    return data.cast(kind) if pa.types.is_null(data.type) else data


def spelled(column: str) -> str:
    """A column as a filter writes it."""
    if column.isidentifier() and not keyword.iskeyword(column) and normalize("NFKC", column) == column:
        return column
    return f"`{column}`" if column.isprintable() and column and "`" not in column else f"column({quoted(column)})"


def quoted(text: str) -> str:
    """A text as a filter writes it: what cannot be seen is escaped."""
    written = json.dumps(text, ensure_ascii=False)  # JSON's escapes are among Python's
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in written)


def wrong(text: str, what: str) -> InputError:
    """What is wrong with a filter, as one sentence."""
    return InputError(f"the filter {name_id(text)} {what}")
