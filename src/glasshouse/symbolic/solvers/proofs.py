"""Independent checks of what the solvers answer; nothing here searches, and nothing here calls a solver.

proof            a list of steps, each an instance of a rule of the program whose premises are earlier steps
closed world     a set of literals that holds every fact and is closed under every rule: what is not in it, does not
                 follow (the least such set is the meaning of the program; any such set refutes)
interpretation   a finite universe and the atoms that hold in it; a formula is evaluated by its definition
refutation       clauses, each implied by unit propagation from those before (RUP); the last is empty
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from glasshouse.symbolic.logic_programs.tree import (
    Atom,
    Connective,
    Constant,
    Formula,
    Literal,
    Rule,
    Term,
    Variable,
)


@dataclass(frozen=True, slots=True)
class Step:
    """A ground literal, the number of the rule it is the head of, and the earlier steps that are the rule's body."""

    literal: Literal
    rule: int
    premises: tuple[int, ...] = ()


Proof = tuple[Step, ...]


def check_proof(proof: Proof, rules: Sequence[Rule], goal: Literal) -> str | None:
    """Nothing when the proof shows the goal from the rules; otherwise what is wrong with it."""
    if not proof or proof[-1].literal != goal:
        return "the last step is not the goal"
    for number, step in enumerate(proof):
        if not 0 <= step.rule < len(rules):
            return f"step {number} uses rule {step.rule}, which the program does not have"
        rule = rules[step.rule]
        if any(not 0 <= premise < number for premise in step.premises):
            return f"step {number} uses a step that does not come before it"
        given = (step.literal, *(proof[premise].literal for premise in step.premises))
        if not _is_instance(given, (rule.head, *rule.body)):
            return f"step {number}, {step.literal}, is no instance of rule {step.rule}: {rule}"
    return None


def _is_instance(given: Sequence[Literal], pattern: Sequence[Literal]) -> bool:
    """Whether one substitution of constants for variables makes every pattern its literal."""
    values: dict[Variable, Constant] = {}
    if len(given) != len(pattern):
        return False
    for literal, wanted in zip(given, pattern, strict=True):
        same = (literal.predicate, literal.positive, len(literal.terms))
        if same != (wanted.predicate, wanted.positive, len(wanted.terms)):
            return False
        for term, slot in zip(literal.terms, wanted.terms, strict=True):
            if not isinstance(term, Constant):
                return False
            if (values.setdefault(slot, term) if isinstance(slot, Variable) else slot) != term:
                return False
    return True


def check_closed_world(
    world: Set[Literal], rules: Sequence[Rule], constants: Sequence[Constant], goal: Literal
) -> str | None:
    """Nothing when the world is closed under the rules and lacks the goal; otherwise what is wrong.

    Tries every instance of every rule; `instances` says how many there are.
    """
    if goal in world:
        return f"{goal} holds in the world"
    for number, rule in enumerate(rules):
        variables = _variables(rule)
        for chosen in itertools.product(constants, repeat=len(variables)):
            values: Mapping[Term, Term] = dict(zip(variables, chosen, strict=True))
            if all(_put(literal, values) in world for literal in rule.body) and _put(rule.head, values) not in world:
                return f"rule {number}, {rule}, does not hold for {', '.join(map(str, chosen))}"
    return None


def instances(rules: Sequence[Rule], constants: Sequence[Constant]) -> int:
    """How many instances the rules have over these constants."""
    return sum(len(constants) ** len(_variables(rule)) for rule in rules)


def _variables(rule: Rule) -> list[Variable]:
    terms = (term for literal in (*rule.body, rule.head) for term in literal.terms)
    return list(dict.fromkeys(term for term in terms if isinstance(term, Variable)))


def _put(literal: Literal, values: Mapping[Term, Term]) -> Literal:
    return Literal(literal.predicate, tuple(values.get(term, term) for term in literal.terms), literal.positive)


@dataclass(frozen=True)
class Interpretation:
    """A finite universe (numbers from 0), what the constants name, and which predicates hold of what."""

    size: int
    constants: Mapping[Constant, int] = field(default_factory=dict)
    true: Set[tuple[str, tuple[int, ...]]] = frozenset()

    def holds(self, formula: Formula, values: Mapping[Variable, int] | None = None) -> bool:
        """Whether a formula is true here, by the definition of its connectives."""
        values = values or {}
        if isinstance(formula, Atom):
            things = tuple(values[t] if isinstance(t, Variable) else self.constants[t] for t in formula.terms)
            return things[0] == things[1] if formula.predicate == "=" else (formula.predicate, things) in self.true
        if isinstance(formula, Connective):
            parts = (self.holds(part, values) for part in formula.parts)
            return _connect(formula.kind, parts)
        each = (self.holds(formula.body, {**values, formula.variable: thing}) for thing in range(self.size))
        return all(each) if formula.kind == "forall" else any(each)


def _connect(kind: str, parts: Iterable[bool]) -> bool:
    if kind == "and":
        return all(parts)
    if kind == "or":
        return any(parts)
    if kind == "xor":
        return sum(parts) % 2 == 1
    first, *rest = parts
    if kind == "not":
        return not first
    return (not first or rest[0]) if kind == "implies" else first == rest[0]


def check_refutation(clauses: Sequence[Sequence[int]], refutation: Iterable[Sequence[int]]) -> str | None:
    """Nothing when the refutation ends in the empty clause and every clause follows by unit propagation.

    Clauses are lists of non-zero integers as in DIMACS. Deletions only save time, so leave them out.
    """
    known = [frozenset(clause) for clause in clauses]
    for number, clause in enumerate(refutation):
        if not _conflict(known, [-literal for literal in clause]):
            return f"clause {number} of the refutation, {list(clause)}, does not follow by unit propagation"
        known.append(frozenset(clause))
        if not clause:
            return None
    return "the refutation does not end in the empty clause"


def _conflict(clauses: Sequence[frozenset[int]], assumed: Sequence[int]) -> bool:
    """Whether unit propagation from the assumptions makes some clause false."""
    true = set(assumed)
    if any(-literal in true for literal in true):
        return True
    changed = True
    while changed:
        changed = False
        for clause in clauses:
            if clause & true:
                continue
            left = [literal for literal in clause if -literal not in true]
            if not left:
                return True
            if len(left) == 1:
                true.add(left[0])
                changed = True
    return False
