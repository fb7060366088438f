"""Chaining, its proofs and their checker: against Z3, against brute force, and with proofs that were tampered with."""

import itertools
import json
import random
import time

import pytest

from glasshouse.symbolic.call import Budget, Call, Engine
from glasshouse.symbolic.errors import BadRequestError, EngineTimeoutError, RejectedProgramError
from glasshouse.symbolic.logic_programs.limits import Limits, ProgramError
from glasshouse.symbolic.logic_programs.rules_text import parse_literal, parse_rules
from glasshouse.symbolic.logic_programs.tree import (
    Atom,
    Connective,
    Constant,
    FormulaProgram,
    Literal,
    Quantifier,
    Rule,
    RuleProgram,
    Variable,
    negation,
)
from glasshouse.symbolic.solvers import z3
from glasshouse.symbolic.solvers.horn import Closure, Horn, check_verdict, entails, recheck
from glasshouse.symbolic.solvers.proofs import Step, check_closed_world, check_proof

YUMPUS = """Facts:
Yumpus(Max, True)
Rules:
Yumpus($x, True) >>> Dumpus($x, True)
Dumpus($x, True) >>> Tumpus($x, True)
Tumpus($x, True) >>> Sour($x, False)
Query:
Sour(Max, True)
"""


def world(seed: int, *, denials: bool) -> RuleProgram:
    """A random program: one or two arguments, bodies of one to three literals, goals that may or may not follow."""
    draw = random.Random(seed)
    things = [Constant(name) for name in ("max", "rex", "eva", "tom")[: draw.randint(2, 4)]]
    slots = [Variable("x"), Variable("y")]
    predicates = [(f"p{number}", draw.choice((1, 1, 2))) for number in range(draw.randint(3, 7))]

    def literal(terms: list) -> Literal:
        name, arity = draw.choice(predicates)
        return Literal(name, tuple(draw.choice(terms) for _ in range(arity)), not denials or draw.random() < 0.7)

    rules = [Rule((), literal(things)) for _ in range(draw.randint(2, 5))]
    for _ in range(draw.randint(3, 9)):
        rules.append(
            Rule(tuple(literal(slots * 2 + things) for _ in range(draw.randint(1, 3))), literal(slots + things))
        )
    return RuleProgram(tuple(rules), literal(things))


def as_formulas(program: RuleProgram, *, open_world: bool) -> FormulaProgram:
    """The same program for a first-order solver; in the open world a denied predicate is a predicate of its own."""

    def formula(literal: Literal):
        if open_world:
            return Atom(("" if literal.positive else "not_") + literal.predicate, literal.terms)
        atom = Atom(literal.predicate, literal.terms)
        return atom if literal.positive else negation(atom)

    premises = []
    for rule in program.rules:
        body = tuple(formula(literal) for literal in rule.body)
        head = formula(rule.head)
        said = Connective("implies", (Connective("and", (*body, body[0])), head)) if body else head
        variables = {t for literal in (*rule.body, rule.head) for t in literal.terms if isinstance(t, Variable)}
        for variable in sorted(variables, key=str):
            said = Quantifier("forall", variable, said)
        premises.append(said)
    return FormulaProgram(tuple(premises), formula(program.goal))


def z3_follows(program: RuleProgram, *, open_world: bool) -> bool:
    said = as_formulas(program, open_world=open_world)
    return z3.model([*said.premises, negation(said.conclusion)]) is None


@pytest.mark.parametrize(
    "seeds", [range(110, 150), pytest.param(range(110), marks=pytest.mark.slow)], ids=["40", "110"]
)
@pytest.mark.parametrize("denials", [False, True])
def test_300_worlds_agree_with_z3_and_every_answer_is_shown(denials: bool, seeds: range) -> None:
    answers = []
    for seed in seeds:
        program = world(seed, denials=denials)
        verdict = entails(program)
        answers.append(verdict.answer)
        assert check_verdict(verdict, program) is None
        if not denials:
            assert z3.entails(as_formulas(program, open_world=False)).answer == verdict.answer, seed
            continue
        denial = RuleProgram(program.rules, program.goal.negated)
        assert z3_follows(program, open_world=True) == (verdict.answer is True), seed
        assert z3_follows(denial, open_world=True) == (verdict.answer is False or verdict.contradiction), seed
        if verdict.answer is not None:
            assert z3_follows(program if verdict.answer else denial, open_world=False), seed
    kinds = (True, False, None) if denials else (True, None)
    assert min(answers.count(kind) for kind in kinds) >= len(seeds) // 20


def test_the_closure_is_the_least_fixpoint_of_applying_every_instance() -> None:
    for seed in range(40):
        program = world(seed, denials=True)
        known: set[Literal] = set()
        while True:
            new = {head for body, head in instances(program) if all(literal in known for literal in body)} - known
            if not new:
                break
            known |= new
        assert Closure(program).literals == known


def instances(program: RuleProgram):
    for rule in program.rules:
        names = sorted({t for lit in (*rule.body, rule.head) for t in lit.terms if isinstance(t, Variable)}, key=str)
        for chosen in itertools.product(program.constants, repeat=len(names)):
            put = dict(zip(names, chosen, strict=True))
            given = [
                Literal(lit.predicate, tuple(put.get(t, t) for t in lit.terms), lit.positive)
                for lit in (*rule.body, rule.head)
            ]
            yield given[:-1], given[-1]


def test_a_proof_lists_premises_first_and_each_literal_once() -> None:
    verdict = entails(parse_rules(YUMPUS))
    assert verdict.answer is False
    assert [str(step.literal) for step in verdict.proof] == [
        "Yumpus(Max, True)", "Dumpus(Max, True)", "Tumpus(Max, True)", "Sour(Max, False)",
    ]  # fmt: skip
    assert [step.premises for step in verdict.proof] == [(), (0,), (1,), (2,)]


@pytest.mark.parametrize(
    ("proof", "problem"),
    [
        ((), "not the goal"),
        ((Step(parse_literal("Sour(Max, False)"), 3, ()),), "no instance"),
        ((Step(parse_literal("Sour(Max, False)"), 9, ()),), "does not have"),
        ((Step(parse_literal("Sour(Max, False)"), 3, (0,)),), "come before"),
        (
            (Step(parse_literal("Tumpus(Rex, True)"), 0), Step(parse_literal("Sour(Max, False)"), 3, (0,))),
            "no instance",
        ),
        (
            (Step(parse_literal("Yumpus(Max, True)"), 0), Step(parse_literal("Sour(Max, False)"), 3, (0,))),
            "no instance",
        ),
    ],
)
def test_a_wrong_proof_is_found(proof: tuple[Step, ...], problem: str) -> None:
    assert problem in check_proof(proof, parse_rules(YUMPUS).rules, parse_literal("Sour(Max, False)"))


def test_a_dropped_or_swapped_step_is_found_in_generated_proofs() -> None:
    tampered = 0
    for seed in range(60):
        program = world(seed, denials=False)
        verdict = entails(program)
        if verdict.answer and len(verdict.proof) > 1:
            assert check_proof(verdict.proof[:-1], program.rules, program.goal)
            *before, last = verdict.proof
            wrong = Step(last.literal, last.rule, last.premises[:-1])
            assert check_proof((*before, wrong), program.rules, program.goal)
            tampered += 1
    assert tampered >= 5


def test_an_open_world_is_shown_by_a_closed_set_and_wrong_sets_are_found() -> None:
    program = parse_rules(YUMPUS.replace("Sour(Max, True)", "Kind(Max, True)"))
    verdict = entails(program)
    assert verdict.answer is None
    assert check_verdict(verdict, program) is None
    short = verdict.world - {parse_literal("Tumpus(Max, True)")}
    assert "does not hold for Max" in check_closed_world(short, program.rules, program.constants, program.goal)
    full = verdict.world | {program.goal}
    assert "holds in the world" in check_closed_world(full, program.rules, program.constants, program.goal)


def test_contradictions_are_told() -> None:
    verdict = entails(parse_rules(YUMPUS.replace("Rules:", "Sour(Max, True)\nRules:")))
    assert verdict.answer is True
    assert verdict.contradiction
    assert verdict.evidence()["contradiction"]


def test_recursive_rules_end() -> None:
    text = "Facts:\nEdge(a, b)\nEdge(b, c)\nEdge(c, a)\nRules:\nEdge($x, $y) >>> Path($x, $y)\n"
    text += "Path($x, $y, True) && Path($y, $z, True) >>> Path($x, $z, True)\nQuery:\nPath(b, b, True)"
    program = parse_rules(text)
    assert entails(program).answer is True
    assert sum(literal.predicate == "Path" for literal in Closure(program).literals) == 9


def test_the_time_limit_is_kept() -> None:
    program = parse_rules(
        "Facts:\n" + "\n".join(f"E(a{i}, a{j}, True)" for i in range(30) for j in range(30)) + "\nRules:\n"
        + " && ".join(f"E($v{i}, $v{i + 1}, True)" for i in range(9)) + " >>> G($v9, True)\nQuery:\nH(a0, True)"
    )  # fmt: skip
    began = time.monotonic()
    with pytest.raises(EngineTimeoutError, match="within 2 s"):
        entails(program, seconds=2.0)
    assert time.monotonic() - began < 4.0


def test_the_number_of_derived_literals_is_bounded() -> None:
    program = parse_rules(
        "Facts:\n" + "\n".join(f"P(a{i}, True)" for i in range(50))
        + "\nRules:\nP($x, True) && P($y, True) && P($z, True) >>> Q($x, $y, $z, True)\nQuery:\nQ(a0, a0, b, True)"
    )  # fmt: skip
    with pytest.raises(RejectedProgramError, match="1,000 literals"):
        entails(program, limits=Limits(facts=1000))


def test_the_engine_takes_a_program_or_statements_and_a_goal() -> None:
    engine = Horn()
    assert isinstance(engine, Engine)
    whole = engine.run(Call("entail", "entails", (YUMPUS,)))
    assert (whole.value, whole.verified, whole.model) == (False, True, "horn")
    assert whole.to_json()["evidence"]["proof"][-1] == ["Sour(Max, False)", 3, [2]]
    statements = ["Yumpus(Max)", "Yumpus($x) >>> Dumpus($x)"]
    parts = engine.run(Call("entail", "entails", (statements, "Dumpus(Max)"), budget=Budget(seconds=1)))
    assert (parts.value, parts.text, parts.verified) == (True, "it follows", True)
    with pytest.raises(BadRequestError, match="1 to 2 operands, got 0"):
        engine.run(Call("entail", "entails"))
    with pytest.raises(BadRequestError, match="got 3"):
        engine.run(Call("entail", "entails", (3,)))


@pytest.mark.parametrize(
    ("statements", "goal"),
    [
        (["Dog(x) → Animal(x)", "Dog(rex)"], "Animal(rex)"),
        (["Dog(x)"], "Dog(rex)"),
        (["Dog(rex) ∧ Cat(tom)"], "Cat(tom)"),
    ],
)
def test_formulas_are_refused_by_the_rules_and_answered_by_z3(statements: list[str], goal: str) -> None:
    call = Call("entail", "entails", (statements, goal))
    with pytest.raises(RejectedProgramError):
        Horn().run(call)
    assert z3.Z3().run(call).value is True


def test_written_evidence_is_checked_again_and_damage_is_found() -> None:
    for seed in range(40):
        program = world(seed, denials=True)
        verdict = entails(program)
        written = json.loads(json.dumps(verdict.evidence()))
        assert recheck(program, verdict.answer, written) is None
        assert recheck(program, None if verdict.answer is not None else True, written)
    with pytest.raises(ProgramError, match="no evidence of the engine horn"):
        recheck(program, True, {"proof": [["Dog(", 0, []]]})
    with pytest.raises(ProgramError, match="no evidence of the engine horn"):
        recheck(program, True, {"proof": [1]})
