"""What reward heads know of their own doubt: the same pairs for every head, then accuracy and two log-losses.

The finding to be checked [arXiv 2402.00396]: an epistemic head is as good as a point estimate at single labels, and
better at several labels together, which shows that it tells doubt that more data would remove from doubt that stays.

A warning about the dyadic log-loss of labels that were seen once: an anchor's one label is counted up to ten times, so
particles that are sure of anything at all, and differ, are rewarded. Rewards of pure noise come to ln 4 = 1.4 nats
there, at the marginal log-loss of a coin. Where a world knows the probabilities, `redrawn_nll` draws the label anew
every time; noise does badly at that.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from glasshouse.alignment.adam import constant_adam
from glasshouse.alignment.bradley_terry import RewardModelling
from glasshouse.alignment.feedback import preference_probability
from glasshouse.alignment.interaction import World
from glasshouse.alignment.joint_nll import mean_likelihood
from glasshouse.language.conversations import Preference
from glasshouse.nn.epistemic import EpistemicConfig
from glasshouse.store.configuration import Config, named_seed
from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.trainer import train

_WORD = re.compile(r"[^\W_]+")


class HeadTraining(Config):
    """How every head is trained: Adam at a constant rate."""

    updates: int = Field(500, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    penalty: float = Field(0.0, ge=0)

    def training(self, seed: int) -> Training:
        """The trainer's configuration."""
        return constant_adam(
            steps=self.updates,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=seed,
            checkpoint_every=None,
            log_every=self.updates,
        )


def head_quality(
    head: EpistemicConfig,
    settings: HeadTraining,
    pairs: TensorRows,
    held_out: TensorRows,
    directory: Path | str,
    *,
    seed: int,
    **options: Any,
) -> dict[str, float]:
    """Train a head on pairs, chosen first (`features` `[pairs, 2, features]`); what it is worth on others.

    Returns `accuracy`, `marginal_nll` and `dyadic_nll` (see `glasshouse.alignment.bradley_terry.quality`); where the
    held-out pairs bring their `chance`, also `redrawn_nll` and what it would be for who knows the chances.
    """
    made = head.build(pairs.tensors["features"].shape[-1], seed=seed)
    objective = RewardModelling(made, penalty=settings.penalty, pairs=pairs.rows, validation=held_out)
    train(objective, pairs, settings.training(seed), directory, **options)
    made.eval()
    with torch.no_grad():
        found = objective.validate()
        if "chance" in held_out.tensors:
            rewards = made(held_out.tensors["features"])
            generator = torch.Generator().manual_seed(named_seed(seed, "redrawn"))
            differences, chance = rewards[..., 0] - rewards[..., 1], held_out.tensors["chance"]
            found["redrawn_nll"] = redrawn_nll(differences, chance, generator)
            found["redrawn_nll_of_the_truth"] = redrawn_nll(torch.logit(chance)[None], chance, generator)
    return found


def redrawn_nll(
    differences: Float[Tensor, "particles rows"],
    chance: Float[Tensor, " rows"],
    generator: torch.Generator,
    tau: int = 10,
) -> float:
    """Mean negative log-likelihood, in nats, of `tau` draws from two anchors, the label drawn anew every time.

    Args:
        differences: reward of the first answer of a row minus that of the second.
        chance: the probability that the first is preferred; consecutive rows are a dyad.
    """
    dyads = chance.shape[0] // 2
    anchor = 2 * torch.arange(dyads)[:, None] + torch.randint(2, (dyads, tau), generator=generator)
    label = torch.rand(dyads, tau, generator=generator) < chance[anchor]
    seen = differences.double()[:, anchor]
    likelihoods = functional.logsigmoid(torch.where(label, seen, -seen)).sum(-1)
    return float(-mean_likelihood(likelihoods).mean())


def world_pairs(world: World, count: int, seed: int, use: str) -> TensorRows:
    """Pairs of plain samples of a world, the one that its simulator prefers first; `chance` is the chance of that."""
    generator = torch.Generator().manual_seed(named_seed(seed, "pairs", use))
    drawn = world.draw(count, 2, generator)
    chance = preference_probability(drawn.rewards[:, 0], drawn.rewards[:, 1])
    first = torch.rand(count, generator=generator) < chance
    order = torch.stack([~first, first], dim=-1).long()
    width = drawn.features.shape[-1]
    features = drawn.features.gather(1, order[..., None].expand(-1, -1, width))
    return TensorRows({"features": features, "chance": torch.where(first, chance, 1 - chance)})


def worded_pairs(preferences: Sequence[Preference], buckets: int = 256) -> TensorRows:
    """Pairs of texts as hashed words of both answers."""
    sides = [hashed_words([getattr(item, side) for item in preferences], buckets) for side in ("chosen", "rejected")]
    return TensorRows({"features": torch.stack(sides, dim=1)}, [item.name for item in preferences])


def hashed_words(texts: Sequence[str], buckets: int) -> Float[Tensor, "texts buckets"]:
    """log(1 + count) of the words in every bucket, each row scaled to a mean square of 1 (zeros for no words)."""
    counts = torch.zeros(len(texts), buckets)
    for row, text in enumerate(texts):
        for word in _WORD.findall(text.lower()):
            counts[row, zlib.crc32(word.encode()) % buckets] += 1
    scaled = torch.log1p(counts)
    return scaled / scaled.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-12)
