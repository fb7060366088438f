"""The forward process of diffusion, and what can be read off a noisy picture.

    x_t = alpha_t x_0 + sigma_t eps,   alpha_t = sqrt(abar_t),  sigma_t = sqrt(1 - abar_t),  t = 0 .. T-1

abar_t is the product of 1 - beta_s up to t. Schedules of beta: linear (Ho et al., arXiv 2006.11239), linear in its
square root (`scaled_linear`, latent diffusion, arXiv 2112.10752), and cosine (Nichol and Dhariwal, arXiv 2102.09672,
eq. 17, beta <= 0.999). A network may predict eps, x_0, or v = alpha_t eps - sigma_t x_0 (Salimans and Ho, arXiv
2202.00512); each gives the others.
"""

from __future__ import annotations

import functools
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from glasshouse.store.configuration import Config

Prediction = Literal["eps", "x0", "v"]


class Schedule(Config):
    """How much noise there is at every time.

    Attributes:
        kind: of betas: `linear`, `scaled_linear` or `cosine`.
        steps: T, how many times there are.
        first, last: the smallest and largest beta; `cosine` has its own.
    """

    kind: Literal["linear", "scaled_linear", "cosine"] = "cosine"
    steps: int = Field(1000, ge=2)
    first: float = Field(1e-4, gt=0, lt=1)
    last: float = Field(0.02, gt=0, lt=1)

    @model_validator(mode="after")
    def _rises(self) -> Schedule:
        if self.first > self.last:
            raise ValueError(f"betas rise, got first={self.first} and last={self.last}")
        return self

    @property
    def betas(self) -> Float[Tensor, " T"]:
        """Variance added at every step, in double precision."""
        return _betas(self.kind, self.steps, self.first, self.last)

    @property
    def alphas_cumprod(self) -> Float[Tensor, " T"]:
        """abar, in double precision."""
        return _alphas_cumprod(self.kind, self.steps, self.first, self.last)

    def alpha(self, t: Int[Tensor, " n"], like: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """alpha_t, shaped to be multiplied with `like`, in its type and on its device."""
        return self._at("alpha", t, like)

    def sigma(self, t: Int[Tensor, " n"], like: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """sigma_t, shaped to be multiplied with `like`, in its type and on its device."""
        return self._at("sigma", t, like)

    def noisy(self, x_0: Tensor, eps: Tensor, t: Int[Tensor, " n"]) -> Tensor:
        """x_t from a picture and noise."""
        return self.alpha(t, x_0) * x_0 + self.sigma(t, x_0) * eps

    def target(self, prediction: Prediction, x_0: Tensor, eps: Tensor, t: Int[Tensor, " n"]) -> Tensor:
        """What a network of this kind is to say about x_t."""
        if prediction == "eps":
            return eps
        return x_0 if prediction == "x0" else self.alpha(t, x_0) * eps - self.sigma(t, x_0) * x_0

    def x_0(self, prediction: Prediction, said: Tensor, x_t: Tensor, t: Int[Tensor, " n"]) -> Tensor:
        """The picture that a prediction means."""
        if prediction == "x0":
            return said
        alpha, sigma = self.alpha(t, x_t), self.sigma(t, x_t)
        return (x_t - sigma * said) / alpha if prediction == "eps" else alpha * x_t - sigma * said

    def eps(self, prediction: Prediction, said: Tensor, x_t: Tensor, t: Int[Tensor, " n"]) -> Tensor:
        """The noise that a prediction means."""
        if prediction == "eps":
            return said
        alpha, sigma = self.alpha(t, x_t), self.sigma(t, x_t)
        return (x_t - alpha * said) / sigma if prediction == "x0" else sigma * x_t + alpha * said

    def _at(self, name: str, t: Tensor, like: Tensor) -> Tensor:
        table = _table(self.kind, self.steps, self.first, self.last, name, like.dtype, like.device)
        return table[t.to(like.device)].reshape(-1, *[1] * (like.dim() - 1))


@functools.lru_cache(maxsize=16)
def _betas(kind: str, steps: int, first: float, last: float) -> Tensor:
    if kind == "linear":
        return torch.linspace(first, last, steps, dtype=torch.float64)
    if kind == "scaled_linear":
        return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square()
    times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    bars = torch.cos((times + 0.008) / 1.008 * torch.pi / 2).square()
    return (1 - bars[1:] / bars[:-1]).clamp(max=0.999)


@functools.lru_cache(maxsize=16)
def _alphas_cumprod(kind: str, steps: int, first: float, last: float) -> Tensor:
    return torch.cumprod(1 - _betas(kind, steps, first, last), 0)


@functools.lru_cache(maxsize=16)
def _table(
    kind: str, steps: int, first: float, last: float, name: str, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Where it is used, so that no step of training or sampling waits for a copy."""
    bars = _alphas_cumprod(kind, steps, first, last)
    return (bars if name == "alpha" else 1 - bars).sqrt().to(device=device, dtype=dtype)


__all__ = ["Prediction", "Schedule"]
