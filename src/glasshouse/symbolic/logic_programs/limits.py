"""What a program from outside may cost: bounds on its text, its tree and the search it starts."""

from __future__ import annotations

from pydantic import Field

from glasshouse.store.configuration import Config
from glasshouse.symbolic.errors import RejectedProgramError


class ProgramError(RejectedProgramError, ValueError):
    """A text is not a program of the language, or larger than its limits. Says where and why."""


class Limits(Config):
    """Bounds on a program; a text beyond them is refused before anything is computed.

    Attributes:
        characters: length of the text.
        depth: how deep parentheses and operators may nest.
        nodes: nodes of the tree.
        digits: digits of a written number.
        exponent: largest absolute value of a written power; bounds the size of what an expression expands to.
        facts: facts that forward chaining may derive.
    """

    characters: int = Field(default=50_000, ge=1)
    depth: int = Field(default=60, ge=1, le=200)
    nodes: int = Field(default=20_000, ge=1)
    digits: int = Field(default=40, ge=1)
    exponent: int = Field(default=64, ge=1)
    facts: int = Field(default=50_000, ge=1)


DEFAULT = Limits()
