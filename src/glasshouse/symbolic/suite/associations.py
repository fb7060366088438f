"""Associations: small questions whose answer is known, asked through operators."""

from __future__ import annotations

from glasshouse.symbolic.suite.case import Expected, any_of, case, equal
from glasshouse.symbolic.sym import Sym

_PART = "associations"
_PI = "3.14159265358979323846"
_ERROR = "Traceback: IndexError in cell 4: index 7410 is out of bounds for axis 0 with size 7000"
_DISHES = "We ate apples, rye bread, a pear and two plums, and cheese."
_SUBJECTS = "physics, tennis, biology, dancing, chemistry"
_PAGE = "<p>Opening   hours:</p>\n<b>Monday</b>&nbsp;9-17"


def _number(text: str, wrong: str) -> Expected:
    return Expected((text,), wrong, equal(int(text)), typed=True)


def _truth(right: bool) -> Expected:
    words = ("true", "false") if right else ("false", "true")
    return Expected(words[:1], words[1], equal(right), typed=True)


CASES = (
    case(
        _PART,
        "the answer to everything",
        lambda: Sym("the number that is the answer to life, the universe and everything").sem.interpret(as_=int),
        _number("42", "24"),
    ),
    case(
        _PART,
        "ten digits of pi",
        lambda: Sym("pi, its first ten digits").sem.interpret(),
        Expected((_PI[:11],), "3.141592563", any_of(_PI[:11]), typed=True),
    ),
    case(_PART, "1 + 2", lambda: Sym("1").sem(as_=int) + "2", _number("3", "12")),
    case(_PART, "17 + two", lambda: Sym(17).sem(as_=int) + "two", _number("19", "172")),
    case(
        _PART,
        "words + number",
        lambda: Sym("two hundred and thirty four").sem(as_=int) + 7000,
        _number("7234", "2347"),
    ),
    case(_PART, "pi == number", lambda: Sym("pi").sem == _PI, _truth(True)),
    case(_PART, "number == pi", lambda: Sym(_PI).sem == "the ratio of a circle's girth to its diameter", _truth(True)),
    case(
        _PART,
        "tea without tea",
        lambda: (Sym("tea").sem - "tea").sem + "coffee",
        Expected(("nothing", "an empty text"), "tea", any_of("nothing", "an empty text", "", "''"), typed=True),
        Expected(("coffee",), "tea and coffee", any_of("coffee"), typed=True),
    ),
    case(_PART, "10 > '5'", lambda: Sym(10).sem > "5", _truth(True)),
    case(_PART, "10 < fifteen thousand", lambda: Sym(10).sem < "fifteen thousand", _truth(True)),
    case(
        _PART,
        "insert",
        lambda: Sym("The shop opens at nine").sem << "on Sundays at ten",
        Expected(
            ("The shop opens at nine, on Sundays at ten.", "The shop opens at nine and on Sundays at ten."),
            "The shop opens at ten, on Sundays at nine.",
            any_of("The shop opens at nine, on Sundays at ten", "The shop opens at nine and on Sundays at ten"),
        ),
    ),
    case(
        _PART,
        "fruit",
        lambda: Sym(_DISHES).sem.list("kinds of fruit"),
        Expected(
            ('["apples", "pear", "plums"]', '["apples", "a pear", "two plums"]'),
            '["apples", "pear", "cheese"]',
            lambda value, runtime: (
                all(any(fruit in item for item in value) for fruit in ("apple", "pear", "plum"))
                and not any(food in item for food in ("bread", "cheese") for item in value)
            ),
        ),
    ),
    case(
        _PART,
        "number of an error",
        lambda: Sym(_ERROR).sem.extract("the index that is out of bounds", as_=int),
        _number("7410", "7000"),
    ),
    case(
        _PART,
        "sciences",
        lambda: Sym(_SUBJECTS).sem.filter("natural sciences"),
        Expected(
            ("physics, biology, chemistry", "biology, chemistry, physics"),
            "physics, biology, dancing, chemistry",
            lambda value, runtime: (
                all(word in str(value) for word in ("physics", "biology", "chemistry"))
                and not any(word in str(value) for word in ("tennis", "dancing"))
            ),
        ),
    ),
    case(
        _PART,
        "clean",
        lambda: Sym(_PAGE).sem.clean(),
        Expected(
            ("Opening hours: Monday 9-17", "Opening hours:\nMonday 9-17"),
            "Opening hours: Monday 9-15",
            lambda value, runtime: " ".join(str(value).split()) == "Opening hours: Monday 9-17",
        ),
    ),
)
