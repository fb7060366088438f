"""The dialect of first-order formulas, as in FOLIO and Logic-LM; propositions are its predicates without arguments.

    Premises:
    ∀x (Dog(x) → Animal(x))
    Dog(rex) ∧ ¬Cat(rex)
    Conclusion:
    ∃x Animal(x)

From loose to tight: ↔, →, ∨ and ⊕, ∧, then ¬ and the quantifiers, whose body is what follows: a formula in parentheses,
an atom, a denial or another quantifier. → groups to the right, everything else to the left. ASCII forms: `<->`, `->`,
`|` or `or`, `^` or `xor`, `&` or `and`, `~`, `!` or `not`, `forall x`, `exists x`. `x = a` and `x ≠ a` compare things.
A name that no quantifier binds is a constant, except a single letter from u to z, which is read as `for all`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from glasshouse.symbolic.logic_programs.limits import DEFAULT, Limits, ProgramError
from glasshouse.symbolic.logic_programs.reader import Dialect, Reader
from glasshouse.symbolic.logic_programs.sections import sections
from glasshouse.symbolic.logic_programs.tree import (
    Atom,
    Connective,
    Constant,
    Formula,
    FormulaProgram,
    Quantifier,
    Term,
    Variable,
    atoms,
    height,
    negation,
)

_DIALECT = Dialect("( ) [ ] , ∀ ∃ ¬ ~ ! ∧ & && ∨ | || ⊕ ^ → -> => >>> ↔ <-> <=> ⟷ = == ≠ !=")
FREE = "uvwxyz"
_IFF, _IMPLIES = ("↔", "<->", "<=>", "⟷"), ("→", "->", "=>", ">>>")
_OR, _XOR, _AND = ("∨", "|", "||", "or"), ("⊕", "^", "xor"), ("∧", "&", "&&", "and")
_NOT, _FORALL, _EXISTS = ("¬", "~", "!", "not"), ("∀", "forall"), ("∃", "exists")


def parse_formulas(text: str, limits: Limits = DEFAULT) -> FormulaProgram:
    """The program of a text in sections. Raises `ProgramError` with the line that is not understood."""
    parts = sections(text, ("Premises", "Conclusion"), limits)
    lines = [*parts["Premises"], parts["Conclusion"][0]]
    *premises, conclusion = [parse_formula(line.text, limits, origin=line.origin) for line in lines]
    return FormulaProgram(tuple(premises), conclusion)


def parse_formula(text: str, limits: Limits = DEFAULT, *, origin: str = "") -> Formula:
    """One formula, closed."""
    reader = Reader(text, _DIALECT, limits, origin=origin)
    formula = _iff(reader, frozenset())
    reader.finish()
    if height(formula) > limits.depth:
        raise reader.error(f"operators are nested more than {limits.depth} deep", 0)
    return closed(formula, limits)


def closed(formula: Formula, limits: Limits = DEFAULT) -> Formula:
    """The formula under `for all` of each variable that nothing binds."""
    free = dict.fromkeys(_free(formula, frozenset()))
    if len(free) > limits.depth:
        raise ProgramError(f"{len(free)} unbound variables (limit {limits.depth})")
    for variable in reversed(free):
        formula = Quantifier("forall", variable, formula)
    return formula


def _free(formula: Formula, bound: frozenset[Variable]) -> Iterable[Variable]:
    if isinstance(formula, Atom):
        yield from (term for term in formula.terms if isinstance(term, Variable) and term not in bound)
    elif isinstance(formula, Connective):
        for part in formula.parts:
            yield from _free(part, bound)
    else:
        yield from _free(formula.body, bound | {formula.variable})


Bound = frozenset[str]
Level = Callable[[Reader, Bound], Formula]


def _iff(reader: Reader, bound: Bound) -> Formula:
    with reader.nested():
        left = _implies(reader, bound)
        while reader.accept(*_IFF):
            reader.count()
            left = Connective("iff", (left, _implies(reader, bound)))
        return left


def _implies(reader: Reader, bound: Bound) -> Formula:
    parts = [_or(reader, bound)]
    while reader.accept(*_IMPLIES):
        reader.count()
        parts.append(_or(reader, bound))
    right = parts.pop()
    while parts:
        right = Connective("implies", (parts.pop(), right))
    return right


def _or(reader: Reader, bound: Bound) -> Formula:
    """∨ and ⊕; a run of the same operator is one connective."""
    left = _and(reader, bound)
    while found := reader.accept(*_OR, *_XOR):
        operators = _OR if found in _OR else _XOR
        parts = [left, _and(reader, bound)]
        while reader.accept(*operators):
            parts.append(_and(reader, bound))
        reader.count()
        left = Connective("or" if operators is _OR else "xor", tuple(parts))
    return left


def _and(reader: Reader, bound: Bound) -> Formula:
    parts = [_tight(reader, bound)]
    while reader.accept(*_AND):
        parts.append(_tight(reader, bound))
    reader.count()
    return Connective("and", tuple(parts)) if len(parts) > 1 else parts[0]


def _tight(reader: Reader, bound: Bound) -> Formula:
    with reader.nested():
        if reader.accept(*_NOT):
            return negation(_tight(reader, bound))
        for kind, words in (("forall", _FORALL), ("exists", _EXISTS)):
            if reader.accept(*words):
                name = reader.take("name").text
                reader.accept(",")
                body = _tight(reader, bound | {name})
                return Quantifier("forall" if kind == "forall" else "exists", Variable(name), body)
        for opening, closing in (("(", ")"), ("[", "]")):
            if reader.accept(opening):
                inner = _iff(reader, bound)
                reader.expect(closing)
                return inner
        return _atom(reader, bound)


def _atom(reader: Reader, bound: Bound) -> Formula:
    reader.count()
    name = reader.take("name", "number").text
    if reader.accept("("):
        terms = [_term(reader, bound)]
        while reader.accept(","):
            terms.append(_term(reader, bound))
        reader.expect(")")
        return Atom(name, tuple(terms))
    if reader.accept("=", "=="):
        return Atom("=", (_named(name, bound), _term(reader, bound)))
    if reader.accept("≠", "!="):
        return negation(Atom("=", (_named(name, bound), _term(reader, bound))))
    return Atom(name)


def _term(reader: Reader, bound: Bound) -> Term:
    return _named(reader.take("name", "number").text, bound)


def _named(name: str, bound: Bound) -> Term:
    if name in bound or (len(name) == 1 and name in FREE):
        return Variable(name)
    return Constant(name)


def constants(formulas: Iterable[Formula]) -> tuple[Constant, ...]:
    """Every thing that formulas name, in order."""
    found = (term for formula in formulas for atom in atoms(formula) for term in atom.terms)
    return tuple(dict.fromkeys(term for term in found if isinstance(term, Constant)))
