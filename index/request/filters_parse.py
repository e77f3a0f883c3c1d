"""Text -> the checked tree of a filter, in Python's own grammar, of which little is let through.

    condition := condition and condition | condition or condition | not condition | ( condition ) | True | False
               | operand (== | != | < | <= | > | >=) operand …        chained as in Python: 10 < duration <= 30
               | column in (value, …) | column not in (value, …)      also [ ] and { }
               | "text" in column | column.startswith("text") | column.endswith("text")
               | column is None | column is not None | column         the last of a column that is true or false
    operand   := column | number | "text" | True | False
    column    := name | column("a name that is no word of Python's")

Python's parser makes a tree of the text and nothing is ever run; whatever else stands in the tree is refused.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from typing import NoReturn

from index.request.filters_tree import (
    LIKE,
    All,
    Begins,
    Column,
    Compare,
    Condition,
    Contains,
    Ends,
    Flag,
    IsNull,
    Literal,
    Not,
    Operator,
    Some,
    Truth,
    Within,
    wrong,
)

LONGEST = 20_000  # characters; Python's own parser is not asked to survive anything
DEEPEST = 60  # conditions inside conditions
LARGEST = 2**63  # integers are smaller, as in columns
OPERATORS: dict[type[ast.cmpop], Operator] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
LANGUAGE = f"a filter is made of comparisons {LIKE}, joined by and, or, not"
METHODS = ("startswith", "endswith")
MEANT = {"=": "==", "&": "and", "|": "or", "!": "not", "&&": "and", "||": "or", "<>": "!="}


def parse(text: str) -> Condition:
    """Read a filter.

    Args:
        text: as the user wrote it.

    Raises:
        InputError: it is empty, too long or malformed, or holds something that is not in the language.
    """
    text = text.strip()
    if not text:
        raise wrong(text, f"is empty; {LANGUAGE}")
    if len(text) > LONGEST:
        raise wrong(text, f"is {len(text):,} characters long; {LONGEST:,} is the most")
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text):
        raise wrong(text, "holds a character that is no text; take it out")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's remarks on style
            body = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise _malformed(text, error) from None
    except (RecursionError, MemoryError):
        raise wrong(text, "is nested too deeply; write it with fewer brackets") from None
    return _Reader(text).condition(body, 0)


def _malformed(text: str, error: SyntaxError) -> ValueError:
    if error.msg.startswith("Exceeds the limit"):
        return wrong(text, "holds a number that is too large")
    if not error.offset:
        return wrong(text, f"ends too early, at character {len(text)}; {LANGUAGE}")
    place = _place(text, error.lineno or 1, error.offset - 1)
    if text[place - 2 : place] in MEANT:  # its second letter is what Python stumbles over
        place -= 1
    meant = next((sign for sign in (text[place - 1 : place + 1], text[place - 1 : place]) if sign in MEANT), None)
    if "instead of '='" in error.msg:
        meant = "="
    if meant is not None:
        return wrong(text, f"is malformed at character {place}: write {MEANT[meant]} for {meant}")
    reason = error.msg.partition(" (")[0].partition(". ")[0]
    return wrong(text, f"is malformed at character {place}: {reason}; {LANGUAGE}")


def _place(text: str, line: int, column: int) -> int:
    """Where in the text a column (in characters) of a line is; the first character is 1."""
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]
    start = starts[min(line, len(starts)) - 1]
    return min(start + max(column, 0), len(text)) + 1


class _Reader:
    """Checks one text's tree."""

    def __init__(self, text: str) -> None:
        self.text = text

    def condition(self, node: ast.expr, depth: int) -> Condition:
        """What can be true of a clip."""
        if depth > DEEPEST:
            raise wrong(self.text, "is nested too deeply; write it with fewer brackets")
        if isinstance(node, ast.BoolOp):
            parts = tuple(self.condition(value, depth + 1) for value in node.values)
            return All(parts) if isinstance(node.op, ast.And) else Some(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return Not(self.condition(node.operand, depth + 1))
        if isinstance(node, ast.Compare):
            left, pairs = node.left, []
            for operator, right in zip(node.ops, node.comparators):
                pairs.append(self.comparison(left, operator, right))
                left = right
            return pairs[0] if len(pairs) == 1 else All(tuple(pairs))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return self.method(node, node.func)
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            return Truth(node.value)
        column = self.column(node)
        if column is None:
            self.refuse(node)
        return Flag(column)

    def comparison(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Condition:
        """One pair of a comparison."""
        if isinstance(operator, (ast.Is, ast.IsNot)):
            column = self.column(left)
            if column is None or not (isinstance(right, ast.Constant) and right.value is None):
                raise self.wrong("'is' only asks whether a column has a value: is None, is not None", right)
            return IsNull(column) if isinstance(operator, ast.Is) else Not(IsNull(column))
        if isinstance(operator, (ast.In, ast.NotIn)):
            condition = self.membership(left, right)
            return condition if isinstance(operator, ast.In) else Not(condition)
        one, other = self.operand(left), self.operand(right)
        if isinstance(one, Literal) and isinstance(other, Literal):
            raise self.wrong("no column is compared here", left)
        return Compare(OPERATORS[type(operator)], one, other)

    def membership(self, left: ast.expr, right: ast.expr) -> Condition:
        """column in (…), or "text" in column."""
        column = self.column(left)
        if column is not None and isinstance(right, (ast.Tuple, ast.List, ast.Set)):
            values = tuple(self.literal(element) for element in right.elts)
            if len({value.kind for value in values}) > 1:
                raise self.wrong("the values after 'in' are not all of one kind", right)
            return Within(column, values)
        container = self.column(right)
        if container is not None and isinstance(left, ast.Constant) and isinstance(left.value, str):
            return Contains(container, self.words(left, left.value))
        raise self.wrong("'in' is written column in (value, value), or \"text\" in column", right)

    def method(self, node: ast.Call, function: ast.Attribute) -> Condition:
        """column.startswith(…) or column.endswith(…)."""
        column = self.column(function.value)
        if column is None or function.attr not in METHODS or node.keywords or len(node.args) != 1:
            self.refuse(node)
        given = node.args[0]
        literals = [self.literal(part) for part in (given.elts if isinstance(given, ast.Tuple) else [given])]
        texts = tuple(literal.value for literal in literals if isinstance(literal.value, str))
        if len(texts) < len(literals):
            raise self.wrong(f"{function.attr} wants text in quotes", given)
        return Begins(column, texts) if function.attr == "startswith" else Ends(column, texts)

    def column(self, node: ast.expr) -> Column | None:
        """A name, or column("a name"); None of anything else."""
        if isinstance(node, ast.Name):
            return Column(node.id, self.at(node))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "column":
            name = node.args[0] if len(node.args) == 1 and not node.keywords else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                return Column(name.value, self.at(node))
            raise self.wrong('column(…) wants one name in quotes: column("frame rate")', node)
        return None

    def operand(self, node: ast.expr) -> Column | Literal:
        """A column or a value."""
        return self.column(node) or self.literal(node)

    def literal(self, node: ast.expr) -> Literal:
        """A value that stands in the text."""
        sign, inner = 1, node
        if isinstance(inner, ast.UnaryOp) and isinstance(inner.op, (ast.USub, ast.UAdd)):
            sign, inner = (-1 if isinstance(inner.op, ast.USub) else 1), inner.operand
            if isinstance(inner, ast.Constant) and type(inner.value) not in (int, float):
                self.refuse(node)
        value = inner.value if isinstance(inner, ast.Constant) else self.refuse(node)
        if value is None:
            raise self.wrong("None is not compared; write is None or is not None", node)
        if isinstance(value, str):
            return Literal(self.words(node, value), self.at(node))
        if isinstance(value, bool):
            return Literal(value, self.at(node))
        if not isinstance(value, (int, float)):
            self.refuse(node)
        if not (math.isfinite(value) if isinstance(value, float) else value < LARGEST):
            raise self.wrong("the number is too large", node)
        return Literal(sign * value, self.at(node))

    def words(self, node: ast.expr, value: str) -> str:
        """A text that can be compared."""
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise self.wrong("half a character is no text", node)
        return value

    def at(self, node: ast.expr) -> int:
        """Where it begins; the first character is 1."""
        lines = re.split(r"\r\n|\r|\n", self.text)
        line = lines[min(node.lineno, len(lines)) - 1]
        return _place(self.text, node.lineno, len(line.encode()[: node.col_offset].decode(errors="ignore")))

    def wrong(self, what: str, node: ast.expr) -> ValueError:
        """An error that says where."""
        return wrong(self.text, f"is wrong at character {self.at(node)}: {what}")

    def refuse(self, node: ast.expr) -> NoReturn:
        """What is Python, but not of this language."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr)):
            word = "and" if isinstance(node.op, ast.BitAnd) else "or"
            raise self.wrong(f"write {word} for {'&' if word == 'and' else '|'}", node)
        raise self.wrong(LANGUAGE, node)
