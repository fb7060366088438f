"""A language model in this process as an engine: free text, and text under constraints of every form.

The same call with the same seed gives the same text. Constrained text is whole and valid at every budget that holds the
shortest one, or refused before the first token: see `completion`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from glasshouse.language.generation import GenerationError, Sampling, whole_characters
from glasshouse.symbolic.call import FORMS, Call, Reply, Usage
from glasshouse.symbolic.closing import Closer
from glasshouse.symbolic.completion import Scores, completing, last_word, writing_freely
from glasshouse.symbolic.constrain import Vocabulary
from glasshouse.symbolic.errors import BadRequestError

T = TypeVar("T")


class Writer(Protocol):
    """A causal language model with its tokenizer.

    Attributes:
        vocabulary: its tokens.
        context: the longest sequence, in tokens.
        identity: what the weights are, for the reply's `model`.
        artifact: which artifact of the store it is, for the reply's; empty for others.
    """

    vocabulary: Vocabulary
    context: int
    identity: str
    artifact: str

    def prompt(self, call: Call) -> list[int]:
        """The tokens that the model reads."""
        ...

    def scores(self, capacity: int) -> Scores:
        """The model with an empty cache for one text of so many tokens, the prompt's included.

        It keeps no gradients.
        """
        ...

    def text(self, tokens: list[int]) -> str:
        """Free text of tokens."""
        ...


class TextEngine:
    """Answers `text` calls with a writer; the model is asked for one token at a time, whatever the threads.

    Args:
        writer: the model.
        sampling: how tokens are drawn. `tokens` holds where a call's budget allows more or says nothing; the seed is
            the call's own. Its repetition rules apply to free text only.
    """

    def __init__(self, writer: Writer, sampling: Sampling | None = None, name: str = "local") -> None:
        self.name = name
        self.kinds = frozenset(("text", *FORMS))
        self._writer, self._sampling = writer, sampling or Sampling()
        self._closer: Closer | None = None
        self._lock = threading.Lock()

    def run(self, call: Call) -> Reply:
        """The model's text, and as evidence the share of its probability that the constraint left at each token.

        Raises `RefusalError` for a constraint that cannot be kept, in itself or within the budget, `BadRequestError`
        for a prompt without room for an answer, and `EngineTimeoutError`.
        """
        with self._lock:
            return last_word(self._answer(call, shown=False))

    def stream(self, call: Call) -> Generator[str, None, Reply]:
        """The same text in pieces of whole characters as it is written; what is returned is the reply."""
        answer = self._answer(call, shown=True)
        try:
            while True:
                with self._lock:
                    piece = next(answer)
                yield piece
        except StopIteration as end:
            reply: Reply = end.value
            return reply

    def _answer(self, call: Call, shown: bool) -> Generator[str, None, Reply]:
        """The pieces, where they are `shown`, and then the reply."""
        writer = self._writer
        deadline = None if call.budget.seconds is None else time.monotonic() + call.budget.seconds
        try:
            prompt = writer.prompt(call)
        except GenerationError as error:
            raise BadRequestError(str(error)) from None
        sampling = self._sampling.but(tokens=self._room(call, len(prompt)), seed=call.seed)
        scores = writer.scores(len(prompt) + sampling.tokens)
        if call.constraint is None:
            free = writing_freely(scores, prompt, sampling, writer.vocabulary.end, deadline)
            tokens, finish = (yield from _pieces(free, writer.text)) if shown else last_word(free)
            text = writer.text(tokens)
            return Reply(text, text, finish=finish, **self._about(prompt, tokens))
        self._closer = self._closer or Closer(writer.vocabulary)
        compiled = writer.vocabulary.compile(call.constraint)
        tokens_made = completing(scores, prompt, compiled, sampling, closer=self._closer, deadline=deadline)
        decode = writer.vocabulary.text_so_far
        made = (yield from _pieces(tokens_made, decode)) if shown else last_word(tokens_made)
        return Reply(
            made.text,
            made.text,
            evidence={"kept_probability": [round(share, 6) for share in made.kept]},
            finish=made.finish,
            **self._about(prompt, made.tokens),
        )

    def _about(self, prompt: list[int], tokens: list[int]) -> dict[str, Any]:
        """What it cost, and who answered."""
        usage = Usage(len(prompt), len(tokens))
        return {"usage": usage, "model": self._writer.identity, "artifact": self._writer.artifact}

    def _room(self, call: Call, prompt: int) -> int:
        """How many tokens may be written. Raises `BadRequestError` where there is room for none."""
        allowed = self._sampling.tokens if call.budget.tokens is None else call.budget.tokens
        room = min(allowed, self._sampling.tokens, self._writer.context - prompt)
        if room < 1:
            raise BadRequestError(
                f"no room for an answer: the prompt has {prompt} tokens, the context {self._writer.context}, and "
                f"the budget {allowed}: shorten the prompt, or allow more tokens"
            )
        return room


def _pieces(tokens: Generator[int, None, T], text: Callable[[list[int]], str]) -> Generator[str, None, T]:
    """Tokens as pieces of whole characters; what is returned is what the tokens' generator returns."""
    ended: list[T] = []

    def told() -> Iterator[int]:
        ended.append((yield from tokens))

    yield from whole_characters(told(), text)
    return ended[0]


def hash_of_tensors(model: nn.Module) -> str:
    """sha256 of the tensors with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
