"""Choosing which prompts to train on next: those whose pictures the teacher would change most.

For every prompt a running mean is kept of how far the teacher's gradient moves its pictures, relative to the mean of
all prompts in the same update (which takes out the noise level's share). Prompts of an update are drawn with chances
that grow with it,

    p_i ~ exp(m_i / temperature),

and prompts that were never looked at come first. The means are a buffer that is checkpointed with the run, and draws
come from the update's generator, so a run that is resumed chooses as it would have.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from glasshouse.store.configuration import Config

NEVER = 1e3


class Choosing(Config):
    """How prompts are chosen.

    Attributes:
        temperature: of the draw, in units of the mean gradient: small ones insist on the worst prompts.
        memory: share of the running mean that stays at an observation.
    """

    temperature: float = Field(0.5, gt=0)
    memory: float = Field(0.7, ge=0, lt=1)


class PromptChoice(nn.Module):
    """The running means, and draws by them."""

    means: Tensor
    seen: Tensor

    def __init__(self, prompts: int, settings: Choosing) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("means", torch.zeros(prompts))
        self.register_buffer("seen", torch.zeros(prompts, dtype=torch.bool))

    def draw(self, count: int, generator: torch.Generator) -> Int[Tensor, " count"]:
        """Different prompts for an update. Raises `ValueError` for more than there are."""
        if count > len(self.means):
            raise ValueError(f"an update of {count} different prompts was asked of {len(self.means)}")
        chances = (self.means / self.settings.temperature).softmax(0)
        chances = torch.where(self.seen, chances, NEVER)
        return torch.multinomial(chances.clamp(min=1e-12), count, generator=generator)

    @torch.no_grad()
    def observe(self, numbers: Int[Tensor, " count"], moved: Float[Tensor, " count"]) -> None:
        """How far pictures of these prompts were moved, each mean over its views."""
        relative = moved / moved.mean().clamp(min=1e-12)
        keep = torch.where(self.seen[numbers], self.settings.memory, 0.0)
        self.means[numbers] = keep * self.means[numbers] + (1 - keep) * relative
        self.seen[numbers] = True
