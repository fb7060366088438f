"""What is asked of a language model when it is evaluated, and what it answers.

Two things are asked: how likely a continuation is after a context, and what the model writes after a prompt (greedily:
the likeliest token each time). A context or prompt that is too long for the model loses tokens on its left; how many
stands in the answer as `cut`, and so in every record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


class ScoringError(ValueError):
    """A request cannot be answered: empty, longer than the model's context, or the model gives no number for it."""


@dataclasses.dataclass(frozen=True)
class LogLikelihood:
    """A continuation to be scored after a context."""

    context: str
    continuation: str


@dataclasses.dataclass(frozen=True)
class Generate:
    """Text to be written after a prompt: at most `tokens` tokens, up to the first of the `stop` texts (left out)."""

    prompt: str
    stop: tuple[str, ...] = ()
    tokens: int = 64


Request = LogLikelihood | Generate


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """log p of a continuation.

    Attributes:
        nats: natural logarithm of its probability.
        greedy: whether each of its tokens is the likeliest one.
        tokens: how many it has.
        cut: tokens that the context lost on its left.
    """

    nats: float
    greedy: bool
    tokens: int
    cut: int = 0


@dataclasses.dataclass(frozen=True)
class Written:
    """What was written after a prompt.

    Attributes:
        text: without the stop text that ended it.
        tokens: how many were made.
        cut: tokens that the prompt lost on its left.
    """

    text: str
    tokens: int
    cut: int = 0


Answer = Likelihood | Written


def read_answer(row: Mapping[str, Any]) -> Answer:
    """An answer from the JSON form of its fields (`dataclasses.asdict`)."""
    return Written(**row) if "text" in row else Likelihood(**row)
