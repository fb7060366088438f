"""Propositional formulas: four independent ways agree, and both kinds of answers are shown."""

import random
import time

import pytest

from glasshouse.symbolic.call import Budget, Call, Engine
from glasshouse.symbolic.errors import BadRequestError, EngineTimeoutError, RejectedProgramError
from glasshouse.symbolic.logic_programs.formulas_text import parse_formula
from glasshouse.symbolic.logic_programs.limits import ProgramError
from glasshouse.symbolic.logic_programs.tree import Atom, Connective, Formula
from glasshouse.symbolic.solvers import clingo, sat, z3
from glasshouse.symbolic.solvers.clingo import Clingo
from glasshouse.symbolic.solvers.proofs import check_refutation
from glasshouse.symbolic.solvers.sat import PythonSat
from glasshouse.symbolic.solvers.satisfaction import Clauses, Satisfaction, truth_table
from glasshouse.symbolic.solvers.z3 import Z3


def drawn(seed: int) -> Formula:
    """A random formula over up to six propositions; many small parts joined by `and`, so that some cannot hold."""
    draw = random.Random(seed)
    names = [Atom(name) for name in "abcdef"[: draw.randint(2, 6)]]

    def formula(depth: int) -> Formula:
        if depth == 0:
            return draw.choice(names)
        kind = draw.choice(["not", "and", "or", "xor", "implies", "iff"])
        count = {"not": 1, "implies": 2, "iff": 2}.get(kind, draw.randint(2, 3))
        return Connective(kind, tuple(formula(draw.randint(0, depth - 1)) for _ in range(count)))

    return Connective("and", tuple(formula(3) for _ in range(draw.randint(2, 6))))


def test_200_formulas_four_ways() -> None:
    satisfiable = 0
    for seed in range(200):
        formula = drawn(seed)
        expected = truth_table(formula)
        found = [sat.satisfy(formula), clingo.satisfy(formula)]
        assert [answer.satisfiable for answer in found] == [expected.satisfiable] * 2, seed
        by_z3 = z3.model([formula])
        assert (by_z3 is not None) == expected.satisfiable, seed
        assert by_z3 is None or by_z3.holds(formula)
        assert found[0].check(formula) is None, seed
        assert found[1].check(formula) == (None if expected.satisfiable else "clingo gives no refutation")
        satisfiable += expected.satisfiable
    assert 40 < satisfiable < 160


def pigeons(count: int) -> Formula:
    """`count` + 1 pigeons in `count` holes: impossible, and hard for resolution (Haken, 1985)."""
    holes = range(count)
    seated = [Connective("or", tuple(Atom(f"p{pigeon}h{hole}") for hole in holes)) for pigeon in range(count + 1)]
    apart = [
        Connective("not", (Connective("and", (Atom(f"p{one}h{hole}"), Atom(f"p{two}h{hole}"))),))
        for hole in holes
        for one in range(count + 1)
        for two in range(one)
    ]
    return Connective("and", (*seated, *apart))


def test_a_refutation_of_the_pigeonhole_formula_is_checked_and_tampering_is_found() -> None:
    formula = pigeons(4)
    found = sat.satisfy(formula)
    assert found.model is None
    assert found.check(formula) is None
    assert "does not end" in check_refutation(Clauses.of(formula).clauses, found.refutation[:-1])
    assert "does not follow" in check_refutation(Clauses.of(formula).clauses, [()])
    holds = Satisfaction("nobody", dict.fromkeys(Clauses.of(formula).numbers, True))
    assert holds.check(formula) == "the formula is false in the model"


def test_a_refutation_cannot_be_made_for_what_can_hold() -> None:
    clauses = [(1, 2), (-1, 2)]
    assert "does not follow" in check_refutation(clauses, [(-2,), ()])
    assert check_refutation([*clauses, (-2,)], [()]) is None


@pytest.mark.parametrize("solve", [sat.satisfy, clingo.satisfy])
def test_the_time_limit_is_kept(solve: object) -> None:
    formula = pigeons(12)
    began = time.monotonic()
    with pytest.raises(EngineTimeoutError, match="within 2 s"):
        solve(formula, seconds=2.0)
    assert time.monotonic() - began < 4.0


@pytest.mark.parametrize("engine", [PythonSat(), Clingo(), Z3()], ids=lambda engine: engine.name)
def test_engines(engine: Engine) -> None:
    assert isinstance(engine, Engine)
    budget = Budget(seconds=5)
    yes = engine.run(Call("sat", "satisfiable", (["A ∨ B", "¬A"],), budget=budget))
    assert (yes.value, yes.verified, yes.text) == (True, True, "it can hold")
    no = engine.run(Call("sat", "satisfiable", ("A ∧ ¬A",), budget=budget))
    assert no.value is False
    assert no.verified == (True if engine.name == "python-sat" else None)
    assert no.to_json()["evidence"]["solver"] == engine.name
    with pytest.raises(BadRequestError, match="at least one formula"):
        engine.run(Call("sat", "satisfiable", ("",)))
    with pytest.raises(ProgramError):
        engine.run(Call("sat", "satisfiable", ("A ∧ (",)))


def test_quantifiers_and_long_tables_are_refused() -> None:
    with pytest.raises(ProgramError, match="no quantifiers; use Z3"):
        sat.satisfy(parse_formula("∀x P(x)"))
    with pytest.raises(ProgramError, match="no equality"):
        clingo.satisfy(parse_formula("a = b"))
    with pytest.raises(RejectedProgramError, match="21 propositions"):
        truth_table(Connective("or", tuple(Atom(f"a{number}") for number in range(21))))


def test_atoms_of_named_things_are_propositions() -> None:
    found = sat.satisfy(parse_formula("Dog(rex) ∧ ¬Dog(max)"))
    assert {str(atom.terms[0]): value for atom, value in found.model.items()} == {"rex": True, "max": False}
