"""Statements that are near the truth in words and wrong in fact are found; right ones are confirmed."""

import pytest

from glasshouse.symbolic.logic_programs.limits import ProgramError
from glasshouse.symbolic.solvers.statements import dependence, equal_expression, weekday

HORN = ["Sounds(Horn, Today)", "Sounds(Horn, $day) >>> Day($day, Sunday)"]
PAPER = "ax+bx-cx-ay-by+cy+d"


@pytest.mark.parametrize(
    ("text", "vectors", "holds"),
    [
        ("The vectors are linearly dependent.", "[[1, 2, 3], [4, 5, 6]]", False),
        ("The vectors are linearly independent.", "[[1, 2, 3], [4, 5, 6]]", True),
        ("They are not linearly independent", "[[1, 2, 3], [2, 4, 6]]", True),
        ("They aren't linearly dependent", "[[1, 2, 3], [2, 4, 6]]", False),
        ("This shows linear dependence.", "[[1, 2], [3, 4], [5, 6]]", True),
        ("Some are dependent, some independent", "[[1, 2], [2, 4]]", None),
        ("Nothing can be said.", "[[1, 2], [2, 4]]", None),
        ("linearly dependent", "[[sqrt(2), 2], [1, sqrt(2)]]", None),
    ],
)
def test_linear_dependence(text: str, vectors: str, holds: bool | None) -> None:
    assert dependence(text, vectors).holds is holds


def test_reasons_can_be_read() -> None:
    assert dependence("linearly dependent", "[[1, 2, 3], [4, 5, 6]]").why == "rank 2 of 2 vectors: linearly independent"
    assert weekday("It is Sunday.", HORN).why == (
        "Day(Today, Sunday, True) follows: Sounds(Horn, Today, True); Day(Today, Sunday, True)"
    )


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("The factorised result is: d+(x+y)(a+b-c)", False),
        ("The factorised result is: d+(x-y)(a+b-c)", True),
        ("d + (x - y)*(a + b - c).", True),
        ("ax+bx-cx-ay-by+cy+d = (a + b - c)(x - y) + d", True),
        ("This gives (a+b-c)*(x-y)", False),
        ("I cannot factor this.", None),
        ("q^2 + 1", None),
    ],
)
def test_factorisation(text: str, holds: bool | None) -> None:
    assert equal_expression(text, PAPER).holds is holds


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("It is Monday because I hear the horn.", False),
        ("It is Sunday because I hear the horn.", True),
        ("Today is not Monday, since the horn sounds.", True),
        ("It isn't Sunday", False),
        ("It is not Sunday, it is Monday", None),
        ("It is either Sunday or it is Monday", None),
        ("I hear the horn", None),
    ],
)
def test_weekdays(text: str, holds: bool | None) -> None:
    assert weekday(text, HORN).holds is holds


def test_without_the_horn_nothing_follows() -> None:
    assert weekday("It is Sunday", HORN[1:]).holds is None


def test_bad_premises_are_refused() -> None:
    with pytest.raises(ProgramError):
        weekday("It is Sunday", ["Sounds(Horn"])
