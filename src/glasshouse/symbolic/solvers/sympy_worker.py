"""SymPy in a process of its own, so that its time and memory can be bounded: one JSON request a line, one reply a line.

What arrives is a tree of a few known nodes, built here by a table of functions; no text reaches `sympify`. Started by
`sympy.Worker` with a bound on memory in bytes.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Sequence
from typing import Any


def build(sympy: Any, data: Sequence[Any]) -> Any:
    """A SymPy expression from `[kind, ...]`."""
    kind, *rest = data
    if kind == "number":
        return sympy.Rational(int(rest[0]), int(rest[1]))
    if kind == "symbol":
        return {"pi": sympy.pi, "E": sympy.E, "I": sympy.I}.get(rest[0]) or sympy.Symbol(rest[0])
    parts = [build(sympy, part) for part in rest]
    table = {
        "add": sympy.Add,
        "multiply": sympy.Mul,
        "divide": lambda above, below: above / below,
        "power": sympy.Pow,
        "sqrt": sympy.sqrt,
        "exp": sympy.exp,
        "log": sympy.log,
        "log2": lambda value: sympy.log(value, 2),
        "log10": lambda value: sympy.log(value, 10),
        "sin": sympy.sin,
        "cos": sympy.cos,
        "tan": sympy.tan,
        "abs": sympy.Abs,
    }
    return table[kind](*parts)


def answer(sympy: Any, request: dict[str, Any]) -> Any:
    """The reply to one request."""
    op = request["op"]
    if op == "rank_of":
        return sympy.Matrix([[build(sympy, entry) for entry in row] for row in request["matrix"]]).rank()
    if op == "solve":
        equations = [sympy.Eq(build(sympy, left), build(sympy, right)) for left, right in request["equations"]]
        unknowns = [sympy.Symbol(name) for name in request["unknowns"]]
        found = sympy.solve(equations, unknowns, dict=True)
        return [{str(name): str(value) for name, value in solution.items()} for solution in found]
    first = build(sympy, request["expressions"][0])
    if op == "same_expression":
        return sympy.simplify(first - build(sympy, request["expressions"][1])) == 0
    if op == "evaluate":
        value = first.evalf(request["digits"])
        if value.is_finite is not True:
            raise ValueError(f"the value is {value}")
        return str(value)
    return str({"simplify": sympy.simplify, "factor": sympy.factor, "expand": sympy.expand}[op](first))


def main(memory: int) -> None:
    """Answer until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    import sympy

    print(json.dumps({"ready": sympy.__version__}), flush=True)
    for line in sys.stdin:
        try:
            reply = {"value": answer(sympy, json.loads(line))}
        except MemoryError:
            reply = {"error": "out of memory"}
        except (ArithmeticError, NotImplementedError, RecursionError, TypeError, ValueError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
