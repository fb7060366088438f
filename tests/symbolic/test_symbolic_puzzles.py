"""Puzzles: Z3 and OR-tools against counting through all assignments."""

import itertools
import random
import time

import pytest

from glasshouse.symbolic.call import Budget, Call, Engine
from glasshouse.symbolic.errors import EngineTimeoutError
from glasshouse.symbolic.logic_programs.puzzle import AllDifferent, Comparison, Join, Puzzle, Sum, parse_puzzle
from glasshouse.symbolic.solvers import ortools, z3
from glasshouse.symbolic.solvers.choices import Choices, check_choices, check_counter_examples, holds
from glasshouse.symbolic.solvers.ortools import OrTools
from glasshouse.symbolic.solvers.z3 import Z3

BOOKS = """Variables:
green [IN] [1, 2, 3]
blue [IN] [1, 2, 3]
white [IN] [1, 2, 3]
Constraints:
green < blue
white == 2
AllDifferentConstraint([green, blue, white])
Query:
A) green == 1
B) blue == 1
C) blue == green + 2 and white < blue
"""
SOLVERS = pytest.mark.parametrize("solver", [z3, ortools], ids=["z3", "ortools"])


@SOLVERS
def test_the_books(solver: object) -> None:
    choices = solver.choose(parse_puzzle(BOOKS))
    assert choices.follow == ("A", "C")
    assert choices.without["B"] == {"green": 1, "blue": 3, "white": 2}


def drawn(seed: int) -> Puzzle:
    """A random puzzle over three or four variables."""
    draw = random.Random(seed)
    names = ["a", "b", "c", "d"][: draw.randint(3, 4)]

    def side() -> Sum:
        signed = tuple((draw.choice((1, 1, -1)), draw.choice(names)) for _ in range(draw.randint(0, 2)))
        return Sum(draw.randint(-2, 4), signed)

    def condition(depth: int = 1) -> object:
        kind = draw.choice(["compare"] * 3 + ["and", "or", "not", "different"] * depth)
        if kind == "compare":
            return Comparison(draw.choice(["<", "<=", ">", ">=", "==", "!="]), side(), side())
        if kind == "different":
            return AllDifferent(tuple(draw.sample(names, 2)))
        return Join(kind, tuple(condition(0) for _ in range(1 if kind == "not" else 2)))

    domains = {name: tuple(draw.sample(range(-3, 8), draw.randint(2, 5))) for name in names}
    conditions = tuple(condition() for _ in range(draw.randint(1, 3)))
    return Puzzle(domains, conditions, {letter: condition() for letter in "ABCD"})


def test_60_random_puzzles_agree_with_counting() -> None:
    consistent = 0
    for seed in range(60):
        puzzle = drawn(seed)
        assignments = [
            dict(zip(puzzle.domains, values, strict=True)) for values in itertools.product(*puzzle.domains.values())
        ]
        solutions = [values for values in assignments if all(holds(said, values) for said in puzzle.conditions)]
        follow = tuple(letter for letter, option in puzzle.options.items() if all(holds(option, v) for v in solutions))
        for choices in (z3.choose(puzzle), ortools.choose(puzzle)):
            assert choices.consistent == bool(solutions), seed
            if solutions:
                assert choices.follow == follow, seed
                assert check_choices(choices, puzzle) is None
        consistent += bool(solutions)
    assert 20 < consistent < 60


def test_wrong_counter_examples_are_found() -> None:
    puzzle = parse_puzzle(BOOKS)
    right = {"green": 1, "blue": 3, "white": 2}
    cases = [
        (right | {"blue": 9}, "leaves a domain"),
        (right | {"white": 1}, "breaks a condition"),
    ]
    for solution, problem in cases:
        assert problem in check_counter_examples(Choices("nobody", {"B": solution}), puzzle)
    assert "option A holds" in check_counter_examples(Choices("nobody", {"A": right}), puzzle)
    claims_too_much = Choices("nobody", {"A": None, "B": None, "C": None})
    assert check_choices(claims_too_much, puzzle) == "counting gives ['A', 'C'], the solver ['A', 'B', 'C']"


@pytest.mark.parametrize("engine", [Z3(), OrTools()], ids=lambda engine: engine.name)
def test_engines(engine: Engine) -> None:
    assert isinstance(engine, Engine)
    reply = engine.run(Call("choose", "which", (BOOKS,), budget=Budget(seconds=5)))
    assert (reply.value, reply.verified, reply.text) == (["A", "C"], True, "follows: A, C")
    assert reply.to_json()["evidence"]["counter_examples"] == {"B": {"green": 1, "blue": 3, "white": 2}}
    contradictory = BOOKS.replace("green < blue", "green < blue\nblue < green")
    reply = engine.run(Call("choose", "which", (contradictory,)))
    assert (reply.value, reply.text) == ([], "the conditions contradict each other")


@SOLVERS
def test_the_time_limit_is_kept(solver: object) -> None:
    """Golomb rulers: all differences of twelve marks within 84 differ; the shortest has length 85."""
    marks = [f"m{number}" for number in range(12)]
    pairs = list(itertools.combinations(marks, 2))
    differences = [Sum(0, ((1, later), (-1, earlier))) for earlier, later in pairs]
    apart = [Comparison("!=", one, two) for one, two in itertools.combinations(differences, 2)]
    order = [Comparison("<", Sum(0, ((1, a),)), Sum(0, ((1, b),))) for a, b in itertools.pairwise(marks)]
    puzzle = Puzzle({mark: tuple(range(85)) for mark in marks}, (*apart, *order), {"A": order[0]})
    began = time.monotonic()
    with pytest.raises(EngineTimeoutError):
        solver.choose(puzzle, seconds=2.0)
    assert time.monotonic() - began < 4.0
