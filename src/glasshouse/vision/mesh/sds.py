"""Score distillation: a text-to-image diffusion model as the critic of pictures (DreamFusion, arXiv 2209.14988, eq. 3).

A picture x is noised, x_t = alpha_t x + sigma_t e with e ~ N(0, I), and the frozen teacher says what noise it sees,
e'. The gradient on x, without the teacher's Jacobian, is w(t) (e' - e) / n over n pictures.

Guidance has one definition here, that of classifier-free guidance (arXiv 2207.12598 with its 1 + w written s):

    e' = e_u + s (e_c - e_u)          s = 0: no text; s = 1: the conditional model; s > 1: more of the text

(`glasshouse.vision.diffusion.guidance`). Some programs write e_c + s (e_c - e_u), which is this with s + 1. Weightings:
`sigma2` is sigma_t^2 (DreamFusion), `one` is 1, `alpha_sigma2` is alpha_t sigma_t^2 (Fantasia3D).

The teacher's picture x' = (x_t - sigma_t e') / alpha_t gives the same gradient as w(t) alpha_t / sigma_t (x - x'). With
`clamp` x' is kept within the pixels that exist; published systems do not do this, and neither does the default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, field_validator
from torch import Tensor

from glasshouse.store.configuration import Config

Weighting = Literal["sigma2", "one", "alpha_sigma2"]


class Distillation(Config):
    """How a picture is criticised.

    Attributes:
        guidance: s, see above.
        weighting: w(t).
        least: smallest noise level, as a fraction of the teacher's steps.
        most: largest at the beginning of a run.
        most_at_end: largest at its end; between them it falls in a straight line.
        clamp: keep the teacher's picture within this range.
        perp_neg: for a teacher that takes words for views, steer between them (`glasshouse.vision.mesh.perp_neg`).
    """

    guidance: float = Field(4.0, ge=0)
    weighting: Weighting = "sigma2"
    least: float = Field(0.1, gt=0, lt=1)
    most: float = Field(0.95, gt=0, le=1)
    most_at_end: float = Field(0.6, gt=0, le=1)
    clamp: float | None = Field(None, gt=0)
    perp_neg: bool = False

    @field_validator("most", "most_at_end")
    @classmethod
    def _above_least(cls, value: float, info: object) -> float:
        least = getattr(info, "data", {}).get("least", 0.0)
        if value < least:
            raise ValueError(f"the largest noise level is below the smallest, {least}")
        return value

    def range_at(self, progress: float, steps: int) -> tuple[int, int]:
        """Smallest and largest time step, both included, of a teacher of so many steps."""
        most = self.most + (self.most_at_end - self.most) * progress
        first = min(max(round(self.least * steps), 0), steps - 1)
        return first, min(max(round(most * steps), first), steps - 1)


Noise = Callable[[Tensor, Int[Tensor, " n"]], Tensor]
"""x_t and t to e', guided."""


@dataclasses.dataclass(frozen=True)
class Distilled:
    """What comes of it.

    Attributes:
        loss: its gradient is that of score distillation.
        error: mean of (e' - e)^2, to be watched.
        moved: root mean square of every picture's gradient.
    """

    loss: Float[Tensor, ""]
    error: Float[Tensor, ""]
    moved: Float[Tensor, " n"]


def levels(
    alphas_cumprod: Float[Tensor, " steps"], t: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "n 1 1 1"], Float[Tensor, "n 1 1 1"]]:
    """alpha_t and sigma_t."""
    squared = alphas_cumprod[t].reshape(-1, 1, 1, 1)
    return squared.sqrt(), (1 - squared).sqrt()


def weight(weighting: Weighting, alpha: Tensor, sigma: Tensor) -> Tensor:
    """w(t)."""
    if weighting == "one":
        return torch.ones_like(sigma)
    return sigma.square() if weighting == "sigma2" else alpha * sigma.square()


def distil(
    x: Float[Tensor, "n c h w"],
    noise: Noise,
    alphas_cumprod: Float[Tensor, " steps"],
    settings: Distillation,
    t: Int[Tensor, " n"],
    e: Float[Tensor, "n c h w"],
) -> Distilled:
    """The surrogate 1/2 |x - sg(x - g)|^2 / n, whose gradient is g / n with g = w(t) (e' - e).

    Its value is 1/2 |g|^2 / n; it says little about quality and need not fall.
    """
    alpha, sigma = levels(alphas_cumprod.to(x), t)
    with torch.no_grad():
        x_t = alpha * x + sigma * e
        predicted = noise(x_t, t)
        if settings.clamp is not None:
            picture = ((x_t - sigma * predicted) / alpha).clamp(-settings.clamp, settings.clamp)
            predicted = (x_t - alpha * picture) / sigma
        gradient = weight(settings.weighting, alpha, sigma) * (predicted - e)
        target = x - gradient
        moved = gradient.square().mean((1, 2, 3)).sqrt()
    return Distilled(0.5 * (x - target).square().sum() / len(x), (predicted - e).square().mean(), moved)


def towards_picture(
    x: Float[Tensor, "n c h w"], picture: Tensor, alpha: Tensor, sigma: Tensor, weighting: Weighting
) -> Tensor:
    """The same gradient from the teacher's picture x': w(t) alpha_t / sigma_t (x - x')."""
    return weight(weighting, alpha, sigma) * alpha / sigma * (x - picture)


def draw_times(settings: Distillation, steps: int, progress: float, count: int, generator: torch.Generator) -> Tensor:
    """Time steps of so many pictures, uniform over the range at this point of the run."""
    first, last = settings.range_at(progress, steps)
    return torch.randint(first, last + 1, (count,), generator=generator, device=generator.device)
