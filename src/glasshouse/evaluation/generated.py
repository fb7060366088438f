"""Tasks with known answers that no corpus holds: drawn from a seed, with nothing to download.

- `colours`: which of ten colours was named? The answer can be copied (as OLMo's `copycolors`, written anew);
- `arithmetic`: a sum or difference of small numbers, with wrong answers close by;
- `brackets`: which bracket closes the one that is open?

`text(n)` writes the n-th example with its answer, for training; `questions` are drawn from a seed of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Literal

import numpy as np

from glasshouse.evaluation.questions import Judged, Question
from glasshouse.evaluation.requests import LogLikelihood
from glasshouse.store.configuration import named_seed

Kind = Literal["colours", "arithmetic", "brackets"]
COLOURS = ("red", "green", "blue", "yellow", "black", "white", "purple", "orange", "brown", "pink")
THINGS = ("door", "cup", "kite", "boat", "chair", "lamp", "coat", "bell", "gate", "bowl")


@dataclasses.dataclass(frozen=True)
class _Example:
    context: str
    choices: tuple[str, ...]
    answer: int
    domain_prompt: str


@dataclasses.dataclass(frozen=True)
class GeneratedTask:
    """Questions of one kind: a function of the seed."""

    kind: Kind
    count: int = 200
    seed: int = 0

    @property
    def name(self) -> str:
        """The kind."""
        return self.kind

    @property
    def metric(self) -> Judged:
        """Choices are about equally long, so likelihood itself."""
        return "acc"

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """The questions."""
        found = []
        for number in range(self.count):
            example = self._draw("question", number)
            requests = tuple(LogLikelihood(example.context, f" {choice}") for choice in example.choices)
            found.append(Question(str(number), requests, example.answer, example.domain_prompt))
        return tuple(found)

    def text(self, number: int) -> str:
        """An example with its answer, to learn from."""
        example = self._draw("text", number)
        return f"{example.context} {example.choices[example.answer]}\n"

    def _draw(self, use: str, number: int) -> _Example:
        return KINDS[self.kind](np.random.default_rng(named_seed(self.seed, self.kind, use, number)))


def _colours(draw: np.random.Generator) -> _Example:
    thing, answer = THINGS[draw.integers(len(THINGS))], int(draw.integers(len(COLOURS)))
    context = f"The {thing} is {COLOURS[answer]}.\nQuestion: What colour is the {thing}?\nAnswer:"
    return _Example(context, COLOURS, answer, "Answer:")


def _arithmetic(draw: np.random.Generator) -> _Example:
    one, other = (int(number) for number in draw.integers(0, 20, size=2))
    if draw.random() < 0.5:
        question, right = f"{one} + {other}", one + other
    else:
        one, other = max(one, other), min(one, other)
        question, right = f"{one} - {other}", one - other
    near = [right + step for step in (-10, -2, -1, 1, 2, 10) if right + step >= 0]
    wrong = [near[index] for index in draw.permutation(len(near))[:3]]
    return _ordered(draw, f"{question} =", str(right), [str(number) for number in wrong], "=")


def _brackets(draw: np.random.Generator) -> _Example:
    pairs = {"(": ")", "[": "]", "{": "}", "<": ">"}
    open_: list[str] = []
    parts: list[str] = []
    for _ in range(int(draw.integers(3, 10))):
        if open_ and draw.random() < 0.4:
            parts.append(pairs[open_.pop()])
        else:
            open_.append("([{<"[draw.integers(4)])
            parts.append(open_[-1])
    if not open_:
        open_.append("(")
        parts.append("(")
    right = pairs[open_[-1]]
    return _ordered(draw, " ".join(parts), right, [close for close in pairs.values() if close != right], "")


def _ordered(draw: np.random.Generator, context: str, right: str, wrong: list[str], domain_prompt: str) -> _Example:
    answer = int(draw.integers(len(wrong) + 1))
    return _Example(context, (*wrong[:answer], right, *wrong[answer:]), answer, domain_prompt)


KINDS: dict[Kind, Callable[[np.random.Generator], _Example]] = {
    "colours": _colours,
    "arithmetic": _arithmetic,
    "brackets": _brackets,
}


def generated_tasks(count: int = 200, seed: int = 0) -> tuple[GeneratedTask, ...]:
    """All kinds, with `count` questions each."""
    return tuple(GeneratedTask(kind, count, seed) for kind in KINDS)
