"""Statements in words, checked by a solver: what a text claims, and whether it is so.

A statement near the reference text scores high in VERTEX whether it is true or not. These checks read the claim out of
the text with a fixed pattern and decide it; a text in which no claim is found is undecided, never true.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from glasshouse.symbolic.errors import RejectedProgramError
from glasshouse.symbolic.logic_programs.algebra import Expression, parse_expression, parse_matrix
from glasshouse.symbolic.logic_programs.limits import ProgramError
from glasshouse.symbolic.logic_programs.rules_text import parse_statement, rule_program
from glasshouse.symbolic.logic_programs.tree import Constant, Literal, Rule, Variable
from glasshouse.symbolic.solvers import horn
from glasshouse.symbolic.solvers.polynomials import same
from glasshouse.symbolic.solvers.sympy import exact_rank, unknowns

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DEPENDENCE = re.compile(r"((?:\bnot\s+|n't\s+)?)(?:linear(?:ly)?\s+)?\b(in)?dependen(?:t|ce)\b", re.IGNORECASE)
_DAY = re.compile(rf"\bis\s+(not\s+)?(?:a\s+)?({'|'.join(DAYS)})\b|n't\s+(?:a\s+)?({'|'.join(DAYS)})\b", re.IGNORECASE)


class Checked(NamedTuple):
    """Whether a statement is so (None: undecided), and why."""

    holds: bool | None
    why: str


def dependence(text: str, vectors: str) -> Checked:
    """A statement that the rows of a matrix are linearly dependent or independent."""
    rank = exact_rank(rows := parse_matrix(vectors))
    if rank is None:
        return Checked(None, "the matrix has entries that are not rational")
    said = {bool(found[2]) ^ bool(found[1]) for found in _DEPENDENCE.finditer(text)}
    if len(said) != 1:
        return Checked(None, "the text says both" if said else "the text says nothing of linear dependence")
    independent = rank == len(rows)
    why = f"rank {rank} of {len(rows)} vectors: linearly {'independent' if independent else 'dependent'}"
    return Checked(said.pop() == independent, why)


def equal_expression(text: str, expression: str, *, letters: bool = True) -> Checked:
    """A statement that an expression can be written as another one, such as its factorisation.

    The other one is the longest part of the text that is an expression in unknowns of the first.
    """
    given = parse_expression(expression, letters=letters)
    found = next(_expressions(text, set(unknowns([given])), letters), None)
    if found is None:
        return Checked(None, "the text holds no expression in these unknowns")
    try:
        equal = same(given, found[1])
    except RejectedProgramError as error:
        return Checked(None, str(error))
    if equal is None:
        return Checked(None, f"{found[0]} is no quotient of polynomials")
    return Checked(equal, f"{found[0]} is {'equal to' if equal else 'not'} {expression}")


def _expressions(text: str, names: set[str], letters: bool) -> Iterator[tuple[str, Expression]]:
    """Parts of a text between colons, equals signs, words and full stops that are expressions in these names."""
    for part in sorted(re.split(r"[:=\n]|\.(?:\s|$)|\b(?:is|are|as|to|gives|or|and)\b", text), key=len, reverse=True):
        try:
            found = parse_expression(part.strip(" .,;`$"), letters=letters)
        except ProgramError:
            continue
        if set(unknowns([found])) and set(unknowns([found])) <= names:
            yield part.strip(" .,;`$"), found


def weekday(text: str, statements: Sequence[str]) -> Checked:
    """A statement that today is, or is not, some day of the week, given facts and rules (`rules_text`).

    They speak of `Day(Today, Sunday)`; that a day is no two days of the week is added.
    """
    said = {((found[2] or found[3]).capitalize(), not (found[1] or found[3])) for found in _DAY.finditer(text)}
    named = {day for day in DAYS if day.lower() in text.lower()}
    if len(said) != 1 or len(named) != 1:
        return Checked(None, "the text names several days" if named else "the text does not say which day it is")
    name, positive = said.pop()
    given = [rule for line in statements for rule in parse_statement(line)]
    goal = Literal("Day", (Constant("Today"), Constant(name)), positive)
    verdict = horn.entails(rule_program([*given, *_one_day()], goal))
    if verdict.answer is None:
        return Checked(None, f"neither {goal} nor its denial follows")
    steps = "; ".join(str(step.literal) for step in verdict.proof or ())
    return Checked(verdict.answer, f"{goal if verdict.answer else goal.negated} follows: {steps}")


def _one_day() -> Iterable[Rule]:
    day = Variable("day")
    for one in DAYS:
        for other in DAYS:
            if one != other:
                yield Rule((Literal("Day", (day, Constant(one))),), Literal("Day", (day, Constant(other)), False))
