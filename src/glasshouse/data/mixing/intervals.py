"""Can an expression hold at all? Exact interval analysis of thresholds, before any data is read.

An expression is spread into its alternatives (a disjunction of conjunctions). In each, every measure has the set of
values that are still possible: an interval with excluded points for numbers, a set of texts, yes and no. An
alternative with an empty set and no way to be missing cannot hold. Different measures are taken as independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from glasshouse.data.mixing.expression import (
    OPPOSITE,
    And,
    Comparison,
    Constant,
    Expression,
    Flag,
    Measure,
    Membership,
    Not,
    Or,
    Presence,
    Value,
)  # fmt: skip

MAXIMUM_ALTERNATIVES = 4096


class TooManyAlternativesError(Exception):
    """The expression spreads into more alternatives than are looked at."""


@dataclass(frozen=True)
class Bounds:
    """What is known about a measure before any rule: its least and greatest value, whether it is whole, or missing."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    optional: bool = True


@dataclass
class _Possible:
    """The values a measure can still take in one alternative."""

    bounds: Bounds
    missing: bool = True
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    without: set[Value] = field(default_factory=set)
    only: set[Value] | None = None
    nothing: bool = False

    def above(self, value: float, is_open: bool) -> None:
        if (value, is_open) > (self.low, self.low_open):
            self.low, self.low_open = value, is_open

    def below(self, value: float, is_open: bool) -> None:
        if (value, not is_open) < (self.high, not self.high_open):
            self.high, self.high_open = value, is_open

    def among(self, values: Iterable[Value]) -> None:
        self.only = set(values) if self.only is None else self.only & set(values)

    def empty(self) -> bool:
        if self.nothing:
            return True
        if self.only is not None:
            return not any(value not in self.without and self._inside(value) for value in self.only)
        low, high = self.low, self.high
        if self.bounds.whole:
            low = math.floor(low) + 1 if self.low_open and math.isfinite(low) else _ceil(low)
            high = math.ceil(high) - 1 if self.high_open and math.isfinite(high) else _floor(high)
            while low <= high and low in self.without:
                low += 1
            return low > high
        if low == high:
            return self.low_open or self.high_open or low in self.without
        return low > high

    def _inside(self, value: Value) -> bool:
        if isinstance(value, str):
            return True
        if self.bounds.whole and not float(value).is_integer():
            return False
        above = value > self.low if self.low_open else value >= self.low
        return above and (value < self.high if self.high_open else value <= self.high)


def _ceil(value: float) -> float:
    return math.ceil(value) if math.isfinite(value) else value


def _floor(value: float) -> float:
    return math.floor(value) if math.isfinite(value) else value


# One requirement of an alternative: (measure, operator or presence, constant, polarity).
_Term = tuple[Measure, str, "Value | None", bool]


def satisfiable(expression: Expression, bounds: Callable[[Measure], Bounds]) -> bool:
    """Whether some values make the expression hold.

    Raises `TooManyAlternativesError` where it spreads into more than `MAXIMUM_ALTERNATIVES`.
    """
    return any(_possible(terms, bounds) for terms in _alternatives(expression, True))


def tautology(expression: Expression, bounds: Callable[[Measure], Bounds]) -> bool:
    """Whether the expression holds for all values."""
    return not satisfiable(Not(expression), bounds)


def _possible(terms: list[_Term], bounds: Callable[[Measure], Bounds]) -> bool:
    known: dict[Measure, _Possible] = {}
    absent: dict[str, set[bool]] = {}
    for measure, operator, value, holds in terms:
        if operator == "missing":
            absent.setdefault(measure.column, set()).add(holds)
            continue
        limits = bounds(measure)
        if measure not in known:
            known[measure] = _Possible(limits, missing=limits.optional, low=limits.low, high=limits.high)
        _require(known[measure], operator, value, holds)
    for column, answers in absent.items():
        optional = bounds(Measure(column)).optional
        if len(answers) > 1 or (True in answers and not optional):
            return False
        for measure, possible in known.items():
            if measure.column == column:
                possible.nothing = possible.nothing or True in answers
                # A column of spans can be there and have no score: only a plain value is present for certain.
                possible.missing = possible.missing and (True in answers or bool(measure.function))
    return all(possible.missing or not possible.empty() for possible in known.values())


def _require(possible: _Possible, operator: str, value: Value | None, holds: bool) -> None:
    """Narrows what is possible. What does not hold may also be missing; what holds is there."""
    if holds:
        possible.missing = False
    else:
        operator = OPPOSITE[operator]
    if value is None:
        return
    if operator == "==":
        possible.among([value])
    elif operator == "!=":
        possible.without.add(value)
    elif operator in (">", ">="):
        possible.above(float(value), operator == ">")
    else:
        possible.below(float(value), operator == "<")


def _alternatives(expression: Expression, holds: bool) -> list[list[_Term]]:
    """The disjunction of conjunctions that says the expression holds (or does not)."""
    if isinstance(expression, Not):
        return _alternatives(expression.body, not holds)
    if isinstance(expression, And | Or):
        parts = [_alternatives(part, holds) for part in expression.parts]
        return _product(parts) if isinstance(expression, And) == holds else _limited([a for p in parts for a in p])
    if isinstance(expression, Membership):
        equals: tuple[Expression, ...] = tuple(Comparison(expression.left, "==", value) for value in expression.values)
        if not expression.negated:
            return _alternatives(Or(equals), holds)
        # `not in` asks for a value that is there and differs from all.
        return _alternatives(And(tuple(Comparison(expression.left, "!=", value) for value in expression.values)), holds)
    if isinstance(expression, Presence):
        return [[(Measure(expression.column), "missing", None, expression.missing == holds)]]
    if isinstance(expression, Flag):
        expression = Comparison(Measure(expression.column), "==", Constant(True))
    return [[(expression.left, expression.operator, expression.right.value, holds)]]


def _product(parts: list[list[list[_Term]]]) -> list[list[_Term]]:
    found: list[list[_Term]] = [[]]
    for part in parts:
        found = _limited([done + more for done in found for more in part], len(found) * len(part))
    return found


def _limited(alternatives: list[list[_Term]], count: int | None = None) -> list[list[_Term]]:
    if (len(alternatives) if count is None else count) > MAXIMUM_ALTERNATIVES:
        raise TooManyAlternativesError
    return alternatives
