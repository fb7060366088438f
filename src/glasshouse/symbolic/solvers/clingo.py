"""clingo: a model of a propositional formula as an answer set (Gebser et al., Multi-shot ASP solving, 2019).

The propositions are chosen freely, every other node of the formula is defined from its parts by rules, and the root has
to hold. That is another encoding than the clauses of `satisfaction`, and another solver. Nodes are numbers in the
program, so no text from outside reaches clingo's parser.
"""

from __future__ import annotations

from glasshouse.symbolic.call import Call, Reply
from glasshouse.symbolic.errors import EngineTimeoutError
from glasshouse.symbolic.logic_programs.limits import ProgramError
from glasshouse.symbolic.logic_programs.tree import Atom, Connective, Formula
from glasshouse.symbolic.solvers.packages import package
from glasshouse.symbolic.solvers.questions import formula_of, satisfaction_reply, seconds_of
from glasshouse.symbolic.solvers.satisfaction import Satisfaction, propositions


class Clingo:
    """The engine for `sat` calls; their input is a formula, or several that have to hold together."""

    name = "clingo"
    kinds = frozenset({"sat"})

    def run(self, call: Call) -> Reply:
        """Whether the formula can hold; a model is checked, for none clingo gives no refutation."""
        formula = formula_of(call)
        return satisfaction_reply(satisfy(formula, seconds=seconds_of(call)), formula)


def satisfy(formula: Formula, *, seconds: float = 10.0) -> Satisfaction:
    """A model, or none. Raises `EngineTimeoutError` after `seconds`."""
    names = propositions(formula)
    numbers = {atom: number for number, atom in enumerate(names, 1)}
    rules = [f"{{ true({number}) }}." for number in numbers.values()]
    root = _define(formula, numbers, rules)
    control = package("clingo").Control(["--warn=none"], message_limit=0)
    control.add("base", [], "\n".join([*rules, f":- not true({root})."]))
    control.ground([("base", [])])
    with control.solve(yield_=True, async_=True) as handle:
        if not handle.wait(seconds):
            handle.cancel()
            raise EngineTimeoutError(f"clingo did not decide the formula within {seconds:g} s; give it more")
        found = handle.model()
        if found is None:
            return Satisfaction("clingo", None)
        true = {symbol.arguments[0].number for symbol in found.symbols(atoms=True)}
    return Satisfaction("clingo", {atom: number in true for atom, number in numbers.items()})


def _define(formula: Formula, numbers: dict[Atom, int], rules: list[str]) -> int:
    """Rules that make `true(n)` hold exactly when the formula does; returns n."""
    if isinstance(formula, Atom):
        return numbers[formula]
    if not isinstance(formula, Connective):
        raise ProgramError("a propositional solver takes no quantifiers; use Z3")
    parts = [_define(part, numbers, rules) for part in formula.parts]
    if formula.kind in ("xor", "iff"):
        result = parts[0]
        for part in parts[1:]:
            result = _node(rules, [f"true({result}), not true({part})", f"not true({result}), true({part})"])
        return result if formula.kind == "xor" else _node(rules, [f"not true({result})"])
    bodies = {
        "not": [f"not true({parts[0]})"],
        "and": [", ".join(f"true({part})" for part in parts)],
        "or": [f"true({part})" for part in parts],
        "implies": [f"not true({parts[0]})", f"true({parts[-1]})"],
    }[formula.kind]
    return _node(rules, bodies)


def _node(rules: list[str], bodies: list[str]) -> int:
    """A new number, true by any of the bodies."""
    number = len(rules) + 1
    # One line holds all rules of a node, so the length of the list is the number of nodes so far.
    rules.append(" ".join(f"true({number}) :- {body}." for body in bodies))
    return number
