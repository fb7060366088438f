"""Z3 on first-order formulas: known answers, models evaluated without Z3, time limits, threads."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from glasshouse.symbolic.call import Budget, Call, Engine
from glasshouse.symbolic.logic_programs.formulas_text import parse_formula, parse_formulas
from glasshouse.symbolic.logic_programs.tree import Constant, FormulaProgram, Variable
from glasshouse.symbolic.solvers import z3
from glasshouse.symbolic.solvers.proofs import Interpretation
from glasshouse.symbolic.solvers.z3 import Z3, check_models


def program(premises: list[str], conclusion: str) -> FormulaProgram:
    return FormulaProgram(tuple(map(parse_formula, premises)), parse_formula(conclusion))


SYLLOGISMS = [
    # The four moods that hold in every universe, and four that do not, with an answer each (Aristotle's names).
    ("Barbara", ["∀x (M(x) → P(x))", "∀x (S(x) → M(x))"], "∀x (S(x) → P(x))", True),
    ("Celarent", ["¬∃x (M(x) ∧ P(x))", "∀x (S(x) → M(x))"], "¬∃x (S(x) ∧ P(x))", True),
    ("Darii", ["∀x (M(x) → P(x))", "∃x (S(x) ∧ M(x))"], "∃x (S(x) ∧ P(x))", True),
    ("Ferio", ["¬∃x (M(x) ∧ P(x))", "∃x (S(x) ∧ M(x))"], "∃x (S(x) ∧ ¬P(x))", True),
    ("Darii denied", ["∀x (M(x) → P(x))", "∃x (S(x) ∧ M(x))"], "¬∃x (S(x) ∧ P(x))", False),
    ("Barbari, which needs that some S is", ["∀x (M(x) → P(x))", "∀x (S(x) → M(x))"], "∃x (S(x) ∧ P(x))", None),
    ("undistributed middle", ["∀x (P(x) → M(x))", "∀x (S(x) → M(x))"], "∀x (S(x) → P(x))", None),
    ("contraposition", ["∀x (Cat(x) → ¬Dog(x))", "Dog(rex)"], "Cat(rex)", False),
    ("equality", ["a = b", "P(a)"], "P(b)", True),
    ("things may share a name", ["P(a)"], "P(b)", None),
    ("∀∃", ["∀x ∃y Loves(x, y)"], "∃y ∀x Loves(x, y)", None),
    ("∃∀", ["∃y ∀x Loves(x, y)"], "∀x ∃y Loves(x, y)", True),
]


@pytest.mark.parametrize(("name", "premises", "conclusion", "answer"), SYLLOGISMS, ids=[case[0] for case in SYLLOGISMS])
def test_known_answers_with_models_that_show_what_does_not_follow(
    name: str, premises: list[str], conclusion: str, answer: bool | None
) -> None:
    asked = program(premises, conclusion)
    verdict = z3.entails(asked)
    assert verdict.answer is answer
    assert not verdict.undecided
    if answer is None:
        assert check_models(verdict, asked) is None


def test_a_model_is_evaluated_by_the_definition() -> None:
    rex, x = Constant("rex"), Variable("x")
    found = Interpretation(2, {rex: 1}, frozenset({("Dog", (1,))}))
    assert found.holds(parse_formula("Dog(rex) ∧ ∃x ¬Dog(x)"))
    assert not found.holds(parse_formula("∀x Dog(x)"))
    assert found.holds(parse_formula("∃x (¬(x = rex) ⊕ Dog(x))"))
    assert not found.holds(parse_formula("∀y (Dog(y) ↔ ¬(y = rex))"))
    assert not found.holds(parse_formula("Dog(rex) → ¬Dog(rex)"))
    assert found.holds(parse_formula("P ∨ (Dog(rex) ⊕ Dog(rex) ⊕ Dog(rex))"))
    assert found.holds(parse_formula("∀x (x = x)"), {x: 0})


def test_models_that_do_not_show_it_are_found() -> None:
    asked = program(["P(a)"], "Q(a)")
    verdict = z3.entails(asked)
    swapped = type(verdict)(None, "z3", models=verdict.models[::-1])
    assert "expected False, then True" in check_models(swapped, asked)
    empty = Interpretation(1, {Constant("a"): 0})
    assert "breaks a premise" in check_models(type(verdict)(None, "z3", models=(empty, empty)), asked)


HARD = [  # a dense order without ends has only infinite models
    "∀x ¬Less(x, x)",
    "∀x ∀y ∀z ((Less(x, y) ∧ Less(y, z)) → Less(x, z))",
    "∀x ∃y Less(x, y)",
    "∀x ∀y (Less(x, y) → ∃z (Less(x, z) ∧ Less(z, y)))",
]


def test_the_time_limit_is_kept_and_the_answer_is_undecided() -> None:
    began = time.monotonic()
    verdict = z3.entails(program(HARD, "P(a)"), seconds=2.0)
    assert time.monotonic() - began < 4.0
    assert verdict.answer is None
    assert verdict.undecided


def test_engine() -> None:
    engine = Z3()
    assert isinstance(engine, Engine)
    text = "Premises:\n∀x (Dog(x) → Animal(x))\nDog(rex)\nConclusion:\nAnimal(rex)"
    reply = engine.run(Call("entail", "entails", (text,)))
    assert (reply.value, reply.verified) == (True, None)
    reply = engine.run(Call("entail", "entails", (["Dog(rex)"], "Cat(rex)"), budget=Budget(seconds=2)))
    assert (reply.value, reply.verified) == (None, True)
    without, _ = reply.to_json()["evidence"]["models"]
    assert without["true"] == [["Dog", [without["constants"]["rex"]]]]
    assert parse_formulas(text).conclusion == parse_formula("Animal(rex)")


def test_calls_in_threads_do_not_disturb_each_other() -> None:
    asked = [(program(premises, conclusion), answer) for _, premises, conclusion, answer in SYLLOGISMS]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda case: z3.entails(case[0], seconds=30).answer, asked * 2))
    assert answers == [answer for _, answer in asked] * 2
