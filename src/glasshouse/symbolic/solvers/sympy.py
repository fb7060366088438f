"""SymPy: algebra in a worker process with bounds on time and memory, its answers checked by exact arithmetic.

    factor, simplify, expand   an expression -> an equal expression
    same_expression            two expressions -> whether they are equal
    solve                      equations -> solutions, one map each
    evaluate                   an expression of numbers -> `digits` digits
    rank_of                    a matrix -> its rank

`polynomials` checks that quotients of polynomials are equal, that solutions put into the equations make them so, and
the ranks of rational matrices; where it cannot say, the reply is not verified. (Meurer et al., SymPy, PeerJ CS, 2017.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from glasshouse.symbolic.call import Call, Reply
from glasshouse.symbolic.errors import BadRequestError, RejectedProgramError
from glasshouse.symbolic.logic_programs.algebra import (
    CONSTANTS,
    Equation,
    Expression,
    Matrix,
    Number,
    Operation,
    Symbol,
    parse_equations,
    parse_expression,
    parse_matrix,
    parts_of,
)
from glasshouse.symbolic.logic_programs.limits import ProgramError
from glasshouse.symbolic.solvers.polynomials import evaluate, rank, same
from glasshouse.symbolic.solvers.questions import checked_reply, seconds_of, texts_of
from glasshouse.symbolic.solvers.worker import MEMORY, Worker

DIGITS = 15
_EQUAL = ("factor", "simplify", "expand")


class Sympy:
    """The engine for `algebra` calls. With the parameter `letters`, `ax` is a times x.

    Args:
        memory: bytes that SymPy's process may take.
    """

    name = "sympy"
    kinds = frozenset({"algebra"})

    def __init__(self, memory: int = MEMORY) -> None:
        self._worker = Worker(memory)

    def run(self, call: Call) -> Reply:
        """An answer, verified where exact arithmetic can decide it. Expressions are answered as text."""
        operations = {"solve": self._solve, "evaluate": self._evaluate, "rank_of": self._rank}
        operations |= {"same_expression": self._same, **dict.fromkeys(_EQUAL, self._rewritten)}
        if call.op not in operations:
            raise BadRequestError(f"sympy does not know {call.op!r}; it knows: {', '.join(sorted(operations))}")
        return operations[call.op](call)

    def close(self) -> None:
        """End the process."""
        self._worker.stop()

    def _ask(self, call: Call, **request: Any) -> Any:
        return self._worker.ask({"op": call.op, **request}, seconds_of(call))

    def _rewritten(self, call: Call) -> Reply:
        (given,) = _expressions(call, 1)
        found = self._ask(call, expressions=[data(given)])
        equal = _equal(given, found)
        check = None if equal is None else (lambda: None if equal else f"{found} is not equal to what was given")
        return checked_reply(found, found, {"solver": "sympy"}, "sympy", check)

    def _same(self, call: Call) -> Reply:
        left, right = _expressions(call, 2)
        found = bool(self._ask(call, expressions=[data(left), data(right)]))
        equal = _decided(left, right)
        check = None if equal is None else (lambda: None if equal == found else f"exact arithmetic says {equal}")
        return checked_reply(found, "equal" if found else "not equal", {"solver": "sympy"}, "sympy", check)

    def _evaluate(self, call: Call) -> Reply:
        (given,) = _expressions(call, 1)
        free = unknowns([given])
        if free:
            raise ProgramError(f"{', '.join(free)}: only an expression of numbers has a value")
        digits = call.params.get("digits") or DIGITS
        if not isinstance(digits, int) or not 1 <= digits <= 1000:
            raise BadRequestError(f"evaluate: digits takes a whole number from 1 to 1000, got {digits!r}")
        found = self._ask(call, expressions=[data(given)], digits=digits)
        return checked_reply(found, found, {"solver": "sympy"}, "sympy", None)

    def _solve(self, call: Call) -> Reply:
        lines = "\n".join(texts_of(call, 1, 20))
        equations = parse_equations(lines, letters=bool(call.params.get("letters")))
        names = call.params.get("unknowns") or unknowns([side for one in equations for side in (one.left, one.right)])
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise BadRequestError(f"solve: unknowns takes a list of names, got {names!r}")
        pairs = [[data(one.left), data(one.right)] for one in equations]
        found = self._ask(call, equations=pairs, unknowns=list(names))
        shown = [_solves(solution, equations) for solution in found]
        check = None if None in shown or not shown else (lambda: None if all(shown) else f"{found} do not solve it")
        text = (
            "; ".join(", ".join(f"{name} = {value}" for name, value in one.items()) for one in found) or "no solution"
        )
        return checked_reply(found, text, {"solver": "sympy"}, "sympy", check)

    def _rank(self, call: Call) -> Reply:
        matrix = parse_matrix(texts_of(call, 1, 1)[0])
        found = self._ask(call, matrix=[[data(entry) for entry in row] for row in matrix])
        exact = exact_rank(matrix)
        check = None if exact is None else (lambda: None if exact == found else f"elimination gives {exact}")
        return checked_reply(found, str(found), {"solver": "sympy"}, "sympy", check)


def _equal(given: Expression, found: str) -> bool | None:
    """Whether SymPy's text is equal to what was given; None where it is too large or of a form that is not read."""
    try:
        return _decided(given, parse_expression(found))
    except RejectedProgramError:
        return None


def _decided(left: Expression, right: Expression) -> bool | None:
    try:
        return same(left, right)
    except RejectedProgramError:
        return None


def _expressions(call: Call, count: int) -> list[Expression]:
    letters = bool(call.params.get("letters"))
    return [parse_expression(text, letters=letters) for text in texts_of(call, count, count)]


def unknowns(expressions: Sequence[Expression]) -> list[str]:
    """The names in expressions that are no constants, in order of the alphabet."""
    nodes = (node for expression in expressions for node in parts_of(expression))
    return sorted({node.name for node in nodes if isinstance(node, Symbol)} - CONSTANTS)


def exact_rank(matrix: Matrix) -> int | None:
    """The rank of a matrix of rational numbers, by elimination; None for other entries."""
    rows = [[evaluate(entry, {}) for entry in row] for row in matrix]
    if any(entry is None for row in rows for entry in row):
        return None
    return rank([[entry for entry in row if entry is not None] for row in rows])


def _solves(solution: dict[str, str], equations: Sequence[Equation]) -> bool | None:
    """Whether both sides are equal with the solution put in; None where exact arithmetic cannot say."""
    try:
        values = {name: parse_expression(text) for name, text in solution.items()}
    except RejectedProgramError:
        return None
    shown = [_decided(put(one.left, values), put(one.right, values)) for one in equations]
    return None if None in shown else all(shown)


def put(expression: Expression, values: Mapping[str, Expression]) -> Expression:
    """The expression with unknowns replaced."""
    if isinstance(expression, Symbol):
        return values.get(expression.name, expression)
    if isinstance(expression, Number):
        return expression
    return Operation(expression.kind, tuple(put(part, values) for part in expression.parts))


def data(expression: Expression) -> list[Any]:
    """An expression as the worker reads it."""
    if isinstance(expression, Number):
        return ["number", str(expression.value.numerator), str(expression.value.denominator)]
    if isinstance(expression, Symbol):
        return ["symbol", expression.name]
    return [expression.kind, *map(data, expression.parts)]
