"""A filter as SQL, node by node as `Filter.masks` evaluates it. Values are parameters, and names are quoted."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from index.filter import Evaluation, Filter, Operand, filterable
from index.postgres.connection import quoted
from index.postgres.tables import TYPES, State

SIGNS = {ast.Eq: "=", ast.NotEq: "<>", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
METHODS = {"startswith": "starts_with({0}, {1})", "endswith": "right({0}, char_length({1})) = {1}"}
UNKNOWN = "NULL::boolean"


def condition_of(where: Filter, state: State) -> tuple[str, dict[str, Any]]:
    """The condition of a filter on mee_clips, and its parameters.

    Raises:
        InputError: as `Filter.masks`, which is asked about no clips first: the translation checks nothing.
    """
    nothing = state.schema.empty_table()
    where.masks([nothing])
    names = {name: own for name, (own, _) in state.columns.items()} | {"duration": "duration"}
    translation = _Translation(where.text, nothing, filterable([nothing]), names)
    return translation.condition(where.body), translation.values


@dataclass(frozen=True)
class _Translation(Evaluation):
    """Truth is a text of SQL here."""

    names: Mapping[str, str]  # of columns, in SQL
    values: dict[str, Any] = field(default_factory=dict)  # of parameters

    def condition(self, node: ast.expr) -> str:
        if isinstance(node, ast.BoolOp):
            between = " AND " if isinstance(node.op, ast.And) else " OR "
            return f"({between.join(map(self.condition, node.values))})"
        if isinstance(node, ast.UnaryOp):
            return f"(NOT {self.condition(node.operand)})"
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            return f"({' AND '.join(map(self.comparison, operands, node.ops, operands[1:]))})"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return self.method(node, node.func)
        return self.side(self.column(node) or self.value(node))

    def comparison(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> str:
        if isinstance(operator, ast.Is | ast.IsNot):
            column: Any = self.column(left)
            return f"({self.side(column)} IS {'NOT ' * isinstance(operator, ast.IsNot)}NULL)"
        if isinstance(operator, ast.In | ast.NotIn):
            return f"({'NOT ' * isinstance(operator, ast.NotIn)}{self.membership(left, right)})"
        sides = [self.column(node) or self.value(node) for node in (left, right)]
        if None in (sides[0].holds, sides[1].holds):
            return UNKNOWN
        written = [self.side(side) for side in sides]
        if any(side.data.type == pa.float64() for side in sides):
            written = [f"{side}::float8" for side in written]
        if any(side.name is None and side.holds == "text" and "\0" in side.data.as_py() for side in sides):
            written = [f"convert_to({text}, 'UTF8')" if its.name else text for text, its in zip(written, sides)]
        return f"({written[0]} {SIGNS[type(operator)]} {written[1]})"

    def membership(self, left: ast.expr, right: Any) -> str:
        container = self.column(right)
        column: Any = self.column(left)
        if container is not None and column is None:
            if container.holds is None:
                return UNKNOWN
            return self.part(container, self.value(left).data.as_py(), "strpos({0}, {1}) > 0")
        if column.holds is None:
            return UNKNOWN
        values = [self.value(element).data.as_py() for element in right.elts]
        if column.data.type == pa.int64():
            values = [whole for value in values if (whole := int(value)) == value and abs(whole) < 2**63]
        elif column.holds == "text":
            values = [value for value in values if "\0" not in value]
        if not values:
            return never(self.side(column))
        return f"({self.side(column)} = ANY({self.given(values, column.data.type, '[]')}))"

    def method(self, node: ast.Call, function: ast.Attribute) -> str:
        given = node.args[0]
        column: Any = self.column(function.value)
        if column.holds is None:
            return UNKNOWN
        parts = [
            self.value(part).data.as_py() for part in (given.elts if isinstance(given, ast.Tuple) else [given])
        ]
        found = [self.part(column, part, METHODS[function.attr]) for part in parts]
        return f"({' OR '.join([never(self.side(column)), *found])})"

    def part(self, column: Operand, text: str, written: str) -> str:
        """Whether a text of a column has a part."""
        if "\0" in text:  # which no text in a database has
            return never(self.side(column))
        return f"({written.format(self.side(column), self.given(text, pa.string()))})"

    def side(self, operand: Operand) -> str:
        """A column or a value."""
        if operand.name is None:
            return self.given(operand.data.as_py(), operand.data.type)
        return UNKNOWN if operand.holds is None else quoted(self.names.get(operand.name, operand.name))

    def given(self, value: Any, kind: pa.DataType, many: str = "") -> str:
        """A value, as a parameter."""
        name = f"value{len(self.values)}"
        if isinstance(value, str) and "\0" in value:  # as bytes they are in the same order
            self.values[name] = value.encode()
            return f"%({name})s::bytea"
        self.values[name] = value
        return f"%({name})s::{TYPES[kind].partition(' ')[0]}{many}"


def never(column: str) -> str:
    """False, and unknown where a column is null."""
    return f"({column} IS NULL AND {UNKNOWN})"
