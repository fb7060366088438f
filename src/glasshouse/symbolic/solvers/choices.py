"""What a puzzle solver answers, and the meaning of a puzzle's conditions without a solver."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glasshouse.symbolic.call import Reply
from glasshouse.symbolic.logic_programs.puzzle import AllDifferent, Comparison, Condition, Puzzle, Sum
from glasshouse.symbolic.solvers.questions import checked_reply

EXHAUSTIVE = 20_000
Assignment = Mapping[str, int]
RELATIONS = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choices:
    """Which options of a puzzle follow.

    Attributes:
        solver: who answered.
        without: for each option a solution in which it is false, or None when there is none: then it follows.
        consistent: whether the puzzle has a solution at all.
    """

    solver: str
    without: Mapping[str, Assignment | None]
    consistent: bool = True

    @property
    def follow(self) -> tuple[str, ...]:
        """The letters of the options that hold in every solution."""
        return tuple(letter for letter, solution in self.without.items() if solution is None)

    def evidence(self) -> dict[str, Any]:
        """The counter-examples as JSON data."""
        counter = {letter: dict(solution) for letter, solution in self.without.items() if solution is not None}
        return {"solver": self.solver, "consistent": self.consistent, "counter_examples": counter}


def choices_reply(choices: Choices, puzzle: Puzzle) -> Reply:
    """The reply of a `choose` call: the letters that follow, in order; counter-examples of the others are checked.

    Verified only where an exhaustive count is cheap (`EXHAUSTIVE` assignments): it alone shows that an option follows.
    """
    if not choices.consistent:
        return checked_reply([], "the conditions contradict each other", choices.evidence(), choices.solver, None)
    text = f"follows: {', '.join(choices.follow) or 'no option'}"
    size = math.prod(len(values) for values in puzzle.domains.values())
    check = (lambda: check_choices(choices, puzzle)) if size <= EXHAUSTIVE else None
    return checked_reply(list(choices.follow), text, choices.evidence(), choices.solver, check)


def check_choices(choices: Choices, puzzle: Puzzle) -> str | None:
    """Nothing when counting through all assignments gives the same options; otherwise what is wrong."""
    if problem := check_counter_examples(choices, puzzle):
        return problem
    follow = list(puzzle.options)
    for values in itertools.product(*puzzle.domains.values()):
        assignment = dict(zip(puzzle.domains, values, strict=True))
        if all(holds(condition, assignment) for condition in puzzle.conditions):
            follow = [letter for letter in follow if holds(puzzle.options[letter], assignment)]
    return None if tuple(follow) == choices.follow else f"counting gives {follow}, the solver {list(choices.follow)}"


def holds(condition: Condition, values: Assignment) -> bool:
    """Whether a condition is true of these values, by its definition."""
    if isinstance(condition, AllDifferent):
        chosen = [values[name] for name in condition.variables]
        return len(set(chosen)) == len(chosen)
    if isinstance(condition, Comparison):
        return bool(RELATIONS[condition.relation](_value(condition.left, values), _value(condition.right, values)))
    if condition.kind == "not":
        return not holds(condition.parts[0], values)
    return (all if condition.kind == "and" else any)(holds(part, values) for part in condition.parts)


def _value(side: Sum, values: Assignment) -> int:
    return side.constant + sum(sign * values[name] for sign, name in side.variables)


def check_counter_examples(choices: Choices, puzzle: Puzzle) -> str | None:
    """Nothing when every counter-example solves the puzzle without its option; otherwise what is wrong."""
    for letter, solution in choices.without.items():
        if solution is None:
            continue
        if any(solution[name] not in values for name, values in puzzle.domains.items()):
            return f"the counter-example to {letter} leaves a domain: {dict(solution)}"
        if not all(holds(condition, solution) for condition in puzzle.conditions):
            return f"the counter-example to {letter} breaks a condition: {dict(solution)}"
        if holds(puzzle.options[letter], solution):
            return f"option {letter} holds in its counter-example: {dict(solution)}"
    return None
