"""A world of responses with two properties that pull apart, in which every policy over samples is exact.

A response to prompt x is a vector of 12 task features f ~ N(mu_x, I), mu_x ~ N(0, 0.49 I), and one shortcut feature
s ~ N(0, 1), such as its length. Both properties like the shortcut in bulk and not in the tail:

    helpful(f, s)  = 1.5 f.w_1 + 0.8 s - 0.48 max(s - 0.5, 0)^2
    harmless(f, s) = 1.5 f.w_2 + 0.8 s - 0.48 max(s - 0.5, 0)^2         |w| = 1,  w_1.w_2 = -0.5

People compare two responses to one prompt by Bradley and Terry's rule on a property's true reward. A reward model per
property is linear in [f, s], so it cannot see the tail: ridge regression by that rule (`laplace.fit_bradley_terry`),
from pairs of other prompts than those that are judged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from glasshouse.alignment.laplace import fit_bradley_terry
from glasshouse.store.configuration import Config, named_seed

PROPERTIES = ("helpful", "harmless")
TASK_FEATURES = 12
COSINE = -0.5


class TwoProperties(Config):
    """Sizes of the world, and what a reward model learns from."""

    seed: int = 0
    prompts: int = Field(200, ge=1)
    samples: int = Field(1024, ge=2, description="samples of the base policy for every prompt")
    pairs: int = Field(1000, ge=1, description="comparisons that each reward model learns from")
    training_prompts: int = Field(400, ge=1)
    training_samples: int = Field(8, ge=2)
    ridge: float = Field(1.0, gt=0)
    newton_steps: int = Field(12, ge=1)
    held_out_pairs: int = Field(4000, ge=1, description="comparisons that a reward model's accuracy is measured on")


@dataclasses.dataclass(frozen=True)
class Judged:
    """Samples of the base policy with learned scores and true rewards, both by property, [prompts, samples].

    `accuracy` is the share of held-out comparisons that a reward model calls right, the true reward its bound beside
    it: answers are drawn, so nobody calls them all.
    """

    scores: Mapping[str, Float[Tensor, "prompts samples"]]
    truth: Mapping[str, Float[Tensor, "prompts samples"]]
    accuracy: Mapping[str, float]
    attainable_accuracy: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class World:
    """The true weights of both properties."""

    weights: Mapping[str, Float[Tensor, " task"]]

    def reward(self, of: str, features: Float[Tensor, "*shape features"]) -> Float[Tensor, "*shape"]:
        """The true reward of a property."""
        shortcut = features[..., -1]
        task = features[..., :-1] @ self.weights[of]
        return 1.5 * task + 0.8 * shortcut - 0.48 * (shortcut - 0.5).clamp(min=0).square()


def make_world(seed: int) -> World:
    """Two unit vectors at the cosine `COSINE`, in a random direction."""
    first, other = _normal(seed, "weights", 2, TASK_FEATURES)
    first = first / first.norm()
    apart = other - (other @ first) * first
    second = COSINE * first + math.sqrt(1 - COSINE**2) * apart / apart.norm()
    return World(dict(zip(PROPERTIES, (first, second), strict=True)))


def responses(seed: int, use: str, prompts: int, samples: int) -> Float[Tensor, "prompts samples features"]:
    """Features of samples of the base policy."""
    centre = 0.7 * _normal(seed, f"{use} prompts", prompts, 1, TASK_FEATURES)
    features = _normal(seed, f"{use} samples", prompts, samples, TASK_FEATURES + 1)
    features[..., :-1] += centre
    return features


def judged_samples(settings: TwoProperties) -> Judged:
    """A world's base samples, scored by reward models that were fitted to noisy comparisons."""
    world = make_world(settings.seed)
    features = responses(settings.seed, "judged", settings.prompts, settings.samples)
    scores, truth, accuracy, attainable = {}, {}, {}, {}
    for of in PROPERTIES:
        learnt = _reward_model(world, of, settings)
        scores[of], truth[of] = features @ learnt, world.reward(of, features)
        accuracy[of], attainable[of] = _held_out(world, of, learnt, settings)
    return Judged(scores, truth, accuracy, attainable)


def _reward_model(world: World, of: str, settings: TwoProperties) -> Float[Tensor, " features"]:
    first, second, answers = _comparisons(world, of, "training", settings.pairs, settings)
    return fit_bradley_terry(first - second, answers, settings.ridge, settings.newton_steps).mean


def _comparisons(world: World, of: str, use: str, pairs: int, settings: TwoProperties) -> tuple[Tensor, Tensor, Tensor]:
    """Features of two different responses to one prompt, and 1 where the first was preferred."""
    features = responses(settings.seed, use, settings.training_prompts, settings.training_samples)
    draw = torch.Generator().manual_seed(named_seed(settings.seed, use, of))
    prompt = torch.randint(settings.training_prompts, (pairs,), generator=draw)
    one = torch.randint(settings.training_samples, (pairs,), generator=draw)
    other = (one + torch.randint(1, settings.training_samples, (pairs,), generator=draw)) % settings.training_samples
    first, second = features[prompt, one], features[prompt, other]
    chance = torch.sigmoid(world.reward(of, first) - world.reward(of, second))
    return first, second, torch.bernoulli(chance, generator=draw)


def _held_out(world: World, of: str, learnt: Tensor, settings: TwoProperties) -> tuple[float, float]:
    first, second, answers = _comparisons(world, of, "held out", settings.held_out_pairs, settings)
    guessed = ((first - second) @ learnt > 0) == answers.bool()
    known = (world.reward(of, first) > world.reward(of, second)) == answers.bool()
    return float(guessed.double().mean()), float(known.double().mean())


def _normal(seed: int, use: str, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(named_seed(seed, "two properties", use))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
