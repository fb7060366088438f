"""The typed trees: rules over literals, and first-order formulas. Values only; solvers give them meaning.

Rules are free of function symbols, so that what follows from them is finite. A literal is an atom with a sign; in rules
the negated literal is an atom of its own (open world): it holds when it is stated or derived, not when its atom fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal as OneOf


@dataclass(frozen=True, slots=True)
class Variable:
    """Stands for any thing."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True, slots=True)
class Constant:
    """Names a thing."""

    name: str

    def __str__(self) -> str:
        return self.name


Term = Variable | Constant


@dataclass(frozen=True, slots=True)
class Literal:
    """A predicate of terms, stated or denied."""

    predicate: str
    terms: tuple[Term, ...] = ()
    positive: bool = True

    @property
    def negated(self) -> Literal:
        """The opposite statement."""
        return Literal(self.predicate, self.terms, not self.positive)

    @property
    def ground(self) -> bool:
        """Whether it has no variables."""
        return all(isinstance(term, Constant) for term in self.terms)

    def __str__(self) -> str:
        return f"{self.predicate}({', '.join([*map(str, self.terms), str(self.positive)])})"


@dataclass(frozen=True, slots=True)
class Rule:
    """The head follows from the body; a fact is a rule without a body."""

    body: tuple[Literal, ...]
    head: Literal

    def __str__(self) -> str:
        return f"{' && '.join(map(str, self.body))} >>> {self.head}" if self.body else str(self.head)


@dataclass(frozen=True, slots=True)
class RuleProgram:
    """Facts and rules, what is asked of them, and statements that were put aside."""

    rules: tuple[Rule, ...]
    goal: Literal
    aside: tuple[Literal, ...] = ()

    @property
    def constants(self) -> tuple[Constant, ...]:
        """Every thing that is named, in order of appearance; what variables range over."""
        seen: dict[Constant, None] = {}
        for literal in self.literals():
            seen.update((term, None) for term in literal.terms if isinstance(term, Constant))
        return tuple(seen)

    def literals(self) -> Iterator[Literal]:
        """Every literal of the program."""
        for rule in self.rules:
            yield from rule.body
            yield rule.head
        yield self.goal


@dataclass(frozen=True, slots=True)
class Atom:
    """A predicate of terms; without terms, a proposition. `=` is the predicate of equality."""

    predicate: str
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Connective:
    """`not` has one part, `implies` and `iff` two, `and`, `or`, `xor` two or more (`xor`: an odd number holds)."""

    kind: OneOf["not", "and", "or", "xor", "implies", "iff"]
    parts: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Quantifier:
    """`forall` or `exists` over one variable."""

    kind: OneOf["forall", "exists"]
    variable: Variable
    body: Formula


Formula = Atom | Connective | Quantifier


@dataclass(frozen=True, slots=True)
class FormulaProgram:
    """Premises, and a conclusion to be decided."""

    premises: tuple[Formula, ...]
    conclusion: Formula


def negation(formula: Formula) -> Formula:
    """Its denial."""
    return Connective("not", (formula,))


def subformulas(formula: Formula) -> Iterator[Formula]:
    """Every node of a formula, itself first."""
    waiting = [formula]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Connective):
            waiting += reversed(node.parts)
        elif isinstance(node, Quantifier):
            waiting.append(node.body)


def height(formula: Formula) -> int:
    """Nodes on its longest path; found without recursion, so that it can be asked of any formula."""
    deepest, waiting = 0, [(formula, 1)]
    while waiting:
        node, level = waiting.pop()
        deepest = max(deepest, level)
        if isinstance(node, Connective):
            waiting += [(part, level + 1) for part in node.parts]
        elif isinstance(node, Quantifier):
            waiting.append((node.body, level + 1))
    return deepest


def atoms(formula: Formula) -> tuple[Atom, ...]:
    """Its different atoms, in order."""
    return tuple(dict.fromkeys(node for node in subformulas(formula) if isinstance(node, Atom)))
