"""Bayesian Bradley-Terry regression by Laplace's method: exact uncertainty for rewards that are linear in features.

    p(first preferred) = sigma(theta . (f_first - f_second)),   theta ~ N(0, Lambda^-1)    [Bradley & Terry 1952]
    m = argmin_theta  sum_t ce_t(theta) + 1/2 theta' Lambda theta    by Newton's steps
    H = sum_t p_t (1 - p_t) d_t d_t' + Lambda  at m,   theta | data ~ N(m, H^-1)    [Laplace; MacKay 1992, "evidence"]

Samples are theta = m + C^-T z with C C' = H, z standard normal: the particles that exploration rules ask for where the
paper of efficient exploration (arXiv 2402.00396) has an ensemble. `m` alone is a ridge-penalised reward model.

Deviation: a Newton step that would raise the penalised loss is halved until it does not, so any start converges.
Everything is float64: the Hessian of rare features is badly conditioned.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

HALVINGS = 30


@dataclasses.dataclass(frozen=True)
class LaplacePosterior:
    """theta ~ N(mean, H^-1); `cholesky` is the lower triangle C with C C' = H, the precision."""

    mean: Float[Tensor, " features"]
    cholesky: Float[Tensor, "features features"]

    def sample(self, particles: int, generator: torch.Generator) -> Float[Tensor, "particles features"]:
        """Independent draws of the weights."""
        noise = torch.randn(len(self.mean), particles, generator=generator, dtype=self.mean.dtype)
        spread: Tensor = torch.linalg.solve_triangular(self.cholesky.T, noise, upper=True)
        return self.mean + spread.T

    @property
    def covariance(self) -> Float[Tensor, "features features"]:
        """H^-1."""
        return torch.cholesky_inverse(self.cholesky)


def fit_bradley_terry(
    differences: Float[Tensor, "queries features"],
    first_preferred: Float[Tensor, " queries"],
    precision: float | Float[Tensor, " features"],
    steps: int = 20,
    start: Float[Tensor, " features"] | None = None,
) -> LaplacePosterior:
    """The posterior after queries whose features differ by `differences` (first minus second).

    Args:
        first_preferred: 1 where the first was preferred, 0 where the second was; probabilities in between are taken as
            such. No queries at all give the prior.
        precision: of the prior, one number or one for every feature; positive.
        steps: Newton steps from `start` (default: zero). They end early when the mean no longer moves.
    """
    queries, features = differences.shape
    answers = _answers(first_preferred, queries)
    d = _finite("differences", differences.double())
    penalty = torch.as_tensor(precision, dtype=torch.float64).expand(features)
    if not bool((penalty > 0).all()):
        raise ValueError(f"the prior's precision has to be positive, got {penalty.min():.3g}")
    mean = torch.zeros(features, dtype=torch.float64) if start is None else _finite("start", start.double())
    if mean.shape != (features,):
        raise ValueError(f"start has the shape {tuple(mean.shape)}, the differences have {features} features")
    for _ in range(steps):
        gradient = d.T @ (torch.sigmoid(d @ mean) - answers) + penalty * mean
        direction = torch.cholesky_solve(gradient[:, None], torch.linalg.cholesky(hessian(d, mean, penalty)))[:, 0]
        moved = _descended(d, answers, penalty, mean, direction)
        if moved is None:
            break
        mean = moved
    return LaplacePosterior(mean, torch.linalg.cholesky(hessian(d, mean, penalty)))


def penalised_loss(
    differences: Float[Tensor, "queries features"],
    answers: Float[Tensor, " queries"],
    penalty: Float[Tensor, " features"],
    weights: Float[Tensor, " features"],
) -> float:
    """What the mean minimises."""
    margins = differences @ weights
    data = functional.softplus(margins) - answers * margins
    return float(data.sum() + (penalty * weights.square()).sum() / 2)


def hessian(
    differences: Float[Tensor, "queries features"],
    weights: Float[Tensor, " features"],
    penalty: Float[Tensor, " features"],
) -> Float[Tensor, "features features"]:
    """Second derivative of the penalised loss."""
    chance = torch.sigmoid(differences @ weights)
    scaled = differences * (chance * (1 - chance)).sqrt()[:, None]
    found = scaled.T @ scaled
    found.diagonal().add_(penalty)
    return found


def _descended(d: Tensor, answers: Tensor, penalty: Tensor, mean: Tensor, direction: Tensor) -> Tensor | None:
    """`mean` moved against `direction`, by as much of it as lowers the loss; None when nothing does."""
    before, share = penalised_loss(d, answers, penalty, mean), 1.0
    for _ in range(HALVINGS):
        moved = mean - share * direction
        if penalised_loss(d, answers, penalty, moved) < before:
            return moved
        share /= 2
    return None


def _answers(first_preferred: Tensor, queries: int) -> Tensor:
    answers = first_preferred.double()
    if answers.shape != (queries,):
        raise ValueError(f"{queries} queries need as many answers, got the shape {tuple(answers.shape)}")
    if not bool(((answers >= 0) & (answers <= 1)).all()):
        raise ValueError("first_preferred has to lie in [0, 1] (1: the first was preferred)")
    return answers


def _finite(name: str, tensor: Tensor) -> Tensor:
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} holds a value that is not finite")
    return tensor
