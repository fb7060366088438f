"""Logic: a factorisation, statements joined, a formula in a given language, and a riddle; solvers say what is true."""

from __future__ import annotations

from typing import Any

from glasshouse.symbolic.answers import Regex
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.solvers.statements import equal_expression, weekday
from glasshouse.symbolic.suite.case import Expected, case, solved
from glasshouse.symbolic.sym import Sym

_PART = "logic"
_SUM = "a*x + b*x - c*x - a*y - b*y + c*y + d"
_HORN = ("Horn(Today, True)", "Horn($day, True) >>> Day($day, Sunday)")
_FAMILY = (
    "Bob is the father of John and of Jay, and of nobody else. Two different people are brothers when they have the "
    "same father. Who is Jay's brother?"
)
_THEORY = [
    "Father(bob, john)", "Father(bob, jay)", "john ≠ jay",
    "∀x ∀y ∀z ((Father(z, x) ∧ Father(z, y) ∧ x ≠ y) → Brother(x, y))",
]  # fmt: skip
_NAMES = ("john", "jay", "bob")


def _either(value: Any, runtime: Runtime) -> bool | None:
    """Both halves have to be there, neither denied. That is all that can be decided of the words."""
    text = str(value).lower()
    whole = "lamp" in text and "power" in text and " or " in text
    return None if whole and "both" not in text.replace("or both", "") else False


def _exclusive(value: Any, runtime: Runtime) -> bool | None:
    text = str(value).lower()
    return None if "bus" in text and "walked" in text and ("not both" in text or "exactly one" in text) else False


def _equivalent(gold: str) -> Any:
    """The formula follows from the right one and the right one from it."""

    def check(value: Any, runtime: Runtime) -> bool | None:
        there = solved(lambda text: Sym([gold]).sem.entails(text))(value, runtime)
        back = solved(lambda text: Sym([text]).sem.entails(gold))(value, runtime)
        return None if there is None or back is None else there and back

    return check


def _brother(value: Any, runtime: Runtime) -> bool | None:
    named = [name for name in _NAMES if name in str(value).lower().replace("jay's", "")]
    if len(named) != 1:
        return False
    return solved(lambda _: Sym(_THEORY).sem.entails(f"Brother(jay, {named[0]})"))(value, runtime)


CASES = (
    case(
        _PART,
        "factorisation",
        lambda: Sym(_SUM).sem.transcribe("factorise as far as possible, with * for products"),
        Expected(
            ("d + (x - y)*(a + b - c)", "(a + b - c)*(x - y) + d"),
            "d + (x + y)*(a + b - c)",
            lambda value, runtime: equal_expression(str(value), _SUM).holds,
        ),
    ),
    case(
        _PART,
        "and",
        lambda: Sym("The horn only sounds on Sundays.").sem & "I hear the horn.",
        Expected(
            ("It is Sunday because I hear the horn.", "I hear the horn, so it is Sunday."),
            "It is Monday because I hear the horn.",
            lambda value, runtime: weekday(str(value), _HORN).holds,
        ),
    ),
    case(
        _PART,
        "or",
        lambda: Sym("The lamp is broken.").sem | "The power is off.",
        Expected(
            ("The lamp is broken or the power is off.", "Either the lamp is broken or the power is off, or both."),
            "The lamp is broken and the power is off.",
            _either,
        ),
    ),
    case(
        _PART,
        "xor",
        lambda: Sym("He took the bus.").sem ^ "He walked.",
        Expected(
            ("He either took the bus or walked, but not both.", "He took the bus or walked, not both."),
            "He took the bus or walked, or both.",
            _exclusive,
        ),
    ),
    case(
        _PART,
        "formula",
        lambda: Sym("Every dog that barks is awake.").sem.convert(
            "a first-order formula with ∀ ∧ → ¬ and the predicates Dog, Barks, Awake of x",
            as_=Regex(r"[∀∃¬∧∨→() ,\w]+"),
        ),
        Expected(
            ("∀x ((Dog(x) ∧ Barks(x)) → Awake(x))", "∀x (Dog(x) → (Barks(x) → Awake(x)))"),
            "∀x ((Dog(x) ∧ Awake(x)) → Barks(x))",
            _equivalent("∀x ((Dog(x) ∧ Barks(x)) → Awake(x))"),
        ),
    ),
    case(
        _PART,
        "Jay's brother",
        lambda: Sym(_FAMILY).sem.interpret(),
        Expected(("John is Jay's brother.", "Jay's brother is John."), "Bob is Jay's brother.", _brother),
    ),
)
