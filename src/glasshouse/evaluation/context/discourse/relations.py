"""Implicit discourse relations and their four classes at the top of PDTB-3's hierarchy."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from glasshouse.evaluation.context.sources import DataError

Sense = Literal["Temporal", "Contingency", "Comparison", "Expansion"]
SENSES: tuple[Sense, ...] = get_args(Sense)
_MISSPELT = {"cmparison": "comparison"}
"""A label of GDTB that is plainly a slip of the pen."""


@dataclasses.dataclass(frozen=True)
class Relation:
    """Two arguments that hang together with no connective between them.

    Attributes:
        senses: what counts as right; PDTB has relations of two senses.
        document: relations of one are not independent.
    """

    id: str
    first: str
    second: str
    senses: tuple[Sense, ...]
    document: str


def top_sense(label: str) -> Sense:
    """The class of `Contingency.Cause.Reason` and the like. Raises `DataError` for a class that PDTB-3 has not."""
    top = label.strip().split(".")[0].lower()
    found = next((sense for sense in SENSES if sense.lower() == _MISSPELT.get(top, top)), None)
    if found is None:
        raise DataError(f"{label!r} begins with none of the classes {', '.join(SENSES)}")
    return found
