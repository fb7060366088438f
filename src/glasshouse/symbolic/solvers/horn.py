"""Forward chaining over rules: everything that follows, each with the rule and the premises it first came from.

Semi-naive evaluation (Ullman, Principles of Database and Knowledge-Base Systems, 1988, chapter 3): a new literal is
joined with what is known at each place where a body can take it. Literals are looked up by predicate and, where a term
is bound, by that term. A variable that only the head has ranges over every constant of the program.

An answer is True with a proof of the goal, False with a proof of its denial, or None with the closed world, in which
neither holds. Sound for classical logic; without the contrapositives of the rules, so complete only for its own
semantics, in which a denied atom is an atom (`tree`). `proofs` checks all three without this module.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from glasshouse.symbolic.call import Call, Reply
from glasshouse.symbolic.errors import EngineTimeoutError, RejectedProgramError
from glasshouse.symbolic.logic_programs.limits import DEFAULT, Limits, ProgramError
from glasshouse.symbolic.logic_programs.rules_text import parse_literal
from glasshouse.symbolic.logic_programs.tree import Constant, Literal, RuleProgram, Term, Variable
from glasshouse.symbolic.solvers.proofs import Proof, Step, check_closed_world, check_proof, instances
from glasshouse.symbolic.solvers.questions import rules_of, seconds_of, verdict_reply
from glasshouse.symbolic.solvers.verdict import Verdict

Values = dict[Variable, Constant]
Derivation = tuple[int, tuple[Literal, ...]]
_Key = tuple[str, bool, int]
_Place = tuple[_Key, int, Constant]
_LOOK_AT_CLOCK = 4096
CHECKED_INSTANCES = 100_000


class Horn:
    """The engine for `entail` calls on rules: a program in sections, or statements and a goal."""

    name = "horn"
    kinds = frozenset({"entail"})

    def run(self, call: Call) -> Reply:
        """True, False or None with a proof or a closed world, checked unless the world is too large for that."""
        program = rules_of(call)
        verdict = entails(program, seconds=seconds_of(call))
        checkable = verdict.answer is not None or instances(program.rules, program.constants) <= CHECKED_INSTANCES
        return verdict_reply(verdict, (lambda: check_verdict(verdict, program)) if checkable else None)


def check_verdict(verdict: Verdict, program: RuleProgram) -> str | None:
    """Nothing when the proof or the closed world shows the answer; otherwise what is wrong."""
    if verdict.answer is not None:
        goal = program.goal if verdict.answer else program.goal.negated
        return check_proof(verdict.proof or (), program.rules, goal)
    world = verdict.world or frozenset()
    problems = (check_closed_world(world, program.rules, program.constants, goal) for goal in both(program.goal))
    return next((problem for problem in problems if problem), None)


def recheck(program: RuleProgram, answer: bool | None, evidence: Mapping[str, Any]) -> str | None:
    """Check a reply again from its written evidence, as a trace or cassette holds it: nothing, or what is wrong.

    Raises `ProgramError` for evidence that is damaged.
    """
    try:
        proof = tuple(Step(parse_literal(said), rule, tuple(given)) for said, rule, given in evidence.get("proof", ()))
        world = frozenset(parse_literal(said) for said in evidence.get("world", ()))
    except (TypeError, ValueError) as error:
        raise ProgramError(f"this is no evidence of the engine horn: {error}") from error
    return check_verdict(Verdict(answer, "horn", proof=proof, world=world), program)


def both(goal: Literal) -> tuple[Literal, Literal]:
    """A goal and its denial."""
    return goal, goal.negated


def entails(program: RuleProgram, *, seconds: float = 10.0, limits: Limits = DEFAULT) -> Verdict:
    """Whether the goal follows from the rules, its denial does, or neither.

    Raises `EngineTimeoutError` after `seconds`, `RejectedProgramError` when more than `limits.facts` literals follow.
    """
    if not program.goal.ground:
        raise ProgramError(f"the goal {program.goal} has a variable; ask about named things")
    closure = Closure(program, seconds=seconds, limits=limits)
    for answer, goal in zip((True, False), both(program.goal), strict=True):
        if goal in closure:
            contradiction = goal.negated in closure
            return Verdict(answer, "horn", proof=closure.proof(goal), contradiction=contradiction)
    return Verdict(None, "horn", world=closure.literals)


class Closure:
    """Everything that follows from a program."""

    def __init__(self, program: RuleProgram, *, seconds: float = 10.0, limits: Limits = DEFAULT) -> None:
        self._rules, self._constants = program.rules, program.constants
        self._derived: dict[Literal, Derivation] = {}
        self._known = _Index()
        self._limits, self._seconds = limits, seconds
        self._deadline, self._work = time.monotonic() + seconds, 0
        self._chain()

    def __contains__(self, literal: object) -> bool:
        return literal in self._derived

    @property
    def literals(self) -> frozenset[Literal]:
        """All of them."""
        return frozenset(self._derived)

    def proof(self, goal: Literal) -> Proof:
        """The steps to the goal, premises first, each literal once."""
        numbers: dict[Literal, int] = {}
        steps: list[Step] = []
        waiting = [goal]
        while waiting:
            literal = waiting[-1]
            rule, premises = self._derived[literal]
            missing = [premise for premise in premises if premise not in numbers]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if literal not in numbers:
                numbers[literal] = len(steps)
                steps.append(Step(literal, rule, tuple(numbers[premise] for premise in premises)))
        return tuple(steps)

    def _chain(self) -> None:
        wanted: dict[_Key, list[tuple[int, int]]] = defaultdict(list)
        agenda: deque[Literal] = deque()
        for number, rule in enumerate(self._rules):
            for place, literal in enumerate(rule.body):
                wanted[_key(literal)].append((number, place))
            if not rule.body:
                self._conclude(number, {}, (), agenda)
        while agenda:
            literal = agenda.popleft()
            self._known.add(literal)
            for number, place in wanted[_key(literal)]:
                body = self._rules[number].body
                values = _match(body[place], literal, {})
                if values is not None:
                    for found, premises in self._join(body, 0, {place: literal}, values):
                        self._conclude(number, found, premises, agenda)

    def _join(
        self, body: tuple[Literal, ...], place: int, fixed: Mapping[int, Literal], values: Values
    ) -> Iterator[tuple[Values, tuple[Literal, ...]]]:
        """Every way to fill the body from `place` on with known literals."""
        if place == len(body):
            yield values, ()
            return
        candidates = (fixed[place],) if place in fixed else self._known.candidates(body[place], values)
        for candidate in tuple(candidates):
            self._tick()
            matched = values if place in fixed else _match(body[place], candidate, values)
            if matched is not None:
                for found, premises in self._join(body, place + 1, fixed, matched):
                    yield found, (candidate, *premises)

    def _conclude(self, number: int, values: Values, premises: tuple[Literal, ...], agenda: deque[Literal]) -> None:
        """Add the head of a rule, for every choice of the variables that the body leaves open."""
        head = self._rules[number].head
        free = list(dict.fromkeys(t for t in head.terms if isinstance(t, Variable) and t not in values))
        for chosen in itertools.product(self._constants, repeat=len(free)):
            self._tick()
            literal = _ground(head, {**values, **dict(zip(free, chosen, strict=True))})
            if literal not in self._derived:
                if len(self._derived) >= self._limits.facts:
                    raise RejectedProgramError(f"more than {self._limits.facts:,} literals follow from the program")
                self._derived[literal] = (number, premises)
                agenda.append(literal)

    def _tick(self) -> None:
        self._work += 1
        if self._work % _LOOK_AT_CLOCK == 0 and time.monotonic() > self._deadline:
            raise EngineTimeoutError(
                f"chaining did not end within {self._seconds:g} s; give it more, or fewer variables"
            )


@dataclass
class _Index:
    """Known literals by predicate, sign and arity, and by one bound term."""

    by_key: dict[_Key, list[Literal]] = field(default_factory=lambda: defaultdict(list))
    by_place: dict[_Place, list[Literal]] = field(default_factory=lambda: defaultdict(list))

    def add(self, literal: Literal) -> None:
        key = _key(literal)
        self.by_key[key].append(literal)
        for place, term in enumerate(literal.terms):
            if isinstance(term, Constant):
                self.by_place[key, place, term].append(literal)

    def candidates(self, pattern: Literal, values: Values) -> list[Literal]:
        """Literals that may match; the shortest list that a bound term gives."""
        key = _key(pattern)
        bound = ((place, _value(term, values)) for place, term in enumerate(pattern.terms))
        lists = [self.by_place.get((key, place, term), []) for place, term in bound if isinstance(term, Constant)]
        return min(lists, key=len, default=self.by_key.get(key, []))


def _key(literal: Literal) -> _Key:
    return literal.predicate, literal.positive, len(literal.terms)


def _value(term: Term, values: Values) -> Term:
    return values.get(term, term) if isinstance(term, Variable) else term


def _match(pattern: Literal, literal: Literal, values: Values) -> Values | None:
    """The values with which the pattern is the literal, or nothing."""
    found = dict(values)
    for slot, term in zip(pattern.terms, literal.terms, strict=True):
        if not isinstance(term, Constant):
            return None
        if (found.setdefault(slot, term) if isinstance(slot, Variable) else slot) != term:
            return None
    return found


def _ground(literal: Literal, values: Values) -> Literal:
    return Literal(literal.predicate, tuple(_value(term, values) for term in literal.terms), literal.positive)
