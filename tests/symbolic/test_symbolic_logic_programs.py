"""What is read, what is refused, and that nothing a model writes is ever run."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.symbolic.logic_programs.formulas_text import parse_formula, parse_formulas
from glasshouse.symbolic.logic_programs.limits import Limits, ProgramError
from glasshouse.symbolic.logic_programs.puzzle import AllDifferent, Comparison, Join, Sum, parse_puzzle
from glasshouse.symbolic.logic_programs.rules_text import parse_literal, parse_rules, parse_statement
from glasshouse.symbolic.logic_programs.tree import (
    Atom,
    Connective,
    Constant,
    Literal,
    Quantifier,
    Rule,
    Variable,
    height,
)

X, MAX = Variable("x"), Constant("Max")
PARSERS = [parse_rules, parse_formulas, parse_puzzle, parse_formula, parse_literal]


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("Dog(Max, True)", Literal("Dog", (MAX,))),
        ("Dog(Max, False)", Literal("Dog", (MAX,), False)),
        ("Dog(Max)", Literal("Dog", (MAX,))),
        ("not Dog(Max, False)", Literal("Dog", (MAX,))),
        ("¬Dog($x, true)", Literal("Dog", (X,), False)),
        ("Not(Dog(Max))", Literal("Dog", (MAX,), False)),
        ("Likes(bald eagle, $x, True)", Literal("Likes", (Constant("bald eagle"), X))),
        ("Costs(Max, 42.3billion)", Literal("Costs", (MAX, Constant("42.3billion")))),
    ],
)
def test_literals(text: str, literal: Literal) -> None:
    assert parse_literal(text) == literal


def test_rules_have_bodies_and_one_head_each() -> None:
    a, b, c = (Literal(name, (X,)) for name in "ABC")
    assert parse_statement("A($x) && B($x) >>> C($x)") == [Rule((a, b), c)]
    assert parse_statement("A($x) >>> B($x) && C($x)") == [Rule((a,), b), Rule((a,), c)]
    assert parse_statement("A(Max) && B(Max)") == [Rule((), Literal(name, (MAX,))) for name in "AB"]


def test_a_program_of_rules_keeps_remarks_out_and_puts_facts_about_everything_aside() -> None:
    text = "Predicates:\nDog($x, bool) ::: a dog\nFacts:\nDog(Max, True) ::: Max is a dog\nCat($x, True)\n\nRules:\n"
    program = parse_rules(text + "Dog($x, True) >>> Barks($x, True)\nQuery:\nBarks(Max, True) ::: ?")
    assert program.rules[0] == Rule((), Literal("Dog", (MAX,)))
    assert program.aside == (Literal("Cat", (X,)),)
    assert program.goal == Literal("Barks", (MAX,))
    assert program.constants == (MAX,)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("A → B → C", "A -> (B -> C)"),
        ("A ∧ B ∨ C", "(A & B) | C"),
        ("A ∨ B → C ↔ D", "((A or B) => C) <-> D"),
        ("¬A ∧ B", "(not A) and B"),
        ("∀x (P(x) ⊕ Q(x))", "forall x (P(x) xor Q(x))"),
        ("¬∃y P(y)", "~(exists y P(y))"),
        ("P(x)", "∀x P(x)"),
        ("∀x P(x) ∧ Q(a)", "(∀x P(x)) ∧ Q(a)"),
        ("a ≠ b", "¬(a = b)"),
    ],
)
def test_formulas_written_in_two_ways_are_equal(text: str, same: str) -> None:
    assert parse_formula(text) == parse_formula(same)


def test_a_run_of_one_operator_is_one_connective_and_a_mixed_run_groups_to_the_left() -> None:
    a, b, c = Atom("A"), Atom("B"), Atom("C")
    assert parse_formula("A ∨ B ∨ C") == Connective("or", (a, b, c))
    assert parse_formula("A ⊕ B ∨ C") == Connective("or", (Connective("xor", (a, b)), c))


LEAVES = [Atom("P", (X,)), Atom("Q", (MAX,)), Atom("R"), Atom("=", (X, MAX))]
CONNECTIVES = st.sampled_from(["and", "or", "xor", "implies", "iff"])
formulas = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.builds(lambda part: Connective("not", (part,)), inner),
        st.builds(lambda kind, left, right: Connective(kind, (left, right)), CONNECTIVES, inner, inner),
        st.builds(lambda kind, body: Quantifier(kind, X, body), st.sampled_from(["forall", "exists"]), inner),
    ),
    max_leaves=12,
)


def written(node: object) -> str:
    """A formula with every parenthesis."""
    if isinstance(node, Atom):
        terms = [term.name for term in node.terms]
        return (
            " = ".join(terms) if node.predicate == "=" else node.predicate + (f"({','.join(terms)})" if terms else "")
        )
    if isinstance(node, Quantifier):
        return f"{node.kind} {node.variable.name} ({written(node.body)})"
    words = {"and": " ∧ ", "or": " ∨ ", "xor": " ⊕ ", "implies": " → ", "iff": " ↔ "}
    if node.kind == "not":
        return f"¬({written(node.parts[0])})"
    return words[node.kind].join(f"({written(part)})" for part in node.parts)


@given(formulas)
@settings(max_examples=100, deadline=None)
def test_what_is_written_out_is_read_back(formula: object) -> None:
    closed = Quantifier("forall", Variable("x"), formula)
    assert parse_formula(written(closed)) == closed


def test_a_puzzle() -> None:
    text = (
        "Domain:\n1: left\nVariables:\nred [IN] [1, 2, 3]\nblue [IN] [1, 2, 3]\nConstraints:\nred < blue + 1 ::: so\n"
    )
    text += "AllDifferentConstraint([red, blue])\nred == 1 or not 1 < blue <= 3\nQuery:\nA) red == 1\nB) blue == 3 - 1"
    puzzle = parse_puzzle(text)
    red, blue = Sum(0, ((1, "red"),)), Sum(0, ((1, "blue"),))
    assert puzzle.domains == {"red": (1, 2, 3), "blue": (1, 2, 3)}
    assert puzzle.conditions[:2] == (Comparison("<", red, Sum(1, ((1, "blue"),))), AllDifferent(("red", "blue")))
    between = Join("and", (Comparison("<", Sum(1, ()), blue), Comparison("<=", blue, Sum(3, ()))))
    assert puzzle.conditions[2] == Join("or", (Comparison("==", red, Sum(1, ())), Join("not", (between,))))
    assert puzzle.options == {"A": Comparison("==", red, Sum(1, ())), "B": Comparison("==", blue, Sum(2, ()))}


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_rules, "Facts:\nDog(Max)\n", "'Query:' is missing; the program has Facts"),
        (parse_rules, "Facts:\nQuery:\nDog(Max)", "neither facts nor rules"),
        (parse_rules, "Facts:\nDog(Max\nQuery:\nDog(Max)", "line 2: expected '[)]', found 'the end'"),
        (parse_rules, "Facts:\nMax is a dog.\nQuery:\nDog(Max)", "line 2: '[.]' does not belong"),
        (parse_formulas, "Premises:\nA ∧\nConclusion:\nA", "line 2: expected a name or a number"),
        (parse_formula, "P(f(x))", "expected '[)]', found '[(]'"),
        (parse_puzzle, "Variables:\nx [IN] [a]\nConstraints:\nx == 1\nQuery:\nA) x == 1", "line 2: expected `name"),
        (
            parse_puzzle,
            "Variables:\nx [IN] [1]\nConstraints:\ny == 1\nQuery:\nA) x == 1",
            "'y' is not among the variables: x",
        ),
        (parse_puzzle, "Variables:\nx [IN] [1]\nConstraints:\nx\nQuery:\nA) x == 1", "expected a comparison"),
        (parse_puzzle, "Variables:\nx [IN] [1]\nConstraints:\nx == 1.5\nQuery:\nA) x == 1", "not a whole number"),
    ],
)
def test_refusals_name_the_line_and_the_reason(parse: object, text: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        parse(text)


ATTACKS = [
    "__import__('os').system('touch owned')",
    "__import__(os)",
    "().__class__.__bases__[0].__subclasses__()",
    "Dog.bark(Max)",
    "lambda x: x",
    "exec(open('/etc/passwd').read())",
    "P(`id`)",
    "P($(id))",
    "P(Max); import os",
    "P({Max})",
    "P(Max)\\nimport os",
    "P('Max')",
    "\x00",
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("parse", PARSERS)
def test_code_is_refused_wherever_it_stands(attack: str, parse: object) -> None:
    wrapped = {
        parse_rules: f"Facts:\n{attack}\nQuery:\nP(Max)",
        parse_formulas: f"Premises:\n{attack}\nConclusion:\nP(Max)",
        parse_puzzle: f"Variables:\nx [IN] [1]\nConstraints:\n{attack}\nQuery:\nA) x == 1",
    }.get(parse, attack)
    with pytest.raises(ProgramError):
        parse(wrapped)


BOMBS = {
    "parentheses": "'(' * 1_000_000 + 'A' + ')' * 1_000_000",
    "parentheses within the length": "'(' * 20_000 + 'A' + ')' * 20_000",
    "denials": "'¬' * 40_000 + 'A'",
    "implications": "'A → ' * 9_000 + 'A'",
    "equivalences": "'A ↔ ' * 9_000 + 'A'",
    "mixed": "'A ∨ A ⊕ ' * 6_000 + 'A'",
    "quantifiers": "'∀x ' * 15_000 + 'A(x)'",
    "conjunctions": "'A ∧ ' * 12_000 + 'A'",
    "digits": "'P(' + '9' * 40_000 + ')'",
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_two_seconds_and_500_megabytes(name: str) -> None:
    """In a process of its own, so that its memory and time are its own."""
    code = (
        "import json, pathlib, time\n"
        "from glasshouse.symbolic.logic_programs.formulas_text import parse_formula\n"
        "from glasshouse.symbolic.logic_programs.limits import ProgramError\n"
        f"text = {BOMBS[name]}\n"
        "began = time.process_time()\n"
        "try:\n    parse_formula(text)\n    refused = ''\n"
        "except ProgramError as error:\n    refused = str(error)\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "megabytes = int(status.split('VmHWM:')[1].split()[0]) / 1024\n"
        "print(json.dumps([refused, time.process_time() - began, megabytes]))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    refused, seconds, megabytes = json.loads(found.stdout)
    assert seconds < 2
    assert megabytes < 500
    assert bool(refused) == (name != "conjunctions")  # a long conjunction is shallow, so it is simply read


def test_limits_can_be_set() -> None:
    assert height(parse_formula("¬¬¬A")) == 4
    with pytest.raises(ProgramError, match="deep"):
        parse_formula("¬¬¬A", Limits(depth=3))
    with pytest.raises(ProgramError, match="11 characters; at most 10"):
        parse_formula("A ∧ B ∧ CCC", Limits(characters=10))
    with pytest.raises(ProgramError, match="more than 2 nodes"):
        parse_formula("A ∧ B ∧ C", Limits(nodes=2))


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused_by_type(text: str) -> None:
    for parse in PARSERS:
        with contextlib.suppress(ProgramError):
            parse(text)
