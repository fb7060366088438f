"""The exact agent: Bayesian Bradley-Terry regression on all answers, for rewards that are linear in the features.

Particles are draws from the Laplace posterior, so an exploration rule has as many as it wants, and different rules
differ in nothing but what they ask. It knows the prior its world was drawn from.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.alignment.laplace import LaplacePosterior, fit_bradley_terry
from glasshouse.alignment.replay import ReplayBuffer

NEWTON_STEPS = 4


class LaplaceAgent:
    """Learns by a few Newton steps per epoch from where the last epoch ended.

    Args:
        precision: 1 / variance of every weight under the prior.
    """

    def __init__(self, precision: Float[Tensor, " features"]) -> None:
        self.precision = precision.double()
        self.posterior = fit_bradley_terry(torch.zeros(0, len(precision)), torch.zeros(0), self.precision)

    def rewards(
        self, features: Float[Tensor, "batch candidates features"], particles: int, generator: torch.Generator
    ) -> Float[Tensor, "particles batch candidates"]:
        """Rewards under draws from the posterior."""
        weights = self.posterior.sample(particles, generator).to(features.dtype)
        return (features @ weights.T).movedim(-1, 0)

    def value(self, features: Float[Tensor, "batch candidates features"]) -> Float[Tensor, "batch candidates"]:
        """Rewards under the mean; they are linear, so this is their mean."""
        return features @ self.posterior.mean.to(features.dtype)

    def learn(self, buffer: ReplayBuffer) -> None:
        """The posterior after all that the buffer holds."""
        pairs, answers = buffer.contents()
        differences = pairs[:, 0].double() - pairs[:, 1].double()
        self.posterior = fit_bradley_terry(differences, answers, self.precision, NEWTON_STEPS, self.posterior.mean)

    @property
    def state(self) -> Mapping[str, Tensor]:
        """The posterior."""
        return {"mean": self.posterior.mean, "cholesky": self.posterior.cholesky}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take a posterior back."""
        self.posterior = LaplacePosterior(state["mean"], state["cholesky"])
