"""Policies optimised against learnt rewards in the token world, looked at with the true ones and with alarms.

What is learnt are two Bradley-Terry rewards from pairs of base answers; what is optimised is an expression of the
algebra over them, by RLOO on the shared trainer. Every `EVERY` updates a look: the exact KL, and means over drawn
answers of the learnt rewards' sum (`learnt`), the true sum (`true`), the chance that both properties are good (`joint`,
by the true rewards against the 85th percentile of base answers), a held-out simulator's score of fewer answers
(`simulated`, with its standard error) and the share of them on which an ensemble disagrees unusually (`outside`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from glasshouse.alignment.adam import constant_adam
from glasshouse.alignment.alarm import disagreement, mean_of_prompts, usual_disagreement
from glasshouse.alignment.algebra import Expression
from glasshouse.alignment.combination import references_from
from glasshouse.alignment.policies import Answers, Prompts
from glasshouse.alignment.rloo import LeaveOneOut, Rloo
from glasshouse.alignment.scored_reward import ScoredReward
from glasshouse.alignment.transforms import Rewards, quantile
from glasshouse.alignment.worlds.token_hack import (
    PROPERTIES,
    Counts,
    TokenWorld,
    UnigramPolicy,
    Unigrams,
    counted,
    divergence,
    learnt_reward,
    token_world,
)
from glasshouse.training.data import TensorRows
from glasshouse.training.trainer import train

EVERY = 2
BASE_ANSWERS, LOOKED_AT, SIMULATED, PARTICLES = 512, 256, 64, 10
Look = Mapping[str, float]


class LearntWorld:
    """A token world with rewards learnt from `pairs` noisy preferences per property."""

    def __init__(self, seed: int, pairs: int = 2000) -> None:
        self.world: TokenWorld = token_world(seed)
        self.seed = seed
        world = self.world
        self.posteriors = {name: learnt_reward(world, getattr(world, name), pairs, name) for name in PROPERTIES}
        self.base = world.sampled(world.base, BASE_ANSWERS, world.generator("base"))
        draws = [posterior.sample(PARTICLES, world.generator("particles")) for posterior in self.posteriors.values()]
        self.particles = torch.stack(draws).sum(0).float()
        self.base_features = world.features(self.base).mean(1, keepdim=True)
        self.usual = usual_disagreement(self.apart(self.base))

    def learnt(self, counts: Counts, world: TokenWorld | None = None) -> dict[str, Rewards]:
        """Learnt rewards of answers to the prompts of the world, or of a part of it."""
        features = (world or self.world).features(counts)
        return {name: features @ posterior.mean.float() for name, posterior in self.posteriors.items()}

    def apart(self, counts: Counts) -> Float[Tensor, "particles prompts answers"]:
        """Sums of both rewards under every particle, each measured from the mean base answer of the prompt."""
        return torch.einsum("paf,sf->spa", self.world.features(counts) - self.base_features, self.particles)

    @cached_property
    def good(self) -> dict[str, Float[Tensor, " prompts"]]:
        """The true rewards that count as good: 85th percentiles of base answers."""
        return {name: quantile(values, 0.85) for name, values in self.world.true(self.base).items()}

    def reward(self, expression: Expression) -> ScoredReward:
        """The expression over learnt rewards, with references from base answers."""

        def scores(prompts: Prompts, answers: Answers) -> dict[str, Rewards]:
            return self.learnt(counted(answers.tokens), self.world.of(prompts["prompt"]))

        return ScoredReward(expression, scores, references_from(expression, self.learnt(self.base)))

    def look(self, policy: Unigrams) -> dict[str, float]:
        """What the policy is like (see the module)."""
        world, logits = self.world, policy.logits.detach()
        counts = world.sampled(logits, LOOKED_AT, world.generator("look"))
        true = world.true(counts)
        chances = [functional.logsigmoid(true[name] - self.good[name][:, None]) for name in PROPERTIES]
        # The trainer seeds torch's own generator anew for every validation, so that each look has draws of its own.
        fresh = torch.Generator().manual_seed(int(torch.randint(1 << 62, ())))
        few = world.sampled(logits, SIMULATED, fresh)
        simulated, error = mean_of_prompts(_sum(world.true(few)))
        return {
            "kl": float(divergence(logits, world.base).mean()),
            "learnt": float(_sum(self.learnt(counts)).mean()),
            "true": float(_sum(true).mean()),
            "joint": float(torch.stack(chances).sum(0).exp().mean()),
            "outside": float((disagreement(self.apart(few)) > self.usual).float().mean()),
            "simulated": simulated,
            "simulated error": error,
        }


def _sum(values: Mapping[str, Rewards]) -> Rewards:
    return torch.stack(list(values.values())).sum(0)


def optimise(
    learnt: LearntWorld,
    expression: Expression,
    settings: Rloo,
    directory: Path | str,
    *,
    steps: int = 250,
    **options: Any,
) -> list[dict[str, float]]:
    """Optimise from the base policy; one record per look, with its `step`. `options` go to the trainer."""
    world = learnt.world
    policy = Unigrams(world.base)
    objective = LeaveOneOut(
        UnigramPolicy(),
        policy,
        Unigrams(world.base),
        learnt.reward(expression),
        settings,
        measure=lambda: learnt.look(policy),
    )
    training = constant_adam(
        steps=steps,
        batch_size=world.prompts,
        learning_rate=0.05,
        seed=learnt.seed,
        checkpoint_every=None,
        validate_every=EVERY,
        log_every=EVERY,
    )
    result = train(objective, TensorRows({"prompt": torch.arange(world.prompts)}), training, directory, **options)
    return looks(result.metrics)


def looks(metrics: Path) -> list[dict[str, float]]:
    """The looks of a run that was recorded."""
    records = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return [
        {"step": float(record["step"])}
        | {name.removeprefix("validation/"): value for name, value in record.items() if name.startswith("validation/")}
        for record in records
        if "validation/kl" in record
    ]


def at_kl(path: list[dict[str, float]], kl: float, name: str) -> float:
    """A value where the path crosses a KL for the first time, between two looks; NaN where it does not come so far."""
    for before, after in pairwise(path):
        if before["kl"] <= kl <= after["kl"]:
            share = (kl - before["kl"]) / (after["kl"] - before["kl"])
            return before[name] + share * (after[name] - before[name])
    return float("nan")
