"""Questions with given choices, one of which is right: what rank classification asks."""

from __future__ import annotations

import dataclasses
from typing import Literal, Protocol

from glasshouse.evaluation.requests import LogLikelihood

Judged = Literal["acc", "len_norm", "per_token", "per_byte", "pmi_dc", "f1"]
"""What a task is judged by: see `rank_classification`."""


class QuestionError(ValueError):
    """A file of questions cannot be read, holds none, or has changed."""


@dataclasses.dataclass(frozen=True)
class Question:
    """One question: a request per choice, and the number of the right one.

    `domain_prompt` stands in place of the context for the probability that a choice has without the question.
    """

    id: str
    requests: tuple[LogLikelihood, ...]
    label: int
    domain_prompt: str

    def __post_init__(self) -> None:
        if not 0 <= self.label < len(self.requests) or len(self.requests) < 2:
            raise QuestionError(
                f"question {self.id!r} has {len(self.requests)} choices and the label {self.label}: "
                "it needs two choices or more, and a label that is one of them"
            )
        if empty := [place for place, request in enumerate(self.requests) if not request.continuation.strip()]:
            raise QuestionError(f"choice {empty[0]} of question {self.id!r} is empty: nothing can be scored of it")


class QuestionSource(Protocol):
    """What rank classification asks of a task."""

    @property
    def name(self) -> str: ...

    @property
    def metric(self) -> Judged: ...

    @property
    def questions(self) -> tuple[Question, ...]: ...


@dataclasses.dataclass(frozen=True)
class QuestionSet:
    """Questions in memory."""

    name: str
    questions: tuple[Question, ...]
    metric: Judged = "acc"


def domain_prompt_of(context: str) -> str:
    """What is left of a question when its content is taken away: the last line of a context of several lines
    ("Answer:"), else its last word ("because").

    Holtzman et al. (arXiv 2104.08315, section 3) use such a premise to measure how likely an answer is in the domain.
    """
    lines = context.strip().split("\n")
    return lines[-1] if len(lines) > 1 else (lines[0].split() or [""])[-1]
