"""Puzzles over whole numbers: variables with domains, constraints, and statements to choose from.

    Variables:
    green_book [IN] [1, 2, 3]
    Constraints:
    green_book < blue_book
    AllDifferentConstraint([green_book, blue_book, white_book])
    Query:
    A) green_book == 2
    B) blue_book == 2

A side of a comparison is a sum of names and numbers; comparisons may be chained (`a < b < c`) and joined with `and`,
`or`, `not`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal as OneOf

from glasshouse.symbolic.logic_programs.limits import DEFAULT, Limits, ProgramError
from glasshouse.symbolic.logic_programs.reader import Dialect, Reader
from glasshouse.symbolic.logic_programs.sections import Line, sections

_DIALECT = Dialect("( ) [ ] , < <= > >= == != = ≠ ≤ ≥ + - and or not")
_COMPARISONS: Mapping[str, Relation] = {
    "<": "<", "<=": "<=", "≤": "<=", ">": ">", ">=": ">=", "≥": ">=", "==": "==", "=": "==", "!=": "!=", "≠": "!=",
}  # fmt: skip
_DOMAIN = re.compile(r"([^\W_]\w*)\s*\[IN\]\s*\[\s*(-?\d{1,9}(?:\s*,\s*-?\d{1,9})*)\s*\]")
_OPTION = re.compile(r"([A-Z])\)\s*(.+)")

Relation = OneOf["<", "<=", ">", ">=", "==", "!="]


@dataclass(frozen=True, slots=True)
class Sum:
    """A whole number plus variables, each with its sign."""

    constant: int
    variables: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sums and how they relate."""

    relation: Relation
    left: Sum
    right: Sum


@dataclass(frozen=True, slots=True)
class AllDifferent:
    """No two of these variables are equal."""

    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Join:
    """`not` has one part, `and` and `or` any number."""

    kind: OneOf["and", "or", "not"]
    parts: tuple[Condition, ...]


Condition = Comparison | AllDifferent | Join


@dataclass(frozen=True, slots=True)
class Puzzle:
    """Variables with their values, the conditions, and the statements to choose from by letter."""

    domains: Mapping[str, tuple[int, ...]]
    conditions: tuple[Condition, ...]
    options: Mapping[str, Condition]


def parse_puzzle(text: str, limits: Limits = DEFAULT) -> Puzzle:
    """The puzzle of a text in sections. Raises `ProgramError` with the line that is not understood."""
    parts = sections(text, ("Variables", "Constraints", "Query"), limits)
    domains = dict(_domain(line) for line in parts["Variables"])
    conditions = tuple(_condition(line.text, line.origin, domains, limits) for line in parts["Constraints"])
    options = {}
    for line in parts["Query"]:
        found = _OPTION.fullmatch(line.text)
        if not found:
            raise ProgramError(f"{line.origin}: expected a letter, `)` and a statement, found {line.text[:60]!r}")
        options[found.group(1)] = _condition(found.group(2), line.origin, domains, limits)
    return Puzzle(domains, conditions, options)


def _domain(line: Line) -> tuple[str, tuple[int, ...]]:
    found = _DOMAIN.fullmatch(line.text)
    if not found:
        raise ProgramError(f"{line.origin}: expected `name [IN] [1, 2, 3]`, found {line.text[:60]!r}")
    return found.group(1), tuple(dict.fromkeys(int(number) for number in found.group(2).split(",")))


def _condition(text: str, origin: str, domains: Mapping[str, object], limits: Limits) -> Condition:
    reader = Reader(text, _DIALECT, limits, origin=origin)
    found = _either(reader, domains)
    reader.finish()
    return found


def _either(reader: Reader, domains: Mapping[str, object]) -> Condition:
    with reader.nested():
        parts = [_both(reader, domains)]
        while reader.accept("or"):
            parts.append(_both(reader, domains))
        return Join("or", tuple(parts)) if len(parts) > 1 else parts[0]


def _both(reader: Reader, domains: Mapping[str, object]) -> Condition:
    parts = [_single(reader, domains)]
    while reader.accept("and"):
        parts.append(_single(reader, domains))
    return Join("and", tuple(parts)) if len(parts) > 1 else parts[0]


def _single(reader: Reader, domains: Mapping[str, object]) -> Condition:
    reader.count()
    with reader.nested():
        if reader.accept("not"):
            return Join("not", (_single(reader, domains),))
        if reader.accept("("):
            inner = _either(reader, domains)
            reader.expect(")")
            return inner
        if reader.accept("AllDifferentConstraint", "AllDifferent"):
            return _all_different(reader, domains)
    return _chain(reader, domains)


def _all_different(reader: Reader, domains: Mapping[str, object]) -> AllDifferent:
    reader.expect("(")
    reader.expect("[")
    names = [_name(reader, domains)]
    while reader.accept(","):
        names.append(_name(reader, domains))
    reader.expect("]")
    reader.expect(")")
    return AllDifferent(tuple(names))


def _chain(reader: Reader, domains: Mapping[str, object]) -> Condition:
    sums, relations = [_sum(reader, domains)], []
    while found := reader.accept(*_COMPARISONS):
        relations.append(_COMPARISONS[found])
        sums.append(_sum(reader, domains))
    if not relations:
        raise reader.error(f"expected a comparison, found {reader.token.text or 'the end'!r}")
    pairs = [Comparison(relation, *sums[place : place + 2]) for place, relation in enumerate(relations)]
    return Join("and", tuple(pairs)) if len(pairs) > 1 else pairs[0]


def _sum(reader: Reader, domains: Mapping[str, object]) -> Sum:
    constant, variables = 0, []
    sign = -1 if reader.accept("-") else 1
    while True:
        reader.count()
        if reader.token.kind == "number":
            text = reader.take("number").text
            if "." in text or len(text) > 9:
                raise reader.error(f"{text} is not a whole number below 10^9")
            constant += sign * int(text)
        else:
            variables.append((sign, _name(reader, domains)))
        found = reader.accept("+", "-")
        if not found:
            return Sum(constant, tuple(variables))
        sign = 1 if found == "+" else -1


def _name(reader: Reader, domains: Mapping[str, object]) -> str:
    name = reader.take("name").text
    if name not in domains:
        raise reader.error(f"{name!r} is not among the variables: {', '.join(domains)}")
    return name
