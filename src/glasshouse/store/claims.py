"""Claims: statements as checks on measured values. Tables of results are made from them, never typed by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Measures = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of a check, in numbers a reader can compare."""

    holds: bool
    measured: str
    expected: str


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement, where it stands, and the check that decides it.

    Attributes:
        name: the check's function name.
        statement: one sentence, as the paper or the project makes it.
        source: arXiv id and place (`2402.00838, table 6`), or `house` for the project's own.
        check: measured values -> verdict.
    """

    name: str
    statement: str
    source: str
    check: Callable[[Measures], Verdict]


def claim(statement: str, source: str = "house") -> Callable[[Callable[[Measures], Verdict]], Claim]:
    """Declare a claim from its check."""

    def declare(check: Callable[[Measures], Verdict]) -> Claim:
        return Claim(check.__name__, statement, source, check)

    return declare


def below(value: float, bound: float, unit: str = "") -> Verdict:
    """The measured value must be smaller than the bound."""
    return Verdict(value < bound, f"{value:.4g}{unit}", f"< {bound:.4g}{unit}")


def above(value: float, bound: float, unit: str = "") -> Verdict:
    """The measured value must be larger than the bound."""
    return Verdict(value > bound, f"{value:.4g}{unit}", f"> {bound:.4g}{unit}")


def check_claims(claims: Iterable[Claim], measures: Measures) -> list[dict[str, Any]]:
    """Decide every claim.

    Returns:
        One record per claim: `name, statement, source, status, measured, expected`, where status is `holds`,
        `does not hold` or `not measured` (a value the check needs is missing; `measured` then names it).
    """
    records = []
    for item in claims:
        try:
            verdict = item.check(measures)
        except KeyError as missing:
            verdict, status = Verdict(False, f"no value for {missing.args[0]}", ""), "not measured"
        else:
            status = "holds" if verdict.holds else "does not hold"
        records.append(
            {
                "name": item.name,
                "statement": item.statement,
                "source": item.source,
                "status": status,
                "measured": verdict.measured,
                "expected": verdict.expected,
            }
        )
    return records
