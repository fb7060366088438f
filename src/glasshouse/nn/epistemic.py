"""Reward heads that know what they do not know: a point estimate, an ensemble with prior networks, an epinet.

Every head maps features `[..., features]` to rewards `[particles, ...]`; particle s is the reward r(x, y | z_s) of one
epistemic index z_s.

- point: one multilayer perceptron, so one particle.
- ensemble: S perceptrons with ReLU, and to each a second one of the same shape that never learns is added, times
  `prior_scale` [randomised prior functions, Osband et al., arXiv 1806.03335]; z is uniform over the S.
- epinet [Osband et al., arXiv 2107.08924]: base(x) + learnt(sg[h], z) z + prior_scale prior(sg[h],
  z) z, with z ~ N(0, I), h the features beside the base's last hidden layer and sg a stopped gradient. While training z
  is drawn anew; otherwise `particles` indices that were drawn once are used, so that rewards are repeatable.

The S perceptrons of an ensemble are computed side by side in batched products. Weights are normals cut at two sigma
with sigma 1/sqrt(fan in), each from its own named seed; biases are zero, and the last layer has none: a constant
cancels in every pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.store.configuration import Config, named_seed

PIECE = 512


class EpistemicConfig(Config):
    """Shape of a reward head.

    Attributes:
        kind: `point`, `ensemble` or `epinet`.
        hidden: widths of the hidden layers.
        particles: S; a point estimate has one.
        prior_scale: weight of the prior networks; 0 is a plain ensemble.
        index_size: numbers of an epinet's index.
        epinet_hidden: widths of the hidden layers of the epinet's two small networks.
    """

    kind: Literal["point", "ensemble", "epinet"] = "ensemble"
    hidden: tuple[int, ...] = (128, 128)
    particles: int = Field(10, ge=1)
    prior_scale: float = Field(1.0, ge=0)
    index_size: int = Field(8, ge=1)
    epinet_hidden: tuple[int, ...] = (16,)

    def build(self, features: int, *, seed: int = 0) -> EpistemicHead:
        """The head for so many features, drawn from `seed`."""
        if self.kind == "point":
            return PointHead(features, self.hidden, seed=seed)
        if self.kind == "ensemble":
            return EnsembleHead(features, self.particles, self.hidden, prior_scale=self.prior_scale, seed=seed)
        return EpinetHead(
            features,
            self.particles,
            self.hidden,
            index_size=self.index_size,
            epinet_hidden=self.epinet_hidden,
            prior_scale=self.prior_scale,
            seed=seed,
        )


class Perceptrons(nn.Module):
    """S multilayer perceptrons with ReLU of one shape, side by side."""

    def __init__(self, particles: int, sizes: Sequence[int], *, seed: int, use: str) -> None:
        super().__init__()
        if particles < 1 or len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"{particles} perceptrons of layers {list(sizes)}: all of these should be at least 1")
        weights, biases = [], []
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            generator = torch.Generator().manual_seed(named_seed(seed, "head", use, layer))
            sigma = 1 / math.sqrt(fan_in)
            drawn = torch.empty(particles, fan_in, fan_out)
            nn.init.trunc_normal_(drawn, std=sigma, a=-2 * sigma, b=2 * sigma, generator=generator)
            weights.append(nn.Parameter(drawn))
            biases.append(nn.Parameter(torch.zeros(particles, 1, fan_out)))
        self.weights, self.biases = nn.ParameterList(weights), nn.ParameterList(biases[:-1])

    def last_hidden(self, x: Float[Tensor, "rows features"]) -> Float[Tensor, "particles rows hidden"]:
        """What goes into the last layer."""
        found = x.expand(len(self.weights[0]), *x.shape)
        for weight, bias in zip(list(self.weights)[:-1], self.biases, strict=True):
            found = functional.relu(torch.baddbmm(bias, found, weight))
        return found

    def last(self, hidden: Float[Tensor, "particles rows hidden"]) -> Float[Tensor, "particles rows out"]:
        """The last layer."""
        return torch.bmm(hidden, self.weights[-1])

    def forward(self, x: Float[Tensor, "rows features"]) -> Float[Tensor, "particles rows out"]:
        return self.last(self.last_hidden(x))


class EpistemicHead(nn.Module):
    """Base of the heads: features `[..., features]` to rewards `[particles, ...]`."""

    features: int

    def sample_indices(self, generator: torch.Generator) -> Tensor | None:
        """Indices for one training step; None for a head that trains all its particles at once."""
        return None

    def forward(
        self, features: Float[Tensor, "*batch features"], indices: Float[Tensor, "particles index"] | None = None
    ) -> Float[Tensor, "particles *batch"]:  # noqa: UP037
        if features.shape[-1] != self.features:
            raise ValueError(f"the head takes {self.features} features, got {features.shape[-1]}")
        flat = features.reshape(-1, self.features).to(next(self.parameters()).dtype)
        # Without gradients a few rows at a time: what lies between the layers then stays in the cache (twice as fast).
        parts = list(torch.split(flat, PIECE)) if len(flat) > PIECE and not torch.is_grad_enabled() else [flat]
        found = torch.cat([self.rows(part, indices) for part in parts], 1)
        return found.reshape(-1, *features.shape[:-1])

    def rows(self, features: Float[Tensor, "rows features"], indices: Tensor | None) -> Float[Tensor, "particles rows"]:
        """The rewards of flat features."""
        raise NotImplementedError


class PointHead(EpistemicHead):
    """One perceptron: no idea of its own uncertainty."""

    def __init__(self, features: int, hidden: Sequence[int] = (128, 128), *, seed: int = 0) -> None:
        super().__init__()
        self.features = features
        self.learnt = Perceptrons(1, [features, *hidden, 1], seed=seed, use="learnt")

    def rows(self, features: Tensor, indices: Tensor | None) -> Tensor:
        found: Tensor = self.learnt(features)
        return found.squeeze(-1)


class EnsembleHead(EpistemicHead):
    """S perceptrons, each with a prior network that never learns."""

    def __init__(
        self,
        features: int,
        particles: int = 10,
        hidden: Sequence[int] = (128, 128),
        *,
        prior_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.features, self.prior_scale = features, prior_scale
        self.learnt = Perceptrons(particles, [features, *hidden, 1], seed=seed, use="learnt")
        self.prior = Perceptrons(particles, [features, *hidden, 1], seed=seed, use="prior").requires_grad_(False)

    def rows(self, features: Tensor, indices: Tensor | None) -> Tensor:
        found: Tensor = self.learnt(features)
        if self.prior_scale:
            found = found + self.prior_scale * self.prior(features.detach()).detach()
        return found.squeeze(-1)


class EpinetHead(EpistemicHead):
    """A base perceptron with two small networks that take an index, one of which never learns."""

    indices: Tensor

    def __init__(
        self,
        features: int,
        particles: int = 10,
        hidden: Sequence[int] = (128, 128),
        *,
        index_size: int = 8,
        epinet_hidden: Sequence[int] = (16,),
        prior_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.features, self.prior_scale = features, prior_scale
        self.base = Perceptrons(1, [features, *hidden, 1], seed=seed, use="base")
        exposed = features + (hidden[-1] if hidden else 0)
        sizes = [exposed + index_size, *epinet_hidden, index_size]
        self.learnt = Perceptrons(1, sizes, seed=seed, use="learnt epinet")
        self.prior = Perceptrons(1, sizes, seed=seed, use="prior epinet").requires_grad_(False)
        generator = torch.Generator().manual_seed(named_seed(seed, "head", "indices"))
        self.register_buffer("indices", torch.randn(particles, index_size, generator=generator))

    def sample_indices(self, generator: torch.Generator) -> Tensor:
        shape, device = self.indices.shape, self.indices.device
        return torch.randn(shape, generator=generator, device=generator.device).to(device)

    def rows(self, features: Tensor, indices: Tensor | None) -> Tensor:
        z = self.indices if indices is None else indices
        hidden = self.base.last_hidden(features)
        exposed = torch.cat((features, hidden[0]), -1) if len(self.base.weights) > 1 else features
        rows, particles = len(features), len(z)
        seen = exposed.detach().expand(particles, rows, -1)
        given = torch.cat((seen, z[:, None].expand(-1, rows, -1)), -1).flatten(0, 1)
        answers = self.learnt(given) + self.prior_scale * self.prior(given).detach()
        epistemic = (answers[0].view(particles, rows, -1) * z[:, None]).sum(-1)
        found: Tensor = self.base.last(hidden)[..., 0] + epistemic
        return found
