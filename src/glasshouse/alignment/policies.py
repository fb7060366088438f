"""What policy optimisation asks of a policy, and our language model as one.

A policy draws N answers to each of B prompts and says how likely a module finds them. The module is given each time, so
that the same policy scores answers under the weights that learn and under those of the reference.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from glasshouse.language.generation import GenerationError
from glasshouse.language.sampling import sample
from glasshouse.language.scoring import log_probabilities
from glasshouse.nn.loss import IGNORE
from glasshouse.nn.transformer import Transformer
from glasshouse.training.data import DataError

Prompts = Mapping[str, Tensor]
"""A batch of prompts. `prompt` are their numbers in the data; the rest is the policy's own."""


@dataclasses.dataclass(frozen=True)
class Answers:
    """N answers to each of B prompts; `lengths` count tokens, the end token with them."""

    prompts: Int[Tensor, " prompts"]
    tokens: Int[Tensor, "prompts answers longest"]
    lengths: Int[Tensor, "prompts answers"]


class Policy(Protocol):
    """Draws answers and scores them. `draw` runs without gradients, `score` with them."""

    def draw(self, module: nn.Module, prompts: Prompts, answers: int, generator: torch.Generator) -> Answers: ...

    def score(self, module: nn.Module, prompts: Prompts, answers: Answers) -> Float[Tensor, "prompts answers"]:
        """log pi(y|x) of whole answers, in float32."""


@dataclasses.dataclass(frozen=True)
class PromptRows:
    """Prompts as token rows, padded in front, for the trainer. Raises `DataError` for none and for an empty one."""

    prompts: Sequence[Sequence[int]]
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        empty = [number for number, prompt in enumerate(self.prompts) if not len(prompt)]
        if not self.prompts or empty:
            raise DataError(f"prompts need one token or more; {len(self.prompts)} were given, empty: {empty[:5]}")
        if self.names is not None and len(self.names) != len(self.prompts):
            raise DataError(f"{len(self.names)} names were given for {len(self.prompts)} prompts")

    @property
    def rows(self) -> int:
        return len(self.prompts)

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for prompt in self.prompts:
            digest.update((" ".join(map(str, prompt)) + "\n").encode())
        return digest.hexdigest()

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """`prompt` (the row's number), `tokens` padded in front, and `length`."""
        chosen = [self.prompts[index] for index in indices.tolist()]
        longest = max(map(len, chosen))
        rows = [[0] * (longest - len(prompt)) + list(prompt) for prompt in chosen]
        return {
            "prompt": torch.from_numpy(indices),
            "tokens": torch.tensor(rows),
            "length": torch.tensor([len(prompt) for prompt in chosen]),
        }

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        return [self.names[row] if self.names is not None else f"prompt {row}" for row in indices.tolist()]


@dataclasses.dataclass(frozen=True)
class LanguagePolicy:
    """Our language model: answers of at most `tokens` tokens at temperature 1, over when `end` is drawn.

    An answer that is cut off has no end token, and none is counted in its probability.
    """

    tokens: int
    end: int

    def draw(self, module: nn.Module, prompts: Prompts, answers: int, generator: torch.Generator) -> Answers:
        if not isinstance(module, Transformer):
            raise GenerationError(f"only our Transformer draws with a cache; got a {type(module).__name__}")
        given = [
            row[-length:] for row, length in zip(prompts["tokens"].tolist(), prompts["length"].tolist(), strict=True)
        ]
        found = sample(module, given, answers, self.tokens, end=self.end, generator=generator)
        return Answers(prompts["prompt"], found.tokens, found.lengths)

    def score(self, module: nn.Module, prompts: Prompts, answers: Answers) -> Float[Tensor, "prompts answers"]:
        per_token = log_probabilities(module, scored_rows(prompts, answers))
        return per_token.sum(-1).view(answers.lengths.shape)


def scored_rows(prompts: Prompts, answers: Answers) -> dict[str, Tensor]:
    """Prompt and answer in one row, padding behind, the answer's tokens as targets: rows that need no mask."""
    each, longest = answers.tokens.shape[1:]
    device = answers.tokens.device
    asked = prompts["tokens"][:, None].expand(-1, each, -1)
    width = asked.shape[2]
    whole = torch.cat([asked, answers.tokens], -1).flatten(0, 1)
    lengths = prompts["length"].repeat_interleave(each)[:, None]
    places = torch.arange(width + longest, device=device)
    # What is padded in front comes round to the end.
    whole = whole.gather(1, (places + (width - lengths)) % (width + longest))
    goal = places[1:]
    answered = (goal >= lengths) & (goal < lengths + answers.lengths.view(-1, 1))
    targets = whole[:, 1:].masked_fill(~answered, IGNORE)
    return {"tokens": whole[:, :-1], "targets": targets}
