"""Graphs: a plan that is carried out with tools, step by step, and a paper written from its parts."""

from __future__ import annotations

import re
from typing import Any

from glasshouse.symbolic.answers import Choice
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.suite.case import Expected, any_of, case, equal
from glasshouse.symbolic.sym import Sym

_PART = "graphs"
_GOAL = "Find the half-life of uranium-235 in millions of years and compute its logarithm to the base 2."
_TOOLS = ("encyclopedia", "calculator", "translator")
_PAGE = (
    "Uranium-235 is an isotope of uranium, about 0.72 % of the natural element. Its half-life is 703.8 million years."
)
_STEPS = '["look up the half-life of uranium-235", "compute its logarithm to the base 2", "report the number"]'
_OTHER_STEPS = '["find the half-life of U-235 in an encyclopedia", "take the base-2 logarithm of it"]'
_MEASURED = "We loaded forty bridges of paper until they broke. Folded ones carried 3.1 times more than flat ones."
_SOURCES = (
    "Lee (1998) tested beams of cardboard and found that folding triples their strength.",
    "Okafor (2007) measured how sheets buckle under load at their thinnest place.",
)


def _workflow() -> Any:
    plan = Sym(_GOAL).sem.outline()
    first = plan.sem.choose(list(_TOOLS), as_=Choice(_TOOLS))
    page = Sym(dict(zip(_TOOLS, (_PAGE, "", ""), strict=True)))[first]
    life = page.sem.extract("the half-life in millions of years", as_=float)
    second = plan.sem.choose(list(_TOOLS), as_=Choice(_TOOLS), context="The first step is done.")
    logarithm = Sym("log(%s)/log(2)") % life
    return [logarithm.sem.evaluate(6), second]


def _paper() -> Any:
    method = Sym(_MEASURED).sem.summarize()
    related = Sym([Sym(source).sem.summarize() for source in _SOURCES]).sem.compose()
    abstract = Sym([method, related]).sem.compose(context="Write an abstract of one or two sentences.")
    return abstract.sem.cluster(context="Give the title of the paper.")


def _plan(value: Any, runtime: Runtime) -> bool | None:
    """The look-up has to come before the computation."""
    places = [
        next((place for place, step in enumerate(value) if any(word in step.lower() for word in words)), None)
        for words in (("half-life", "look"), ("logarithm", "log", "compute"))
    ]
    look_up, compute = places
    return look_up is not None and compute is not None and look_up < compute


def _has(*words: str) -> Any:
    """Facts that may not get lost; that no false one was added is not decided."""
    return lambda value, runtime: None if all(word in str(value).lower() for word in words) else False


def _folded_carry_more(value: Any, runtime: Runtime) -> bool | None:
    """The comparison must not be turned round; that it is there is all that is decided."""
    text = str(value).lower()
    if "3.1" not in text or "fold" not in text or re.search(r"\bflat\b[^;]*\bcarr\w+[^;]*\bthan folded", text):
        return False
    return None


CASES = (
    case(
        _PART,
        "half-life",
        _workflow,
        Expected((_STEPS, _OTHER_STEPS), '["report the number", "compute its logarithm to the base 2"]', _plan),
        Expected(("encyclopedia",), "translator", any_of("encyclopedia"), typed=True),
        Expected(("703.8",), "235", equal(703.8), typed=True),
        Expected(("calculator",), "encyclopedia", any_of("calculator"), typed=True),
    ),
    case(
        _PART,
        "paper",
        _paper,
        Expected(
            (
                "Forty paper bridges were loaded until they broke; folded ones carried 3.1 times more than flat ones.",
                "Of forty paper bridges loaded to breaking, the folded carried 3.1 times the load of the flat.",
            ),
            "Forty paper bridges were loaded until they broke; flat ones carried 3.1 times more than folded ones.",
            _folded_carry_more,
        ),
        Expected(
            (
                "Lee (1998) found that folding triples the strength of cardboard beams.",
                "Folded beams of cardboard are three times (tripled) as strong, according to Lee (1998).",
            ),
            "Lee (1998) found that folding halves the strength of cardboard beams.",
            _has("lee", "tripl"),
        ),
        Expected(
            (
                "Okafor (2007) measured that sheets buckle at their thinnest place.",
                "Under load, sheets buckle where they are thinnest (Okafor, 2007).",
            ),
            "Okafor (2007) measured that sheets buckle at their thickest place.",
            _has("okafor", "thinnest"),
        ),
        Expected(
            (
                "Folding triples cardboard's strength (Lee 1998); sheets buckle at the thinnest place (Okafor 2007).",
                "Lee (1998) saw strength triple with folding, and Okafor (2007) saw sheets buckle at their thinnest.",
            ),
            "Folding halves cardboard's strength (Lee 1998); sheets buckle at the thickest place (Okafor 2007).",
            _has("lee", "okafor", "tripl", "thinnest"),
        ),
        Expected(
            (
                "Folded paper bridges carry 3.1 times more than flat ones, in line with earlier tests of cardboard.",
                "In tests like those of cardboard before, folding made paper bridges carry 3.1 times the load.",
            ),
            "Flat paper bridges carry 3.1 times more than folded ones, in line with earlier tests of cardboard.",
            _folded_carry_more,
        ),
        Expected(
            ("Folding makes paper bridges three times stronger", "Folded paper bridges are stronger"),
            "Folding makes paper bridges three times weaker",
            _has("fold", "strong"),
        ),
    ),
)
