"""Algebra: read, answered by SymPy in its process, checked by exact arithmetic, bounded in time and memory."""

import random
import time
from fractions import Fraction

import pytest
import sympy as reference
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glasshouse.symbolic.call import Budget, Call, Engine, Reply
from glasshouse.symbolic.errors import BadRequestError, EngineError, EngineTimeoutError, RejectedProgramError
from glasshouse.symbolic.logic_programs.algebra import parse_expression, parse_matrix
from glasshouse.symbolic.logic_programs.limits import ProgramError
from glasshouse.symbolic.solvers.polynomials import evaluate, rank, same
from glasshouse.symbolic.solvers.sympy import Sympy

PAPER = "ax+bx-cx-ay-by+cy+d"


@pytest.fixture(scope="module")
def engine() -> Sympy:
    engine = Sympy()
    yield engine
    engine.close()


def ask(engine: Sympy, op: str, *inputs: str, seconds: float = 30.0, **params: object) -> Reply:
    return engine.run(Call("algebra", op, inputs, params=params, budget=Budget(seconds=seconds)))


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("2x^2", "2 * (x ** 2)"),
        ("(2x)^2", "4 * x * x"),
        ("-x^2", "0 - x*x"),
        ("x^-1 * x", "x / x"),
        ("a/b*c", "a*c/b"),
        ("a/b/c", "a/(b*c)"),
        ("x^(1+1)", "x*x"),
        ("2 * -x", "-2x"),
        ("x − y·2 ÷ 4", "x - y/2"),
        ("1.5x", "3/2 * x"),
        ("(x-y)(a+b-c)", "x*(a+b-c) - y*(a+b-c)"),
    ],
)
def test_expressions_written_in_two_ways_are_equal(text: str, same_as: str) -> None:
    assert same(parse_expression(text), parse_expression(same_as)) is True


def test_letters_make_products() -> None:
    assert same(parse_expression("ax^2", letters=True), parse_expression("a*x^2")) is True
    assert same(parse_expression("ax"), parse_expression("a*x")) is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os')", "'_' does not belong"),
        ("x.__class__", "'.' does not belong"),
        ("x.y", "'.' does not belong"),
        ("lambda x: x", "':' does not belong"),
        ("eval(x)", "'eval' is no function"),
        ("factorial(10)", "'factorial' is no function"),
        ("2^1000000000", "power beyond ±64"),
        ("9^9^9^9", "power beyond ±64"),
        ("x^(64*64)", "power beyond ±64"),
        ("x^(2^x)", "power beyond ±64"),
        ("x^(1/(1-1))", "power beyond ±64"),
        ("2^(10^9)", "power beyond ±64"),
        ("(" * 30_000 + "x", "nested more than"),
        ("9" * 1000, "1000 digits"),
        ("x + ", "expected a name"),
        ("x )", "was not expected"),
        ("", "expected a name"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        parse_expression(text)


def test_matrices() -> None:
    assert len(parse_matrix("[[1, 2], [3, 4/5]]")) == 2
    assert len(parse_matrix("[1, 2, 3]")[0]) == 3
    with pytest.raises(ProgramError, match="equal lengths, got 2, 1"):
        parse_matrix("[[1, 2], [3]]")


polynomials = st.recursive(
    st.sampled_from(["x", "y", "z", "2", "-1", "1/3"]),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*"]), inner),
        st.builds("({})^{}".format, inner, st.integers(0, 3)),
    ),
    max_leaves=8,
)


@given(polynomials, polynomials)
@example("(((x)^0 - (x)^0))^0", "x")
@settings(max_examples=60, deadline=None)
def test_equality_and_values_agree_with_sympy(left: str, right: str) -> None:
    ours = same(parse_expression(left), parse_expression(right))
    difference = reference.expand(
        reference.sympify(left.replace("^", "**")) - reference.sympify(right.replace("^", "**"))
    )
    assert ours == (difference == 0)
    point = {"x": Fraction(2, 3), "y": Fraction(-5), "z": Fraction(7, 4)}
    theirs = reference.sympify(left.replace("^", "**")).subs({k: reference.Rational(v) for k, v in point.items()})
    assert reference.Rational(evaluate(parse_expression(left), point)) == theirs


def test_ranks_agree_with_sympy() -> None:
    draw = random.Random(0)
    for _ in range(60):
        rows = [[draw.randint(-2, 2) for _ in range(draw.choice((3,)))] for _ in range(draw.randint(1, 5))]
        assert rank([[Fraction(value) for value in row] for row in rows]) == reference.Matrix(rows).rank()


def test_a_polynomial_too_large_to_check_is_refused() -> None:
    with pytest.raises(RejectedProgramError, match="too large to check"):
        same(parse_expression("(a+b+c+d+f+g+h)^20"), parse_expression("0"))


@pytest.mark.parametrize(
    ("op", "inputs", "value", "verified"),
    [
        ("factor", ["x^2 - 1"], "(x - 1)*(x + 1)", True),
        ("expand", ["(x + 1)^2"], "x**2 + 2*x + 1", True),
        ("simplify", ["(x^2-1)/(x-1)"], "x + 1", True),
        ("simplify", ["sin(x)^2 + cos(x)^2"], "1", None),
        ("evaluate", ["log2(2^5)"], "5.00000000000000", None),
        ("rank_of", ["[[1,2,3],[4,5,6],[7,8,9]]"], 2, True),
        ("solve", ["2x + 3 = 7"], [{"x": "2"}], True),
        ("solve", ["x + y = 3; x - y = 1"], [{"x": "2", "y": "1"}], True),
        ("solve", ["x^2 = -1"], [{"x": "-I"}, {"x": "I"}], None),
        ("solve", ["x + 1 = x"], [], None),
    ],
)
def test_answers(engine: Sympy, op: str, inputs: list[str], value: object, verified: bool | None) -> None:
    assert isinstance(engine, Engine)
    reply = ask(engine, op, *inputs)
    assert (reply.value, reply.verified) == (value, verified)


def test_the_papers_factorisation(engine: Sympy) -> None:
    right = ask(engine, "same_expression", "d+(x-y)(a+b-c)", PAPER, letters=True)
    wrong = ask(engine, "same_expression", "d+(x+y)(a+b-c)", PAPER, letters=True)
    assert (right.value, right.verified, wrong.value, wrong.verified) == (True, True, False, True)


def test_the_half_life_of_uranium(engine: Sympy) -> None:
    """The workflow test of the paper's benchmark: log2 of 703.8 (million years) to six digits."""
    assert ask(engine, "evaluate", "log2(703.8)", digits=6).value == "9.45902"


def test_a_named_unknown_is_solved_for(engine: Sympy) -> None:
    assert ask(engine, "solve", "a*x = b", unknowns=["x"]).value == [{"x": "b/a"}]


@pytest.mark.parametrize(
    ("op", "inputs", "params", "message"),
    [
        ("integrate", ["x"], {}, "does not know 'integrate'; it knows: evaluate, expand, factor"),
        ("evaluate", ["x"], {}, "x: only an expression of numbers has a value"),
        ("evaluate", ["1/0"], {}, "the value is zoo"),
        ("evaluate", ["1"], {"digits": 10**9}, "from 1 to 1000, got 1000000000"),
        ("factor", ["x", "y"], {}, "takes 1 operands, got 2"),
    ],
)
def test_what_cannot_be_answered_is_a_typed_error(
    engine: Sympy, op: str, inputs: list[str], params: dict, message: str
) -> None:
    with pytest.raises((BadRequestError, ProgramError, EngineError), match=message):
        ask(engine, op, *inputs, **params)


def test_the_time_limit_is_kept_and_the_next_call_is_answered(engine: Sympy) -> None:
    ask(engine, "factor", "x^2 - 1")  # the process is up, so the limit is SymPy's alone
    began = time.monotonic()
    with pytest.raises(EngineTimeoutError, match="in time"):
        ask(engine, "expand", "(a+b+c+d+f+g+h)^60", seconds=2.0)
    assert time.monotonic() - began < 4.0
    with pytest.raises(EngineTimeoutError, match="still starting"):
        ask(engine, "factor", "x^2 - 1", seconds=0.01)
    assert ask(engine, "factor", "x^2 - 1").verified is True


@pytest.mark.slow
def test_memory_is_bounded_and_an_answer_too_large_to_check_is_not_verified(engine: Sympy) -> None:
    large = "(a+b+c+d+f+g)^14"
    small = Sympy(memory=60 << 20)
    with pytest.raises(EngineError, match="out of memory"):
        ask(small, "expand", large)
    assert ask(small, "factor", "x^2 - 4").value == "(x - 2)*(x + 2)"
    small.close()
    reply = ask(engine, "expand", large)
    assert reply.value.count("+") == 11_627
    assert reply.verified is None
