"""Expressions, equations and matrices of numbers: `2x^2 - 3/4`, `x + y = 1`, `sqrt(2) * log(x)`, `[[1, 2], [3, 4]]`.

A number or a closing parenthesis before a name, a number or a parenthesis multiplies: `2x`, `(x-y)(a+b-c)`. With
`letters`, a run of letters that is no function's name is a product: `ax` is a times x. `^` and `**` bind tightest and
group to the right. `log` and `ln` are natural. A written power is bounded, so that nothing large is ever built.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from glasshouse.symbolic.logic_programs.limits import DEFAULT, Limits, ProgramError
from glasshouse.symbolic.logic_programs.reader import Dialect, Reader

_DIALECT = Dialect("( ) [ ] , ; + - − * · × / ÷ ^ ** = ==")
_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE = ("+",), ("-", "−"), ("*", "·", "×"), ("/", "÷")
FUNCTIONS = frozenset({"sqrt", "exp", "log", "ln", "log2", "log10", "sin", "cos", "tan", "abs"})
CONSTANTS = frozenset({"pi", "E", "I"})


@dataclass(frozen=True, slots=True)
class Number:
    """An exact number."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Symbol:
    """An unknown; `pi`, `E` (Euler's number) and `I` (the imaginary unit) are constants, as SymPy writes them."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """`add` and `multiply` of two or more parts, `divide` and `power` of two, or a function with its arguments."""

    kind: str
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Equation:
    """Two sides that are equal."""

    left: Expression
    right: Expression


Expression = Number | Symbol | Operation
Matrix = tuple[tuple[Expression, ...], ...]


def parse_expression(text: str, limits: Limits = DEFAULT, *, letters: bool = False) -> Expression:
    """One expression. Raises `ProgramError` for what is not one, or too large."""
    reader = _Algebra(text, limits, letters)
    found = reader.sum()
    reader.finish()
    return found


def parse_equations(text: str, limits: Limits = DEFAULT, *, letters: bool = False) -> tuple[Equation, ...]:
    """Equations, separated by commas, semicolons or new lines; an expression alone is equal to zero."""
    reader = _Algebra(text.replace("\n", ";"), limits, letters)
    found = [reader.equation()]
    while reader.accept(",", ";"):
        if reader.token.kind != "end":
            found.append(reader.equation())
    reader.finish()
    return tuple(found)


def parse_matrix(text: str, limits: Limits = DEFAULT) -> Matrix:
    """Rows of equal length in brackets; one row is a matrix of one row."""
    reader = _Algebra(text, limits, False)
    reader.expect("[")
    if reader.token.text == "[":
        rows = [reader.row()]
        while reader.accept(",", ";"):
            rows.append(reader.row())
        reader.expect("]")
    else:
        rows = [reader.entries()]
    reader.finish()
    if len({len(row) for row in rows}) > 1:
        raise ProgramError(f"the rows of a matrix have equal lengths, got {', '.join(str(len(row)) for row in rows)}")
    return tuple(rows)


class _Algebra(Reader):
    """Recursive descent, loose to tight: sum, product, power, unit."""

    def __init__(self, text: str, limits: Limits, letters: bool) -> None:
        super().__init__(text, _DIALECT, limits)
        self.letters = letters

    def row(self) -> tuple[Expression, ...]:
        self.expect("[")
        return self.entries()

    def entries(self) -> tuple[Expression, ...]:
        found = [self.sum()]
        while self.accept(","):
            found.append(self.sum())
        self.expect("]")
        return tuple(found)

    def equation(self) -> Equation:
        left = self.sum()
        return Equation(left, self.sum() if self.accept("=", "==") else Number(Fraction(0)))

    def sum(self) -> Expression:
        with self.nested():
            parts = [self.product()]
            while sign := self.accept(*_ADD, *_SUBTRACT):
                part = self.product()
                parts.append(part if sign in _ADD else minus(part))
            return Operation("add", tuple(parts)) if len(parts) > 1 else parts[0]

    def product(self) -> Expression:
        self.count()
        if self.accept(*_SUBTRACT):
            with self.nested():
                return minus(self.product())
        self.accept(*_ADD)
        above, below = [self.power()], []
        while True:
            if self.accept(*_DIVIDE):
                below.append(self.signed())
            elif self.accept(*_MULTIPLY):
                above.append(self.signed())
            elif self.token.kind in ("number", "name") or self.token.text == "(":
                above.append(self.power())
            else:
                break
        top = Operation("multiply", tuple(above)) if len(above) > 1 else above[0]
        if not below:
            return top
        return Operation("divide", (top, Operation("multiply", tuple(below)) if len(below) > 1 else below[0]))

    def signed(self) -> Expression:
        """A factor that may have a sign: `2 * -x`."""
        if self.accept(*_SUBTRACT):
            with self.nested():
                return minus(self.signed())
        return self.power()

    def power(self) -> Expression:
        """A unit with its power; of a run such as `2x^2` only the last factor is raised."""
        self.count()
        *before, last = self.unit()
        if self.accept("^", "**"):
            with self.nested():
                exponent = self.signed()
            self.bounded(exponent)
            last = Operation("power", (last, exponent))
        return Operation("multiply", (*before, last)) if before else last

    def bounded(self, exponent: Expression) -> None:
        """Refuse a power that could be large: numbers are bounded, and a power in a power is not built."""
        size = _size(exponent)
        if size is None or size > self.limits.exponent:
            raise self.error(f"a power beyond ±{self.limits.exponent}, or of another form than a x + b, is not built")

    def unit(self) -> list[Expression]:
        """What a power can stand behind, with the factors that are written together with it."""
        if self.token.kind == "number":
            return [Number(Fraction(self.take("number").text))]
        if self.accept("("):
            inner = self.sum()
            self.expect(")")
            return [inner]
        name = self.take("name").text
        if self.token.text == "(" and name in FUNCTIONS:
            return [self.function(name)]
        number, letters = _leading_number(name)
        if self.token.text == "(" and len(letters) > 1 and not self.letters:
            raise self.error(f"{letters!r} is no function; known are: {', '.join(sorted(FUNCTIONS))}")
        names = [letters] if letters in CONSTANTS or not self.letters else list(letters)
        return [*([] if number is None else [Number(number)]), *map(Symbol, names)]

    def function(self, name: str) -> Expression:
        self.expect("(")
        parts = [self.sum()]
        if name == "log" and self.accept(","):
            parts.append(self.sum())
        self.expect(")")
        return Operation({"ln": "log"}.get(name, name), tuple(parts))


def _leading_number(name: str) -> tuple[Fraction | None, str]:
    """`2x` is 2 and x; the reader gives digits and the letters after them as one name."""
    digits = len(name) - len(name.lstrip("0123456789."))
    return (Fraction(name[:digits]) if digits else None), name[digits:]


def minus(part: Expression) -> Expression:
    """Its negative."""
    if isinstance(part, Number):
        return Number(-part.value)
    return Operation("multiply", (Number(Fraction(-1)), part))


def parts_of(expression: Expression) -> Iterable[Expression]:
    """Every node, itself first."""
    waiting = [expression]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Operation):
            waiting += reversed(node.parts)


def _size(exponent: Expression) -> Fraction | None:
    """A bound on its absolute value with unknowns counted as 1; None for what has no such bound."""
    if isinstance(exponent, Number):
        return abs(exponent.value)
    if isinstance(exponent, Symbol):
        return Fraction(1)
    sizes = [_size(part) for part in exponent.parts]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or exponent.kind not in ("add", "multiply", "divide"):
        return None
    if exponent.kind == "add":
        return sum(known, Fraction(0))
    if exponent.kind == "multiply":
        return math.prod(known, start=Fraction(1))
    below = exponent.parts[1]
    return known[0] / known[1] if isinstance(below, Number) and below.value else None
