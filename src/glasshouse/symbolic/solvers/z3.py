"""Z3: first-order formulas, and puzzles over whole numbers (de Moura & Bjørner, TACAS 2008).

Follows when the premises and the denial of the conclusion have no model; where Z3 finds one, it is read out as a finite
interpretation that `proofs.Interpretation` evaluates by itself. Each call has a context of its own, so calls may run in
threads. Z3's own proofs are not checked here.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping
from typing import Any

from glasshouse.symbolic.call import Call, Reply
from glasshouse.symbolic.errors import EngineTimeoutError
from glasshouse.symbolic.logic_programs.formulas_text import constants
from glasshouse.symbolic.logic_programs.puzzle import AllDifferent, Comparison, Condition, Puzzle, Sum, parse_puzzle
from glasshouse.symbolic.logic_programs.tree import (
    Atom,
    Connective,
    Formula,
    FormulaProgram,
    Quantifier,
    Variable,
    atoms,
    negation,
)
from glasshouse.symbolic.solvers.choices import RELATIONS, Choices, choices_reply
from glasshouse.symbolic.solvers.packages import package
from glasshouse.symbolic.solvers.proofs import Interpretation
from glasshouse.symbolic.solvers.questions import (
    checked_reply,
    formula_of,
    formulas_of,
    seconds_of,
    texts_of,
    verdict_reply,
)
from glasshouse.symbolic.solvers.verdict import Verdict, interpretation_data


class Z3:
    """The engine for `entail` calls on first-order formulas, `sat` calls on formulas and `choose` calls on puzzles."""

    name = "z3"
    kinds = frozenset({"entail", "sat", "choose"})

    def run(self, call: Call) -> Reply:
        """An answer, verified where it comes with a model: Z3's own proofs are not checked."""
        if call.kind == "choose":
            puzzle = parse_puzzle(texts_of(call, 1, 1)[0])
            return choices_reply(choose(puzzle, seconds=seconds_of(call)), puzzle)
        if call.kind == "sat":
            return self._satisfiable(call)
        program = formulas_of(call)
        verdict = entails(program, seconds=seconds_of(call))
        return verdict_reply(verdict, None if len(verdict.models) < 2 else lambda: check_models(verdict, program))

    def _satisfiable(self, call: Call) -> Reply:
        formula = formula_of(call)
        found = model([formula], seconds=seconds_of(call))
        if isinstance(found, str):
            raise EngineTimeoutError(f"z3 did not decide the formula: {found}")
        if found is None:
            return checked_reply(False, "it cannot hold", {"solver": "z3"}, "z3", None)
        problem = None if found.holds(formula) else "the formula is false in the model"
        return checked_reply(True, "it can hold", interpretation_data(found), "z3", lambda: problem)


def check_models(verdict: Verdict, program: FormulaProgram) -> str | None:
    """Nothing when the premises hold in both models, the conclusion in one and its denial in the other."""
    for number, found in enumerate(verdict.models):
        if not all(found.holds(premise) for premise in program.premises):
            return f"model {number} breaks a premise"
    values = [found.holds(program.conclusion) for found in verdict.models]
    return None if values == [False, True] else f"the conclusion is {values} in the models; expected False, then True"


def entails(program: FormulaProgram, *, seconds: float = 10.0) -> Verdict:
    """Whether the conclusion follows, its denial does, or neither; `undecided` says why where Z3 gave up."""
    deadline = time.monotonic() + seconds
    models: list[Interpretation] = []
    reasons: list[str] = []
    for answer, target in ((True, negation(program.conclusion)), (False, program.conclusion)):
        found = model([*program.premises, target], seconds=deadline - time.monotonic())
        if found is None:
            return Verdict(answer, "z3", models=tuple(models))
        if isinstance(found, Interpretation):
            models.append(found)
        else:
            reasons.append(found)
    return Verdict(None, "z3", models=tuple(models), undecided="; ".join(reasons))


def model(formulas: Iterable[Formula], *, seconds: float = 10.0) -> Interpretation | str | None:
    """A finite interpretation in which all formulas hold, None when there is none, or why Z3 cannot say."""
    formulas = list(formulas)
    translation = _Translation(formulas)
    solver = translation.solver
    if seconds <= 0:
        return "timeout"
    solver.set("timeout", max(1, int(seconds * 1000)))
    for formula in formulas:
        solver.add(translation.formula(formula, {}))
    answer = str(solver.check())
    if answer == "unsat":
        return None
    if answer == "unknown":
        return str(solver.reason_unknown())
    found = translation.interpretation(solver.model())
    broken = next((formula for formula in formulas if not found.holds(formula)), None)
    return found if broken is None else f"the model that Z3 gives does not satisfy {broken}"


class _Translation:
    """Formulas as Z3 terms over one sort of things."""

    def __init__(self, formulas: list[Formula]) -> None:
        self.z3 = package("z3")
        self.context = self.z3.Context()
        self.solver = self.z3.Solver(ctx=self.context)
        self.sort = self.z3.DeclareSort("Thing", self.context)
        self.constants = {constant: self.z3.Const(f"c:{constant.name}", self.sort) for constant in constants(formulas)}
        self.predicates: dict[tuple[str, int], Any] = {}
        for atom in (atom for formula in formulas for atom in atoms(formula) if atom.predicate != "="):
            key = (atom.predicate, len(atom.terms))
            boolean = self.z3.BoolSort(self.context)
            self.predicates[key] = self.z3.Function(f"p:{atom.predicate}", *[self.sort] * key[1], boolean)

    def formula(self, formula: Formula, bound: Mapping[Variable, Any]) -> Any:
        """A Z3 term for a formula."""
        z3 = self.z3
        if isinstance(formula, Atom):
            things = [bound[t] if isinstance(t, Variable) else self.constants[t] for t in formula.terms]
            if formula.predicate == "=":
                return things[0] == things[1]
            return self.predicates[formula.predicate, len(things)](*things)
        if isinstance(formula, Quantifier):
            thing = z3.FreshConst(self.sort)
            body = self.formula(formula.body, {**bound, formula.variable: thing})
            return (z3.ForAll if formula.kind == "forall" else z3.Exists)([thing], body)
        parts = [self.formula(part, bound) for part in formula.parts]
        return _connect(z3, formula, parts)

    def interpretation(self, found: Any) -> Interpretation:
        """The finite interpretation in a Z3 model."""
        universe = found.get_universe(self.sort) if self.sort in found.sorts() else None
        things = list(universe) if universe else [self.z3.FreshConst(self.sort)]
        numbers = {str(thing): number for number, thing in enumerate(things)}
        named = {
            constant: numbers.get(str(found.evaluate(term, model_completion=True)), 0)
            for constant, term in self.constants.items()
        }
        true = {
            (name, places)
            for (name, arity), function in self.predicates.items()
            for places in itertools.product(range(len(things)), repeat=arity)
            if self.z3.is_true(found.evaluate(function(*(things[place] for place in places)), model_completion=True))
        }
        return Interpretation(len(things), named, frozenset(true))


def _connect(z3: Any, formula: Connective, parts: list[Any]) -> Any:
    if formula.kind == "not":
        return z3.Not(parts[0])
    if formula.kind == "and":
        return z3.And(*parts)
    if formula.kind == "or":
        return z3.Or(*parts)
    if formula.kind == "implies":
        return z3.Implies(*parts)
    if formula.kind == "iff":
        return parts[0] == parts[1]
    result = parts[0]
    for part in parts[1:]:
        result = z3.Xor(result, part)
    return result


def choose(puzzle: Puzzle, *, seconds: float = 10.0) -> Choices:
    """Which options hold in every solution of a puzzle, and a solution without it for each that does not.

    Raises `EngineTimeoutError` after `seconds`.
    """
    z3, deadline = package("z3"), time.monotonic() + seconds
    context = z3.Context()
    solver = z3.Solver(ctx=context)
    variables = {name: z3.Int(name, context) for name in puzzle.domains}
    for name, values in puzzle.domains.items():
        solver.add(z3.Or(*[variables[name] == value for value in values], z3.BoolVal(False, context)))
    for condition in puzzle.conditions:
        solver.add(_condition(z3, condition, variables))

    def solution(*extra: Any) -> dict[str, int] | None:
        left = deadline - time.monotonic()
        solver.set("timeout", max(1, int(left * 1000)))
        answer = str(solver.check(*extra)) if left > 0 else "unknown"
        if answer == "unknown":
            raise EngineTimeoutError(
                f"z3 did not solve the puzzle within {seconds:g} s; give it more, or a smaller puzzle"
            )
        if answer == "unsat":
            return None
        found = solver.model()
        return {name: found.evaluate(term, model_completion=True).as_long() for name, term in variables.items()}

    if solution() is None:
        return Choices("z3", {}, consistent=False)
    without = {letter: solution(z3.Not(_condition(z3, option, variables))) for letter, option in puzzle.options.items()}
    return Choices("z3", without)


def _condition(z3: Any, condition: Condition, variables: Mapping[str, Any]) -> Any:
    if isinstance(condition, AllDifferent):
        return z3.Distinct(*[variables[name] for name in condition.variables])
    if isinstance(condition, Comparison):
        left, right = (_sum(z3, side, variables) for side in (condition.left, condition.right))
        return RELATIONS[condition.relation](left, right)
    parts = [_condition(z3, part, variables) for part in condition.parts]
    return z3.Not(parts[0]) if condition.kind == "not" else (z3.And if condition.kind == "and" else z3.Or)(*parts)


def _sum(z3: Any, side: Sum, variables: Mapping[str, Any]) -> Any:
    context = next(iter(variables.values())).ctx
    total = z3.IntVal(side.constant, context)
    for sign, name in side.variables:
        total = total + sign * variables[name]
    return total
