"""The dialect of facts and rules, as in Logic-LM (arXiv 2305.12295, section 3.1):

    Facts:
    Jompus(Max, True)
    Rules:
    Jompus($x, True) && Shy($x, False) >>> Small($x, True)
    Query:
    Small(Max, True)

A last argument `True` or `False` is the sign of the literal; without one it is positive. `!`, `~`, `¬`, `not` and
`Not(...)` deny. A head may be a conjunction; it stands for one rule each. The section `Predicates:` is a remark.

A fact is about named things. A model that writes `Impus($x, True)` without a body repeats a declaration more often than
it says that everything is an impus, so such a line is put aside and listed.
"""

from __future__ import annotations

from collections.abc import Sequence

from glasshouse.symbolic.logic_programs.limits import DEFAULT, Limits, ProgramError
from glasshouse.symbolic.logic_programs.reader import Dialect, Reader
from glasshouse.symbolic.logic_programs.sections import sections
from glasshouse.symbolic.logic_programs.tree import Constant, Literal, Rule, RuleProgram, Term, Variable

_DIALECT = Dialect("( ) , && >>> ! ~ ¬")
_SIGNS = {"true": True, "false": False}
_AND, _THEN, _NOT = ("&&", "and"), (">>>",), ("!", "~", "¬", "not", "Not")


def parse_rules(text: str, limits: Limits = DEFAULT) -> RuleProgram:
    """The program of a text in sections. Raises `ProgramError` with the line that is not understood."""
    parts = sections(text, ("Query",), limits)
    statements = [*parts.get("Facts", ()), *parts.get("Rules", ())]
    if not statements:
        raise ProgramError("the program has neither facts nor rules")
    read = [rule for line in statements for rule in parse_statement(line.text, limits, origin=line.origin)]
    if sum(1 + len(rule.body) for rule in read) > limits.nodes:
        raise ProgramError(f"the program has more than {limits.nodes:,} literals")
    goal = parse_literal(parts["Query"][0].text, limits, origin=parts["Query"][0].origin)
    return rule_program(read, goal)


def rule_program(read: Sequence[Rule], goal: Literal) -> RuleProgram:
    """The program of these rules, facts with variables put aside."""
    rules = tuple(rule for rule in read if rule.body or rule.head.ground)
    return RuleProgram(rules, goal, tuple(rule.head for rule in read if not rule.body and not rule.head.ground))


def parse_literal(text: str, limits: Limits = DEFAULT, *, origin: str = "") -> Literal:
    """One literal."""
    reader = Reader(text, _DIALECT, limits, origin=origin)
    found = _literal(reader)
    reader.finish()
    return found


def parse_statement(text: str, limits: Limits = DEFAULT, *, origin: str = "") -> list[Rule]:
    """The facts or rules of one line."""
    reader = Reader(text, _DIALECT, limits, origin=origin)
    left = _conjunction(reader)
    if not reader.accept(*_THEN):
        reader.finish()
        return [Rule((), literal) for literal in left]
    heads = _conjunction(reader)
    reader.finish()
    return [Rule(tuple(left), head) for head in heads]


def _conjunction(reader: Reader) -> list[Literal]:
    found = [_literal(reader)]
    while reader.accept(*_AND):
        found.append(_literal(reader))
    return found


def _literal(reader: Reader) -> Literal:
    reader.count()
    with reader.nested():
        if reader.accept(*_NOT):
            bracketed = reader.accept("(")
            inner = _literal(reader)
            if bracketed:
                reader.expect(")")
            return inner.negated
        predicate = reader.take("name").text
        reader.expect("(")
        terms = [_term(reader)]
        while reader.accept(","):
            terms.append(_term(reader))
        reader.expect(")")
    sign = _SIGNS.get(terms[-1].name.lower()) if isinstance(terms[-1], Constant) else None
    if sign is None:
        return Literal(predicate, tuple(terms))
    return Literal(predicate, tuple(terms[:-1]), sign)


def _term(reader: Reader) -> Term:
    """A variable, or a name of one word or several (`bald eagle`)."""
    if reader.token.kind == "variable":
        return Variable(reader.take("variable").text[1:])
    words = [reader.take("name", "number").text]
    while reader.token.kind in ("name", "number"):
        words.append(reader.take("name", "number").text)
    return Constant(" ".join(words))
