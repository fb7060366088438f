"""OR-tools CP-SAT: which options of a puzzle over whole numbers hold in all its solutions (Perron & Didier, Google)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Any

from glasshouse.symbolic.call import Call, Reply
from glasshouse.symbolic.errors import EngineTimeoutError
from glasshouse.symbolic.logic_programs.puzzle import AllDifferent, Comparison, Condition, Puzzle, Sum, parse_puzzle
from glasshouse.symbolic.solvers.choices import RELATIONS, Assignment, Choices, choices_reply
from glasshouse.symbolic.solvers.packages import package
from glasshouse.symbolic.solvers.questions import seconds_of, texts_of

_DENIED = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}


class OrTools:
    """The engine for `choose` calls; their input is a puzzle in sections."""

    name = "or-tools"
    kinds = frozenset({"choose"})

    def run(self, call: Call) -> Reply:
        """The letters of the options that follow; the others with a counter-example, checked."""
        puzzle = parse_puzzle(texts_of(call, 1, 1)[0])
        return choices_reply(choose(puzzle, seconds=seconds_of(call)), puzzle)


def choose(puzzle: Puzzle, *, seconds: float = 10.0) -> Choices:
    """Which options hold in every solution, and a solution without it for each that does not.

    Raises `EngineTimeoutError` after `seconds`.
    """
    deadline = time.monotonic() + seconds
    if _solution(puzzle, None, deadline) is None:
        return Choices("or-tools", {}, consistent=False)
    without = {letter: _solution(puzzle, option, deadline) for letter, option in puzzle.options.items()}
    return Choices("or-tools", without)


def _solution(puzzle: Puzzle, denied: Condition | None, deadline: float) -> Assignment | None:
    """A solution in which the denied condition is false, or None when there is none."""
    cp_model = package("ortools.sat.python.cp_model")
    made = _Model(cp_model, puzzle)
    for condition in puzzle.conditions:
        made.model.add_bool_and([made.literal(condition)])
    if denied is not None:
        made.model.add_bool_and([~made.literal(denied)])
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_time_in_seconds = max(0.0, deadline - time.monotonic())
    status = solver.solve(made.model)
    if status == cp_model.INFEASIBLE:
        return None
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        raise EngineTimeoutError("or-tools did not solve the puzzle in time; give it more, or a smaller puzzle")
    return {name: int(solver.value(variable)) for name, variable in made.variables.items()}


class _Model:
    """A puzzle as a model; every condition gets a literal that is true exactly when it holds."""

    def __init__(self, cp_model: Any, puzzle: Puzzle) -> None:
        self.model = cp_model.CpModel()
        domain = cp_model.Domain.from_values
        self.variables: Mapping[str, Any] = {
            name: self.model.new_int_var_from_domain(domain(list(values)), name)
            for name, values in puzzle.domains.items()
        }

    def literal(self, condition: Condition) -> Any:
        """The literal of a condition."""
        if isinstance(condition, Comparison):
            return self._comparison(condition)
        if isinstance(condition, AllDifferent):
            pairs = itertools.combinations(condition.variables, 2)
            parts = [
                self._comparison(Comparison("!=", Sum(0, ((1, left),)), Sum(0, ((1, right),)))) for left, right in pairs
            ]
            return self._all(parts)
        parts = [self.literal(part) for part in condition.parts]
        if condition.kind == "not":
            return ~parts[0]
        return self._all(parts) if condition.kind == "and" else ~self._all([~part for part in parts])

    def _all(self, parts: list[Any]) -> Any:
        name = self.model.new_bool_var("")
        self.model.add_bool_and(parts).only_enforce_if(name)
        self.model.add_bool_or([~part for part in parts]).only_enforce_if(~name)
        return name

    def _comparison(self, condition: Comparison) -> Any:
        left, right = (self._sum(side) for side in (condition.left, condition.right))
        name = self.model.new_bool_var("")
        self.model.add(RELATIONS[condition.relation](left, right)).only_enforce_if(name)
        self.model.add(RELATIONS[_DENIED[condition.relation]](left, right)).only_enforce_if(~name)
        return name

    def _sum(self, side: Sum) -> Any:
        # A variable that is always one keeps comparisons of two plain numbers an expression of the model.
        terms = [sign * self.variables[name] for sign, name in side.variables]
        return sum(terms, side.constant * self.model.new_constant(1))
