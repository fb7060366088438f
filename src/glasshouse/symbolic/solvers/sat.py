"""python-sat: a model of a propositional formula, or a refutation that unit propagation can follow.

The solver is Glucose 4 (Audemard & Simon); its trace of learnt clauses is the refutation (DRUP; Heule, Hunt & Wetzler,
FMCAD 2013). `satisfaction.Satisfaction.check` follows it without the solver.
"""

from __future__ import annotations

import threading
from typing import Any

from glasshouse.symbolic.call import Call, Reply
from glasshouse.symbolic.errors import EngineTimeoutError
from glasshouse.symbolic.logic_programs.tree import Formula
from glasshouse.symbolic.solvers.packages import package
from glasshouse.symbolic.solvers.questions import formula_of, satisfaction_reply, seconds_of
from glasshouse.symbolic.solvers.satisfaction import Clauses, Satisfaction


class PythonSat:
    """The engine for `sat` calls; their input is a formula, or several that have to hold together."""

    name = "python-sat"
    kinds = frozenset({"sat"})

    def run(self, call: Call) -> Reply:
        """Whether the formula can hold, with a model or a refutation, checked."""
        formula = formula_of(call)
        return satisfaction_reply(satisfy(formula, seconds=seconds_of(call)), formula)


def satisfy(formula: Formula, *, seconds: float = 10.0) -> Satisfaction:
    """A model or a refutation. Raises `EngineTimeoutError` after `seconds`."""
    made = Clauses.of(formula)
    with package("pysat.solvers").Solver(name="glucose4", bootstrap_with=made.clauses, with_proof=True) as solver:
        found = _within(solver, seconds)
        if found:
            true = set(solver.get_model())
            return Satisfaction("python-sat", {atom: number in true for atom, number in made.numbers.items()})
        return Satisfaction("python-sat", None, _refutation(solver.get_proof() or []))


def _within(solver: Any, seconds: float) -> bool:
    """The solver's answer, interrupted when it takes too long."""
    timer = threading.Timer(seconds, solver.interrupt)
    timer.start()
    try:
        answer = solver.solve_limited(expect_interrupt=True)
    finally:
        timer.cancel()
    if answer is None:
        raise EngineTimeoutError(f"python-sat did not decide the formula within {seconds:g} s; give it more")
    return bool(answer)


def _refutation(lines: list[str]) -> list[tuple[int, ...]]:
    """Learnt clauses in order, up to the empty one, which ends it; deletions are left out."""
    added = [tuple(int(word) for word in line.split()[:-1]) for line in lines if not line.startswith("d")]
    return [clause for clause in added if clause] + [()]
