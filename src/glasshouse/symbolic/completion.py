"""Text under a constraint and a budget: every output is whole and valid, or refused before the first token.

At each step the tokens that the constraint forbids lose their score, one of the others is drawn, and it is kept only if
a closing is known that fits into the rest of the budget; else the next is drawn, and after a few, the known closing is
followed. So a text is valid at every budget that is large enough for the shortest closing found.

What masking does to the distribution is known to be a distortion [Park et al., arXiv 2405.21047]: `Completion.kept` is
the share of the model's probability that each mask left, so one sees where the constraint fought the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.language.generation import Sampling, choose
from glasshouse.store.configuration import named_seed
from glasshouse.symbolic.closing import Closer
from glasshouse.symbolic.constrain import Compiled
from glasshouse.symbolic.errors import EngineTimeoutError, RefusalError

if TYPE_CHECKING:
    from llguidance import LLMatcher

TRIES = 8
"""Draws whose closing does not fit, after which the known closing is followed."""

T = TypeVar("T")
Scores = Callable[[Sequence[int]], Float[Tensor, "*vocabulary"]]
"""The scores of the next token, given the tokens that were not given before: a model with its cache."""


class Completion(NamedTuple):
    """A text, and how it came about.

    Attributes:
        tokens: of the text, without an end token.
        finish: `stop`: the model ended it, or nothing can follow. `closed`: the budget did. The text is whole in both.
        kept: for each token, the share of the model's probability that the constraint left to choose from.
    """

    tokens: list[int]
    text: str
    finish: str
    kept: list[float]


def least_tokens(compiled: Compiled, closer: Closer | None = None) -> int:
    """The smallest budget at which `complete` does not refuse. Raises `RefusalError` when no text is found at all."""
    return len(_shortest(compiled, closer or Closer(compiled.vocabulary)))


def complete(
    scores: Scores,
    prompt: Sequence[int],
    compiled: Compiled,
    sampling: Sampling,
    *,
    closer: Closer | None = None,
    deadline: float | None = None,
) -> Completion:
    """A text of at most `sampling.tokens` tokens that the constraint allows. `scores` is first given the prompt.

    Raises as `completing` does.
    """
    return last_word(completing(scores, prompt, compiled, sampling, closer=closer, deadline=deadline))


def completing(
    scores: Scores,
    prompt: Sequence[int],
    compiled: Compiled,
    sampling: Sampling,
    *,
    closer: Closer | None = None,
    deadline: float | None = None,
) -> Generator[int, None, Completion]:
    """The tokens of such a text as they are made; what is returned is all of it.

    Of `sampling`, the repetition rules do not apply. Raises `RefusalError` before the first token when no text fits
    into the budget, and `EngineTimeoutError` when `deadline` (of `time.monotonic`) passes.
    """
    closer = closer or Closer(compiled.vocabulary)
    plan = _first_plan(compiled, closer, sampling.tokens)
    plain = sampling.but(no_repeat=None, repetition_penalty=1.0)
    draw = torch.Generator().manual_seed(named_seed(sampling.seed, "sampling", 0))
    state, made, kept = compiled.start.deep_copy(), list[int](), list[float]()
    vocabulary, fed = compiled.vocabulary, list(prompt)
    while len(made) < sampling.tokens and not state.is_stopped():
        _in_time(deadline, len(made))
        found = scores(fed).float().cpu()
        allowed = torch.from_numpy(vocabulary.allowed(state).copy())
        kept.append(float(found.softmax(-1)[allowed].sum()))
        token, plan = _step(found.masked_fill(~allowed, -torch.inf), state, plan, plain, draw, closer, made)
        if token is None or token == vocabulary.end:
            return Completion(made, vocabulary.text(made), "closed" if token is None else "stop", kept[:-1])
        made.append(token)
        fed = [token]
        yield token
        if not state.consume_token(token):
            raise RefusalError(f"the constraint's matcher failed after {len(made)} tokens: {state.get_error()}")
    return Completion(made, vocabulary.text(made), "stop" if state.is_stopped() else "closed", kept)


def writing_freely(
    scores: Scores, prompt: Sequence[int], sampling: Sampling, end: int, deadline: float | None = None
) -> Generator[int, None, tuple[list[int], str]]:
    """Tokens without a constraint, those of `language.generation`; returned are all, and `stop` or `length`."""
    draw = torch.Generator().manual_seed(named_seed(sampling.seed, "sampling", 0))
    seen, fed = list(prompt), list(prompt)
    for _ in range(sampling.tokens):
        _in_time(deadline, len(seen) - len(prompt))
        token = choose(scores(fed).float().cpu(), seen, sampling, draw)
        if token == end:
            return seen[len(prompt) :], "stop"
        seen.append(token)
        fed = [token]
        yield token
    return seen[len(prompt) :], "length"


def last_word(made: Generator[object, None, T]) -> T:
    """What a generator returns; what it yields is let go."""
    while True:
        try:
            next(made)
        except StopIteration as end:
            found: T = end.value
            return found


def _in_time(deadline: float | None, made: int) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise EngineTimeoutError(f"the time allowed ended after {made} tokens: allow more, or fewer tokens")


def _step(
    scores: Float[Tensor, "*vocabulary"],
    state: LLMatcher,
    plan: list[int],
    sampling: Sampling,
    draw: torch.Generator,
    closer: Closer,
    made: list[int],
) -> tuple[int | None, list[int]]:
    """The next token, and a closing that then fits into the rest of the budget; None where only the end fits."""
    left = sampling.tokens - len(made) - 1
    for _ in range(TRIES):
        if not bool(scores.isfinite().any()):
            break
        token = choose(scores, made, sampling, draw)
        if token == closer.end:
            return token, []
        after = state.deep_copy()
        if after.consume_token(token) and (closing := _closing(after, token, plan, left, closer)) is not None:
            return token, closing
        scores[token] = -torch.inf
    return (plan[0], plan[1:]) if plan else (None, [])


def _closing(after: LLMatcher, token: int, plan: list[int], left: int, closer: Closer) -> list[int] | None:
    """A closing after a token: the rest of the plan, the end of its text, else what a walk finds."""
    if plan and plan[0] == token:
        return plan[1:]
    if after.is_accepting():
        return []
    again = closer.again(after, plan, left)
    return closer.walk(after, left) if again is None else again


def _first_plan(compiled: Compiled, closer: Closer, budget: int) -> list[int]:
    plan = closer.walk(compiled.start, budget)
    if plan is None:
        plan = _shortest(compiled, closer)
    if len(plan) > budget:
        raise RefusalError(
            f"no text of the {compiled.constraint.form} fits into {budget} tokens; the shortest found takes "
            f"{len(plan)}: allow as many, or change the constraint"
        )
    return plan


def _shortest(compiled: Compiled, closer: Closer) -> list[int]:
    plan = closer.least(compiled)
    if plan is None:
        raise RefusalError(f"no text of the {compiled.constraint.form} was found: {compiled.constraint.text:.200}")
    return plan
