"""A language model in this process as an engine: free text, and text under constraints of every form.

The same call with the same seed gives the same text. Constrained text is whole and valid at every budget that holds the
shortest one, or refused before the first token: see `completion`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from glasshouse.language.generation import GenerationError, Sampling
from glasshouse.store.files import hash_file
from glasshouse.symbolic.call import FORMS, Call, Reply, Usage
from glasshouse.symbolic.closing import Closer
from glasshouse.symbolic.completion import Scores, complete, write_freely
from glasshouse.symbolic.constrain import Vocabulary
from glasshouse.symbolic.errors import BadRequestError


class Writer(Protocol):
    """A causal language model with its tokenizer.

    Attributes:
        vocabulary: its tokens.
        context: the longest sequence, in tokens.
        identity: what the weights are, for the reply's `model`.
    """

    vocabulary: Vocabulary
    context: int
    identity: str

    def prompt(self, call: Call) -> list[int]:
        """The tokens that the model reads."""
        ...

    def scores(self, capacity: int) -> Scores:
        """The model with an empty cache for one text of so many tokens, the prompt's included."""
        ...

    def text(self, tokens: list[int]) -> str:
        """Free text of tokens."""
        ...


class TextEngine:
    """Answers `text` calls with a writer; one at a time, whatever the threads.

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
        deadline = None if call.budget.seconds is None else time.monotonic() + call.budget.seconds
        with self._lock, torch.inference_mode():
            return self._answer(call, deadline)

    def _answer(self, call: Call, deadline: float | None) -> Reply:
        writer = self._writer
        try:
            prompt = writer.prompt(call)
        except GenerationError as error:
            raise BadRequestError(str(error)) from None
        sampling = self._sampling.but(tokens=self._room(call, len(prompt)), seed=call.seed)
        scores = writer.scores(len(prompt) + sampling.tokens)
        if call.constraint is None:
            tokens, finish = write_freely(scores, prompt, sampling, writer.vocabulary.end, deadline)
            text = writer.text(tokens)
            return Reply(text, text, usage=Usage(len(prompt), len(tokens)), model=writer.identity, finish=finish)
        self._closer = self._closer or Closer(writer.vocabulary)
        compiled = writer.vocabulary.compile(call.constraint)
        made = complete(scores, prompt, compiled, sampling, closer=self._closer, deadline=deadline)
        return Reply(
            made.text,
            made.text,
            evidence={"kept_probability": [round(share, 6) for share in made.kept]},
            usage=Usage(len(prompt), len(made.tokens)),
            model=writer.identity,
            finish=made.finish,
        )

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


def hash_of_files(folder: Path) -> str:
    """sha256 of the weights' file; of the names and hashes where there are several."""
    hashes = {path.name: hash_file(path) for path in sorted(folder.glob("*.safetensors"))}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(f"{name} {value}\n" for name, value in hashes.items()).encode()).hexdigest()


def hash_of_tensors(model: nn.Module) -> str:
    """sha256 of the tensors with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
