"""Modality: choose the tool that a request needs, take its stored answer, and say what the request asked for."""

from __future__ import annotations

from typing import Any

from glasshouse.symbolic.answers import Choice
from glasshouse.symbolic.solvers.statements import dependence
from glasshouse.symbolic.suite.case import Case, Check, Expected, any_of, case
from glasshouse.symbolic.sym import Sym

_PART = "modality"
TOOLS = (
    "read a web page", "search the web", "solve algebra", "compare numbers",
    "read a picture", "translate speech", "run a program", "none of these",
)  # fmt: skip
_MATRIX = "[[1, 2, 0], [0, 1, 1], [2, 0, 1]]"
STORED = {
    "read a web page": "Harbour museum. Open Tuesday to Sunday, 10-18. Closed on Mondays. Tickets 8 euros.",
    "search the web": "1. Mount Kenya, 5,199 m, second-highest mountain of Africa. 2. Kilimanjaro, the highest.",
    "solve algebra": f"matrix {_MATRIX}: determinant 5, rank 3",
    "compare numbers": "1000 > 999.5",
    "read a picture": "INVOICE No 4711 / date 3 May / total 120.50 EUR",
}


def _tool(right: str, wrong: str) -> Expected:
    return Expected((right,), wrong, any_of(right), typed=True)


def _asked(name: str, tool: str, other: str, request: str, answer: Expected) -> Case:
    def build() -> Any:
        request_symbol = Sym(request)
        chosen = request_symbol.sem.choose(list(TOOLS), as_=Choice(TOOLS))
        found = Sym(STORED).get(chosen, "no such tool")
        return found.sem.query(request_symbol)

    return case(_PART, name, build, _tool(tool, other), answer)


def _says(*needed: str) -> Check:
    return lambda value, runtime: all(word in str(value).lower() for word in needed)


CASES = (
    _asked(
        "page",
        TOOLS[0],
        TOOLS[1],
        "Look at the museum's page: on which day is it closed?",
        Expected(
            ("The museum is closed on Mondays.", "It is closed on Monday."),
            "The museum is closed on Sundays.",
            lambda value, runtime: "monday" in str(value).lower() and "sunday" not in str(value).lower(),
        ),
    ),
    _asked(
        "search",
        TOOLS[1],
        TOOLS[0],
        "Find out which mountain is the second-highest of Africa.",
        Expected(
            ("Mount Kenya is the second-highest mountain of Africa.", "The second-highest is Mount Kenya."),
            "Mount Kilimanjaro is the second-highest mountain of Africa.",
            _says("kenya"),
        ),
    ),
    _asked(
        "linear algebra",
        TOOLS[2],
        TOOLS[3],
        f"Are the rows of the matrix {_MATRIX} linearly independent?",
        Expected(
            ("The rows are linearly independent.", "The vectors are linearly independent."),
            "The rows are linearly dependent.",
            lambda value, runtime: dependence(str(value), _MATRIX).holds,
        ),
    ),
    _asked(
        "comparison",
        TOOLS[3],
        TOOLS[2],
        "Is a thousand more than 999.5? Answer yes or no.",
        Expected(("yes",), "no", any_of("yes"), typed=True),
    ),
    _asked(
        "picture",
        TOOLS[4],
        TOOLS[0],
        "What is the total on the photographed invoice?",
        Expected(("The total is 120.50 EUR.", "120.50 euros"), "The total is 4711 EUR.", _says("120.50")),
    ),
)
