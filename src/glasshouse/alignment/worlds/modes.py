"""The world of modes: good answers are rare and different in kind, so that what is asked about matters.

An answer is one of K modes, which have base rates k^-0.8 in a random order, and a place xi ~ N(0, I_6) inside it:

    R = (V_k + u_k . xi) / c,   V ~ N(0, 1),   u_k ~ N(0, I_6) / sqrt(6),   c such that R has variance 1 over answers.

R is linear in one_hot(k) (x) [1, xi], which is what an exact Bayesian agent sees (`view="exact"`). A neural agent sees
[a random centre of the mode, xi, a random prompt] (`view="embedding"`), in which R is not linear.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from glasshouse.alignment.interaction import Candidates
from glasshouse.store.configuration import named_seed

MODES, WIDTH, CENTRE, PROMPT = 32, 6, 32, 4
ZIPF = 0.8


class Modes:
    """One world, drawn from a seed."""

    def __init__(self, seed: int, view: Literal["exact", "embedding"] = "exact") -> None:
        generator = torch.Generator().manual_seed(named_seed(seed, "modes"))
        rates = torch.arange(1, MODES + 1) ** -ZIPF
        self.rates = (rates / rates.sum())[torch.randperm(MODES, generator=generator)]
        level = torch.randn(MODES, generator=generator)
        slope = torch.randn(MODES, WIDTH, generator=generator) / WIDTH**0.5
        self.scale = float(_variance(self.rates, level, slope).sqrt())
        self.level, self.slope = level / self.scale, slope / self.scale
        self.centres = torch.randn(MODES, CENTRE, generator=generator)
        self.view = view
        self.features = MODES * (1 + WIDTH) if view == "exact" else CENTRE + WIDTH + PROMPT

    @property
    def precision(self) -> Float[Tensor, " features"]:
        """1 / variance of the weights of the exact view, as they were drawn."""
        one_mode = torch.tensor([1.0] + [float(WIDTH)] * WIDTH) * self.scale**2
        return one_mode.repeat(MODES)

    def draw(self, prompts: int, candidates: int, generator: torch.Generator) -> Candidates:
        """Answers as the base policy gives them."""
        shape = (prompts, candidates)
        mode = torch.multinomial(self.rates.expand(prompts, -1), candidates, replacement=True, generator=generator)
        place = torch.randn(*shape, WIDTH, generator=generator)
        prompt = torch.randn(prompts, 1, PROMPT, generator=generator).expand(-1, candidates, -1)
        rewards = self.level[mode] + (self.slope[mode] * place).sum(-1)
        if self.view == "exact":
            inside = torch.cat([torch.ones(*shape, 1), place], dim=-1)
            features = (functional.one_hot(mode, MODES)[..., None] * inside[..., None, :]).flatten(2)
        else:
            features = torch.cat([self.centres[mode], place, prompt], dim=-1)

        def text(row: int, candidate: int) -> str:
            numbers = " ".join(f"{value:.3f}" for value in place[row, candidate].tolist())
            return f"mode {int(mode[row, candidate])} at {numbers}"

        return Candidates(features, rewards, text)


def _variance(rates: Tensor, level: Tensor, slope: Tensor) -> Tensor:
    """Of V_k + u_k . xi over answers: between the modes and inside them."""
    mean = (rates * level).sum()
    return (rates * ((level - mean).square() + slope.square().sum(-1))).sum()
