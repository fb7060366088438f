"""Exact checks of algebra without a computer algebra system: polynomials as dictionaries, elimination on fractions.

A polynomial is a map from powers of its unknowns to coefficients; two expressions with equal maps are equal everywhere.
Quotients are compared crosswise. Anything that is no quotient of polynomials is left undecided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction

from glasshouse.symbolic.errors import RejectedProgramError
from glasshouse.symbolic.logic_programs.algebra import CONSTANTS, Expression, Number, Symbol

Monomial = tuple[tuple[str, int], ...]
Polynomial = Mapping[Monomial, Fraction]
Quotient = tuple[Polynomial, Polynomial]
WORK = 300_000
ONE: Polynomial = {(): Fraction(1)}


class NotPolynomialError(ValueError):
    """The expression is no quotient of polynomials with rational coefficients."""


def same(left: Expression, right: Expression, *, work: int = WORK) -> bool | None:
    """Whether two expressions are equal wherever both have a value; None where this check cannot say.

    Raises `RejectedProgramError` when it would take more than `work` products of terms.
    """
    arithmetic = _Arithmetic(work)
    try:
        (above, below), (other_above, other_below) = arithmetic.quotient(left), arithmetic.quotient(right)
    except NotPolynomialError:
        return None
    return arithmetic.multiply(above, other_below) == arithmetic.multiply(other_above, below)


class _Arithmetic:
    """Sums and products of polynomials that count their work."""

    def __init__(self, work: int) -> None:
        self.left, self.work = work, work

    def quotient(self, expression: Expression) -> Quotient:
        """Numerator and denominator. Raises `NotPolynomialError`."""
        if isinstance(expression, Number):
            return ({(): expression.value} if expression.value else {}), ONE
        if isinstance(expression, Symbol):
            if expression.name in CONSTANTS:
                raise NotPolynomialError(f"{expression.name} is not rational")
            return {((expression.name, 1),): Fraction(1)}, ONE
        if expression.kind == "power":
            return self._power(*expression.parts)
        if expression.kind not in ("add", "multiply", "divide"):
            raise NotPolynomialError(f"{expression.kind} is no polynomial")
        parts = [self.quotient(part) for part in expression.parts]
        if expression.kind == "add":
            return self._sum(parts)
        above, below = parts[0]
        for part in parts[1:]:
            over, under = part if expression.kind == "multiply" else part[::-1]
            if not under:
                raise NotPolynomialError("division by zero")
            above, below = self.multiply(above, over), self.multiply(below, under)
        return above, below

    def _sum(self, parts: Sequence[Quotient]) -> Quotient:
        """Terms over one are collected first, so that a long polynomial is summed once."""
        whole: dict[Monomial, Fraction] = defaultdict(Fraction)
        for above, _ in (part for part in parts if part[1] == ONE):
            self._spend(len(above))
            for monomial, value in above.items():
                whole[monomial] += value
        top, bottom = _without_zeros(whole), ONE
        for above, below in (part for part in parts if part[1] != ONE):
            total = dict(self.multiply(top, below))
            for monomial, value in self.multiply(above, bottom).items():
                total[monomial] = total.get(monomial, Fraction(0)) + value
            top, bottom = _without_zeros(total), self.multiply(bottom, below)
        return top, bottom

    def _power(self, base: Expression, exponent: Expression) -> Quotient:
        above, below = self.quotient(exponent)
        if set(above) - {()} or set(below) != {()}:
            raise NotPolynomialError("a power with an unknown")
        value = above.get((), Fraction(0)) / below[()]
        if value.denominator != 1:
            raise NotPolynomialError("a power that is not a whole number")
        top, bottom = self.quotient(base)
        if value < 0:
            top, bottom = bottom, top
        if not bottom:
            raise NotPolynomialError("division by zero")
        result: Quotient = (ONE, ONE)
        for _ in range(abs(int(value))):
            result = self.multiply(result[0], top), self.multiply(result[1], bottom)
        return result

    def multiply(self, left: Polynomial, right: Polynomial) -> Polynomial:
        """The product."""
        if ONE in (left, right):
            return left if right == ONE else right
        self._spend(len(left) * len(right))
        total: dict[Monomial, Fraction] = defaultdict(Fraction)
        for monomial, value in left.items():
            for other, factor in right.items():
                powers = dict(monomial)
                for name, power in other:
                    powers[name] = powers.get(name, 0) + power
                total[tuple(sorted(powers.items()))] += value * factor
        return _without_zeros(total)

    def _spend(self, products: int) -> None:
        self.left -= products
        if self.left < 0:
            raise RejectedProgramError(f"too large to check: more than {self.work:,} products of terms")


def _without_zeros(total: Mapping[Monomial, Fraction]) -> Polynomial:
    return {monomial: value for monomial, value in total.items() if value}


def evaluate(expression: Expression, values: Mapping[str, Fraction]) -> Fraction | None:
    """The exact value where the unknowns have these values, None where it has none or is not rational.

    Anything to the power 0 is 1, 0 as well: as in polynomials, and in SymPy.
    """
    if isinstance(expression, Number):
        return expression.value
    if isinstance(expression, Symbol):
        return values.get(expression.name)
    found = [evaluate(part, values) for part in expression.parts]
    parts = [value for value in found if value is not None]
    if len(parts) < len(found):
        return None
    if expression.kind == "power":
        base, exponent = parts
        whole = exponent.denominator == 1 and abs(exponent) <= 1000 and (base != 0 or exponent >= 0)
        return Fraction(base) ** int(exponent) if whole else None
    result = parts[0]
    for part in parts[1:]:
        if expression.kind == "divide":
            if part == 0:
                return None
            result = result / part
        else:
            result = result + part if expression.kind == "add" else result * part
    return result if expression.kind in ("add", "multiply", "divide") else None


def rank(rows: Sequence[Sequence[Fraction]]) -> int:
    """The rank of a matrix, by elimination on exact fractions."""
    left = [list(row) for row in rows]
    found = 0
    for column in range(len(left[0]) if left else 0):
        pivot = next((number for number in range(found, len(left)) if left[number][column]), None)
        if pivot is None:
            continue
        left[found], left[pivot] = left[pivot], left[found]
        for number in range(found + 1, len(left)):
            factor = left[number][column] / left[found][column]
            left[number] = [value - factor * top for value, top in zip(left[number], left[found], strict=True)]
        found += 1
    return found
