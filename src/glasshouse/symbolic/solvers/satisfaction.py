"""Propositional satisfiability: what a solver answers, clauses for it, the truth table, and the checks of both answers.

Clauses are made with one variable for each subformula (Tseitin, 1968). Atoms without arguments are the propositions; an
atom of named things is a proposition too, an atom with variables is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from glasshouse.symbolic.errors import RejectedProgramError
from glasshouse.symbolic.logic_programs.limits import ProgramError
from glasshouse.symbolic.logic_programs.tree import Atom, Connective, Constant, Formula, Quantifier, atoms, subformulas
from glasshouse.symbolic.solvers.proofs import Interpretation, check_refutation

Clause = tuple[int, ...]
TABLE_ATOMS = 20


@dataclass(frozen=True, slots=True)
class Satisfaction:
    """A model, or none.

    Attributes:
        solver: who answered.
        model: the value of every proposition, or None when the formula cannot hold.
        refutation: for none, clauses that follow one after the other by unit propagation, the last of them empty.
    """

    solver: str
    model: Mapping[Atom, bool] | None
    refutation: Sequence[Clause] | None = None

    @property
    def satisfiable(self) -> bool:
        """Whether there is a model."""
        return self.model is not None

    def check(self, formula: Formula) -> str | None:
        """Nothing when the evidence shows the answer; otherwise what is wrong, or missing."""
        if self.model is not None:
            return None if true_under(formula, self.model) else "the formula is false in the model"
        if self.refutation is None:
            return f"{self.solver} gives no refutation"
        return check_refutation(Clauses.of(formula).clauses, self.refutation)

    def evidence(self) -> dict[str, Any]:
        """The model or the refutation as JSON data."""
        if self.model is not None:
            return {"solver": self.solver, "model": {str(_named(atom)): value for atom, value in self.model.items()}}
        return {"solver": self.solver, "refutation": self.refutation and [list(clause) for clause in self.refutation]}


def _named(atom: Atom) -> str:
    return f"{atom.predicate}({', '.join(map(str, atom.terms))})" if atom.terms else atom.predicate


def propositions(formula: Formula) -> tuple[Atom, ...]:
    """Its atoms. Raises `ProgramError` for a quantifier, a variable or an equality."""
    for node in subformulas(formula):
        if isinstance(node, Quantifier):
            raise ProgramError(
                f"{node.kind} ${node.variable.name}: a propositional solver takes no quantifiers; use Z3"
            )
        if isinstance(node, Atom) and node.predicate == "=":
            raise ProgramError("a propositional solver takes no equality; use Z3")
    return atoms(formula)


def true_under(formula: Formula, model: Mapping[Atom, bool]) -> bool:
    """Whether a propositional formula is true, by the definition of its connectives."""
    things = {term: number for number, term in enumerate(_things(model))}
    true = frozenset((atom.predicate, tuple(things[_constant(t)] for t in atom.terms)) for atom in model if model[atom])
    return Interpretation(len(things), things, true).holds(formula)


def _things(model: Iterable[Atom]) -> Iterable[Constant]:
    return dict.fromkeys(_constant(term) for atom in model for term in atom.terms)


def _constant(term: object) -> Constant:
    if not isinstance(term, Constant):
        raise ProgramError(f"{term} is a variable; a propositional solver takes named things only")
    return term


def truth_table(formula: Formula) -> Satisfaction:
    """The first model in the order of the table. Raises `RejectedProgramError` beyond 20 propositions."""
    names = propositions(formula)
    if len(names) > TABLE_ATOMS:
        raise RejectedProgramError(f"a truth table of {len(names)} propositions (limit {TABLE_ATOMS})")
    for values in itertools.product((False, True), repeat=len(names)):
        model = dict(zip(names, values, strict=True))
        if true_under(formula, model):
            return Satisfaction("truth table", model)
    return Satisfaction("truth table", None)


@dataclass
class Clauses:
    """Clauses that hold together exactly when the formula does; `numbers` gives each proposition its variable."""

    numbers: dict[Atom, int] = field(default_factory=dict)
    clauses: list[Clause] = field(default_factory=list)
    count: int = 0

    @staticmethod
    def of(formula: Formula) -> Clauses:
        """The clauses of a formula; the same formula always gives the same clauses."""
        made = Clauses()
        made.numbers = {atom: made.fresh() for atom in propositions(formula)}
        made.clauses.append((made.literal(formula),))
        return made

    def fresh(self) -> int:
        """A new variable."""
        self.count += 1
        return self.count

    def literal(self, formula: Formula) -> int:
        """A literal that is true exactly when the formula is."""
        if isinstance(formula, Atom):
            return self.numbers[formula]
        if not isinstance(formula, Connective):
            raise ProgramError("a propositional solver takes no quantifiers; use Z3")
        parts = [self.literal(part) for part in formula.parts]
        if formula.kind == "not":
            return -parts[0]
        if formula.kind == "and":
            return -self._any([-part for part in parts])
        if formula.kind == "or":
            return self._any(parts)
        if formula.kind == "implies":
            return self._any([-parts[0], parts[1]])
        result = parts[0]
        for part in parts[1:]:
            result = self._xor(result, part)
        return -result if formula.kind == "iff" else result

    def _any(self, parts: Sequence[int]) -> int:
        name = self.fresh()
        self.clauses.append((-name, *parts))
        self.clauses += [(name, -part) for part in parts]
        return name

    def _xor(self, left: int, right: int) -> int:
        name = self.fresh()
        self.clauses += [(-name, left, right), (-name, -left, -right), (name, -left, right), (name, left, -right)]
        return name
