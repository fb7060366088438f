"""From a call to a typed program, and from an answer with its evidence to a reply that says whether it was checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from glasshouse.symbolic.call import Call, Reply
from glasshouse.symbolic.errors import BadRequestError, EngineError
from glasshouse.symbolic.logic_programs.formulas_text import FREE, parse_formula, parse_formulas
from glasshouse.symbolic.logic_programs.limits import DEFAULT, ProgramError
from glasshouse.symbolic.logic_programs.rules_text import parse_literal, parse_rules, parse_statement, rule_program
from glasshouse.symbolic.logic_programs.tree import Connective, Formula, FormulaProgram, RuleProgram
from glasshouse.symbolic.solvers.satisfaction import Satisfaction
from glasshouse.symbolic.solvers.verdict import Verdict

SECONDS = 10.0
"""What a call without a time limit may take."""


class UnsoundError(EngineError):
    """A solver's evidence does not show its answer; the answer is not given."""


def seconds_of(call: Call) -> float:
    """The time limit of a call."""
    return SECONDS if call.budget.seconds is None else call.budget.seconds


def texts_of(call: Call, least: int, most: int) -> list[str]:
    """The operands, each a text or a list of lines. Raises `BadRequestError` when there are too few or too many."""
    if not least <= len(call.inputs) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise BadRequestError(f"{call.op}: a {call.kind} call takes {wanted} operands, got {len(call.inputs)}")
    return [_text(call, operand) for operand in call.inputs]


def _text(call: Call, operand: Any) -> str:
    lines = operand if isinstance(operand, list | tuple) else [operand]
    wrong = next((line for line in lines if not isinstance(line, str)), None)
    if wrong is not None:
        raise BadRequestError(f"{call.op}: a {call.kind} call takes text or lists of lines, got {wrong!r:.80}")
    return "\n".join(lines)


def rules_of(call: Call) -> RuleProgram:
    """One operand is a program in sections; two are its statements, one a line, and the goal.

    Statements may be meant for another solver of the runtime, so a bare `x`, a variable of formulas, is refused here.
    """
    texts = texts_of(call, 1, 2)
    if len(texts) == 1:
        return parse_rules(texts[0])
    statements = [rule for line in _lines(texts[0]) for rule in parse_statement(line)]
    program = rule_program(statements, parse_literal(texts[1]))
    for constant in program.constants:
        if len(constant.name) == 1 and constant.name in FREE:
            raise ProgramError(f"{constant.name!r} in rules: write ${constant.name} for a variable, or a longer name")
    return program


def formulas_of(call: Call) -> FormulaProgram:
    """One operand is a program in sections; two are the premises, one a line, and the conclusion."""
    texts = texts_of(call, 1, 2)
    if len(texts) == 1:
        return parse_formulas(texts[0])
    return FormulaProgram(tuple(parse_formula(line) for line in _lines(texts[0])), parse_formula(texts[1]))


def formula_of(call: Call) -> Formula:
    """One operand: formulas, one a line, that have to hold together."""
    lines = _lines(texts_of(call, 1, 1)[0])
    if not lines:
        raise BadRequestError(f"{call.op}: a {call.kind} call takes at least one formula, got none")
    found = tuple(parse_formula(line) for line in lines)
    return found[0] if len(found) == 1 else Connective("and", found)


def _lines(text: str) -> Sequence[str]:
    if len(text) > DEFAULT.characters:
        raise BadRequestError(f"the text has {len(text):,} characters; at most {DEFAULT.characters:,} are read")
    return [line for line in (line.split(":::")[0].strip() for line in text.splitlines()) if line]


def verdict_reply(verdict: Verdict, check: Callable[[], str | None] | None) -> Reply:
    """The reply of an `entail` call: True, False or None with its evidence, and whether that was checked."""
    text = {True: "it follows", False: "its denial follows", None: "neither it nor its denial follows"}[verdict.answer]
    text = f"undecided: {verdict.undecided}" if verdict.undecided else text
    return checked_reply(verdict.answer, text, verdict.evidence(), verdict.solver, check)


def satisfaction_reply(found: Satisfaction, formula: Formula) -> Reply:
    """The reply of a `sat` call."""
    text = "it can hold" if found.satisfiable else "it cannot hold"
    has_evidence = found.satisfiable or found.refutation is not None
    check = (lambda: found.check(formula)) if has_evidence else None
    return checked_reply(found.satisfiable, text, found.evidence(), found.solver, check)


def checked_reply(value: Any, text: str, evidence: Any, solver: str, check: Callable[[], str | None] | None) -> Reply:
    """Without a check nobody verified; a check that fails is an error, never an answer."""
    if check is not None and (problem := check()):
        raise UnsoundError(f"{solver} answered {text!r}, but its evidence does not show it: {problem}")
    return Reply(value, text=text, verified=None if check is None else True, evidence=evidence, model=solver)
