"""Reward models from preferences [Bradley & Terry 1952; arXiv 2402.00742; arXiv 2402.00396].

    P(y preferred to y' | x) = sigma(r(x, y) - r(x, y'))
    L = E_z mean over pairs of [ - log sigma(r(chosen | z) - r(rejected | z) - margin) + c (r(chosen) + r(rejected))^2 ]
        + lambda / n  ||theta - theta~||^2

The margin (Llama 2, arXiv 2307.09288, eq. 2) is given pair by pair and the centring c (arXiv 2312.09244) keeps rewards
near zero, which pairs alone leave open: both as in TRL's `RewardTrainer`. The penalty is that of arXiv 2402.00396: a
point estimate is pulled to zero, particles each to where they began, so that what the data does not say stays as
different as it was drawn. There data terms are summed over the n pairs; here they are averaged, so the penalty is
divided by n. E_z is the mean over particles, or over the indices drawn for the step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.alignment.joint_nll import (
    dyadic_nll,
    marginal_nll,
    mean_likelihood,
    preference_cross_entropy,
    preference_log_likelihoods,
)
from glasshouse.nn.epistemic import EpinetHead, EpistemicHead, PointHead
from glasshouse.training.data import DataError, TrainingData
from glasshouse.training.objective import Loss, Step
from glasshouse.training.parallelize import longest_list

Rewards = Callable[[Mapping[str, Tensor], torch.Generator | None], Tensor]
"""From a batch to rewards `[particles, pairs, 2]`, chosen before rejected."""


def bradley_terry_loss(
    chosen: Float[Tensor, "*particles pairs"],
    rejected: Float[Tensor, "*particles pairs"],
    *,
    margin: Float[Tensor, " pairs"] | None = None,
    centring: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean over pairs (and particles) of -log sigma(chosen - rejected - margin) + centring (chosen + rejected)^2."""
    difference = chosen - rejected if margin is None else chosen - rejected - margin
    loss = -functional.logsigmoid(difference).mean()
    return loss + centring * (chosen + rejected).pow(2).mean() if centring else loss


class RewardModelling:
    """The objective: `bradley_terry_loss` of any module that gives rewards.

    A batch has what `rewards` reads (`features` `[pairs, 2, features]` by default), chosen before rejected. It may have
    `margin` `[pairs]`, or `first_preferred` `[pairs]` from 0 to 1 where it is not always the first that is better.

    Args:
        model: what learns: a head of `glasshouse.nn.epistemic`, or anything else with `rewards` of your own.
        rewards: from a batch and a generator (None: indices that are kept) to rewards `[particles, pairs, 2]`.
        centring: c.
        penalty: lambda.
        pairs: n, where the penalty is not zero.
        validation: pairs that are measured and not learnt.
    """

    unit = "pairs"

    def __init__(
        self,
        model: nn.Module,
        *,
        rewards: Rewards | None = None,
        centring: float = 0.0,
        penalty: float = 0.0,
        pairs: int | None = None,
        validation: TrainingData | None = None,
    ) -> None:
        if penalty and not pairs:
            raise DataError(f"a penalty of {penalty} is shared out over the pairs: say how many `pairs` there are")
        self.model, self.rewards = model, rewards or feature_rewards(model)
        self.centring, self.penalty, self.pairs = centring, penalty, pairs
        self.held_out = validation
        self.learns: Mapping[str, nn.Module] = {"model": model}
        self.carries: Mapping[str, nn.Module] = {}
        self.anchor = copy.deepcopy(model) if penalty and not isinstance(model, PointHead) else None
        self.frozen: Mapping[str, nn.Module] = {} if self.anchor is None else {"start": self.anchor}
        self.configuration: dict[str, Any] = {"centring": centring, "penalty": penalty, "pairs": pairs}
        drops = any(isinstance(part, nn.Dropout) and part.p > 0 for part in model.modules())
        self.concurrent = not (drops or any(isinstance(part, EpinetHead) for part in model.modules()))

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(len(next(iter(batch.values()))))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        rewards = self.rewards(batch, step.generator).float()
        value = self.data_loss(rewards, batch)
        if self.penalty and self.pairs:
            value = value + self.penalty / self.pairs * self.distance()
        return Loss(value, measured(rewards.detach(), batch.get("first_preferred")))

    def data_loss(self, rewards: Float[Tensor, "particles pairs 2"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The loss without the penalty."""
        chosen, rejected = rewards.unbind(-1)
        margin, labels = batch.get("margin"), batch.get("first_preferred")
        if labels is None:
            return bradley_terry_loss(chosen, rejected, margin=margin, centring=self.centring)
        if margin is not None:
            raise DataError("a margin belongs to the better answer of a pair: it cannot stand beside first_preferred")
        loss = preference_cross_entropy(chosen - rejected, labels).mean()
        return loss + self.centring * (chosen + rejected).pow(2).mean() if self.centring else loss

    def distance(self) -> Float[Tensor, ""]:
        """||theta - theta~||^2 over everything that learns; theta~ is zero for a point estimate."""
        start = dict(self.anchor.named_parameters()) if self.anchor is not None else {}
        terms = [
            (parameter - start[name] if start else parameter).pow(2).sum()
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        ]
        return torch.stack(terms).sum()

    def blocks(self) -> list[nn.Module]:
        """The layers of a model that learns as a whole."""
        return longest_list(self.model)

    def validate(self) -> dict[str, float]:
        """Accuracy, marginal and dyadic log-loss of the held-out pairs."""
        return {} if self.held_out is None else quality(self.rewards, self.held_out, _device(self.model))


def feature_rewards(head: nn.Module) -> Rewards:
    """Rewards of a head on `features`. Raises `DataError` for what is no head."""
    if not isinstance(head, EpistemicHead):
        raise DataError(f"{type(head).__name__} is no reward head: pass the function that gives its `rewards`")

    def rewards(batch: Mapping[str, Tensor], generator: torch.Generator | None) -> Tensor:
        found: Tensor = head(batch["features"], None if generator is None else head.sample_indices(generator))
        return found

    return rewards


def measured(
    rewards: Float[Tensor, "particles pairs 2"], first_preferred: Float[Tensor, " pairs"] | None = None
) -> dict[str, Tensor]:
    """Means over pairs: accuracy of the mean reward (a tie counts half), its margin, and the particles' spread."""
    difference = rewards[..., 0] - rewards[..., 1]
    if first_preferred is not None:
        difference = difference * (2 * first_preferred - 1)
    mean = difference.mean(0)
    return {
        "accuracy": (mean > 0).float().mean() + (mean == 0).float().mean() / 2,
        "margin": mean.mean(),
        "spread": difference.std(0, correction=0).mean(),
    }


@torch.no_grad()
def quality(rewards: Rewards, rows: TrainingData, device: torch.device, batch: int = 64) -> dict[str, float]:
    """What rewards are worth on pairs: `accuracy` and log-losses in nats (`glasshouse.alignment.joint_nll`).

    `accuracy` is that of the mean probability over particles. A dyad is two pairs one after the other.
    """
    found = []
    for start in range(0, rows.rows, batch):
        given: Mapping[str, Tensor] = rows.batch(np.arange(start, min(start + batch, rows.rows)))
        on_device = {name: tensor.to(device) for name, tensor in given.items()}
        scores = rewards(on_device, None).float()
        found.append(preference_log_likelihoods(scores, on_device.get("first_preferred")).double().cpu())
    likelihoods = torch.cat(found, 1)
    mean = mean_likelihood(likelihoods).exp()
    accuracy = (mean > 0.5).double().mean() + (mean == 0.5).double().mean() / 2
    values = {"accuracy": float(accuracy), "marginal_nll": float(marginal_nll(likelihoods))}
    return values | ({"dyadic_nll": float(dyadic_nll(likelihoods))} if likelihoods.shape[1] > 1 else {})


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
