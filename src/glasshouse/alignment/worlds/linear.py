"""The dense linear world, a negative control: every pair tells about as much as any other.

Answers have features f ~ N(0, I_128) 3 / sqrt(128), and R = w . f / c with w ~ N(0, I) and c such that R has variance 1
over answers.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.alignment.interaction import Candidates
from glasshouse.store.configuration import named_seed

FEATURES, SPREAD = 128, 3.0


class Linear:
    """One world, drawn from a seed."""

    features = FEATURES

    def __init__(self, seed: int) -> None:
        weights = torch.randn(FEATURES, generator=torch.Generator().manual_seed(named_seed(seed, "linear")))
        self.scale = float(weights.norm()) * SPREAD / FEATURES**0.5
        self.weights = weights / self.scale

    @property
    def precision(self) -> Float[Tensor, " features"]:
        """1 / variance of the weights, as they were drawn."""
        return torch.full((FEATURES,), self.scale**2)

    def draw(self, prompts: int, candidates: int, generator: torch.Generator) -> Candidates:
        """Answers as the base policy gives them."""
        features = torch.randn(prompts, candidates, FEATURES, generator=generator) * SPREAD / FEATURES**0.5

        def text(row: int, candidate: int) -> str:
            return " ".join(f"{value:.2f}" for value in features[row, candidate].tolist())

        return Candidates(features, features @ self.weights, text)
