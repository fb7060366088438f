"""The filter language as a tree: frozen, comparable, picklable values, and back to text.

    word_count < 50 or fraction_of_duplicate_lines > 30% and not has_javascript
    source == "web" and language in ("en", "fr")
    count(email_spans) > 5 or max_score(toxic_spans) >= 0.4 or metadata.length is missing

`not` binds before `and`, `and` before `or`. A comparison with a missing value does not hold, whatever the operator, so
that no document is taken in or out by what is not known about it; `is missing` and `is present` ask for it outright.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

Operator = Literal["<", "<=", ">", ">=", "==", "!="]
Function = Literal["", "count", "first_score", "max_score", "min_score"]
Value: TypeAlias = "float | str | bool"
Usage = Literal["number", "text", "flag", "spans", "any"]

FUNCTIONS: tuple[Function, ...] = ("count", "first_score", "max_score", "min_score")
NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
OPPOSITE: dict[str, Operator] = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}
"""What holds of a value that is there and does not meet the operator."""
KEYWORDS = ("and", "or", "not", "in", "is", "true", "false", "missing", "present")

Place = tuple[int, int]
NOWHERE: Place = (0, 0)


@dataclass(frozen=True)
class Measure:
    """What is compared: a column, or a number made from a column of spans."""

    column: str
    function: Function = ""
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Constant:
    """A value with the unit it was written with: "%", "words", "kB", or none. `value` is already scaled."""

    value: Value
    unit: str = ""
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Comparison:
    """`left operator right`."""

    left: Measure
    operator: Operator
    right: Constant
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Membership:
    """`left in (…)` or `left not in (…)`: both are false for a missing value."""

    left: Measure
    values: tuple[Constant, ...]
    negated: bool = False
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Presence:
    """`column is missing` or `column is present`."""

    column: str
    missing: bool
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Flag:
    """A column of yes and no on its own."""

    column: str
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Not:
    """Holds where `body` does not, so also where a comparison in it met a missing value."""

    body: Expression
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class And:
    """All parts hold."""

    parts: tuple[Expression, ...]
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Or:
    """Some part holds."""

    parts: tuple[Expression, ...]
    place: Place = field(default=NOWHERE, compare=False)


Expression: TypeAlias = "Comparison | Membership | Presence | Flag | Not | And | Or"


def atoms(expression: Expression) -> Iterator[Comparison | Membership | Presence | Flag]:
    """The leaves, left to right."""
    if isinstance(expression, And | Or):
        for part in expression.parts:
            yield from atoms(part)
    elif isinstance(expression, Not):
        yield from atoms(expression.body)
    else:
        yield expression


def columns(expression: Expression) -> tuple[str, ...]:
    """The columns an expression reads, in the order they first occur."""
    return tuple(dict.fromkeys(_column(atom) for atom in atoms(expression)))


def with_columns(expression: Expression, names: Mapping[str, str]) -> Expression:
    """The expression with columns renamed; a column that is not in `names` keeps its own."""
    if isinstance(expression, And | Or):
        return replace(expression, parts=tuple(with_columns(part, names) for part in expression.parts))
    if isinstance(expression, Not):
        return replace(expression, body=with_columns(expression.body, names))
    if isinstance(expression, Presence | Flag):
        return replace(expression, column=names.get(expression.column, expression.column))
    left = replace(expression.left, column=names.get(expression.left.column, expression.left.column))
    return replace(expression, left=left)


def usages(expression: Expression) -> Iterator[tuple[str, Usage]]:
    """Every use of a column with the type that use asks for."""
    for atom in atoms(expression):
        if isinstance(atom, Presence):
            yield atom.column, "any"
        elif isinstance(atom, Flag):
            yield atom.column, "flag"
        elif atom.left.function:
            yield atom.left.column, "spans"
        else:
            first = atom.right if isinstance(atom, Comparison) else atom.values[0]
            yield atom.left.column, usage_of(first.value)


def usage_of(value: Value) -> Usage:
    """The type of column a value can be compared with."""
    if isinstance(value, bool):
        return "flag"
    return "text" if isinstance(value, str) else "number"


def render(expression: Expression) -> str:
    """The expression as text: `parse(render(e)) == e`."""
    if isinstance(expression, Or):
        return " or ".join(_enclosed(part, Or) for part in expression.parts)
    if isinstance(expression, And):
        return " and ".join(_enclosed(part, Or | And) for part in expression.parts)
    if isinstance(expression, Not):
        return f"not {_enclosed(expression.body, Or | And | Not)}"
    if isinstance(expression, Comparison):
        return f"{render_measure(expression.left)} {expression.operator} {render_literal(expression.right)}"
    if isinstance(expression, Membership):
        listed = ", ".join(render_literal(value) for value in expression.values)
        return f"{render_measure(expression.left)} {'not ' if expression.negated else ''}in ({listed})"
    if isinstance(expression, Presence):
        return f"{render_name(expression.column)} is {'missing' if expression.missing else 'present'}"
    return render_name(expression.column)


def render_measure(measure: Measure) -> str:
    """`word_count`, `count(email_spans)`."""
    name = render_name(measure.column)
    return f"{measure.function}({name})" if measure.function else name


def render_name(name: str) -> str:
    """A column's name, in backquotes where it is not a plain one."""
    return name if NAME.fullmatch(name) and name not in (*KEYWORDS, *FUNCTIONS) else f"`{name}`"


def render_literal(literal: Constant) -> str:
    """A value as it is written, with its unit."""
    value, unit = literal.value, literal.unit
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if unit == "%":
        return f"{_number(_unscaled(value, 0.01))}%"
    if unit in SCALES:
        return f"{_number(_unscaled(value, SCALES[unit]))} {unit}"
    return f"{_number(value)} {unit}".rstrip()


SCALES: dict[str, float] = {
    "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
}  # fmt: skip
"""Multiples of a byte."""


def scaled(written: float, unit: str) -> float:
    """The value of a number written with a unit. Percentages are divided: 30% is 0.3 exactly."""
    if unit == "%":
        return written / 100
    return written * SCALES.get(unit, 1.0)


def _unscaled(value: float, scale: float) -> float:
    """The written number that `scaled` takes back to `value`."""
    unit_percent = scale == 0.01
    guess = value * 100 if unit_percent else value / scale
    for digits in range(15, 18):
        near = float(f"{guess:.{digits}g}")
        if (near / 100 if unit_percent else near * scale) == value:
            return near
    return guess


def _number(value: float) -> str:
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def _enclosed(part: Expression, looser: object) -> str:
    text = render(part)
    return f"({text})" if isinstance(part, looser) else text  # type: ignore[arg-type]


def _column(atom: Comparison | Membership | Presence | Flag) -> str:
    return atom.column if isinstance(atom, Presence | Flag) else atom.left.column
