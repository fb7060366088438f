"""Simulated feedback: a reward function in the place of a person (arXiv 2402.00396, its feedback simulator).

    P(first preferred) = e + (1 - 2 e) sigma((R(x, y) - R(x, y')) / temperature)    [Bradley & Terry 1952]

with e the share of answers that are turned round by mistake. A temperature of 0 always prefers the higher reward, and
tosses a coin for a tie. Answers are bits drawn from that probability; to assess an agent the probability itself is
used, as in the paper, because its mean has less noise than a mean of bits.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.store.configuration import named_seed

P = TypeVar("P", contravariant=True)
R = TypeVar("R", contravariant=True)


class Reward(Protocol[P, R]):
    """One number for each of several responses, a batch of prompts beside them."""

    def __call__(self, prompts: P, responses: R, /) -> Float[Tensor, " batch"]: ...


class FeedbackSimulator(Generic[P, R]):
    """Answers queries by a reward function.

    The draw for a query depends on `seed` and on how many were answered before in how many batches, which is all the
    state there is (`answered`): set it, and the answers go on where they were.

    Args:
        reward: called with prompts and responses, whatever they are.
        name: who answers, for the ledger.
    """

    def __init__(
        self,
        reward: Reward[P, R],
        temperature: float = 1.0,
        flip_probability: float = 0.0,
        seed: int = 0,
        *,
        name: str = "simulator",
    ) -> None:
        if temperature < 0:
            raise ValueError(f"temperature is 0 or positive, got {temperature}")
        if not 0 <= flip_probability <= 0.5:
            raise ValueError(f"flip_probability lies in [0, 0.5], got {flip_probability}")
        self.reward, self.temperature, self.flip_probability = reward, temperature, flip_probability
        self.seed, self.name = seed, name
        self.answered = 0

    def probability(self, prompts: P, first: R, second: R) -> Float[Tensor, " batch"]:
        """The chance that the first is preferred; asking for it is not counted as a query."""
        return preference_probability(
            self.reward(prompts, first), self.reward(prompts, second), self.temperature, self.flip_probability
        )

    def answer(self, prompts: P, first: R, second: R) -> Float[Tensor, " batch"]:
        """1 where the first is preferred and 0 where the second is, one draw each."""
        chance = self.probability(prompts, first, second)
        generator = torch.Generator().manual_seed(named_seed(self.seed, "answers", self.answered))
        self.answered += len(chance)
        return (torch.rand(len(chance), generator=generator) < chance.cpu()).float()


def preference_probability(
    first: Float[Tensor, " batch"], second: Float[Tensor, " batch"], temperature: float = 1.0, flip: float = 0.0
) -> Float[Tensor, " batch"]:
    """P(first preferred) from both rewards."""
    for name, rewards in (("first", first), ("second", second)):
        if not bool(torch.isfinite(rewards).all()):
            raise ValueError(f"the reward of a {name} response is not finite, so there is no preference")
    gap = first - second
    chance = torch.sigmoid(gap / temperature) if temperature > 0 else (torch.sign(gap) + 1) / 2
    return flip + (1 - 2 * flip) * chance
