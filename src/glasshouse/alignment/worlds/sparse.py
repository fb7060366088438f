"""The world of sparse features in superposition: 256 features, most of them rare, seen through 64 numbers.

Feature j of an answer is there with chance min(.25, .25 / j^.6), and R = f . (w + U tanh(c)) with w ~ N(0, 1),
U ~ .5 N(0, 1) and the prompt c ~ N(0, I_4). The agent sees [c, f A], A ~ N(0, 1/64): it has to tell features apart that
overlap. R is not scaled.
"""

from __future__ import annotations

import torch

from glasshouse.alignment.interaction import Candidates
from glasshouse.store.configuration import named_seed

FEATURES, SEEN, PROMPT = 256, 64, 4
RATE, EXPONENT = 0.25, 0.6


class Sparse:
    """One world, drawn from a seed."""

    features = PROMPT + SEEN

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(named_seed(seed, "sparse"))
        self.rates = RATE * torch.arange(1, FEATURES + 1) ** -EXPONENT
        self.weights = torch.randn(FEATURES, generator=generator)
        self.by_prompt = torch.randn(FEATURES, PROMPT, generator=generator) / 2
        self.seen = torch.randn(FEATURES, SEEN, generator=generator) / SEEN**0.5

    def draw(self, prompts: int, candidates: int, generator: torch.Generator) -> Candidates:
        """Answers as the base policy gives them."""
        prompt = torch.randn(prompts, PROMPT, generator=generator)
        there = (torch.rand(prompts, candidates, FEATURES, generator=generator) < self.rates).float()
        weights = self.weights + torch.tanh(prompt) @ self.by_prompt.T
        rewards = torch.einsum("bnf,bf->bn", there, weights)
        features = torch.cat([prompt[:, None].expand(-1, candidates, -1), there @ self.seen], dim=-1)

        def text(row: int, candidate: int) -> str:
            return " ".join(str(place) for place in there[row, candidate].nonzero()[:, 0].tolist())

        return Candidates(features, rewards, text)
