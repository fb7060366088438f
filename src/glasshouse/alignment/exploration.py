"""Which two answers to ask about: the rules of "Efficient Exploration for LLMs" (arXiv 2402.00396), and one of Oat.

A rule sees rewards r(y_n | z_s) of N candidate answers to each of B prompts under S particles (functions that the data
so far leave possible) and picks two different candidates per prompt:

- `passive`: two at random, uniformly; candidates are drawn from the policy, so this is what the policy would show.
- `boltzmann`: two without replacement with q_n ~ exp(r_n / temperature), r the mean over particles; only a point
  estimate is needed. A high temperature is passive, a low one takes the two best.
- `infomax`: the pair with the largest sample variance over particles of P = sigma(r_n - r_n').
- `double_ts` (double Thompson sampling): the best under one particle, and the best under another, drawn up to `retries`
  times until it differs; after that any other at random.
- `bai_ts`: the best under one particle, and the one whose reward difference to it has the largest variance over
  particles (best-arm identification: Liu et al., "Sample-efficient alignment for LLMs", arXiv 2411.01493).

Deviations: the paper's box of infomax prints P = R / (R + R'), which with Bradley-Terry's preferences has to be read as
e^R / (e^R + e^R'). "Different" means different candidates; two of them may hold the same text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from glasshouse.store.configuration import Config

Rewards = Float[Tensor, "particles batch candidates"]
RuleName = Literal["passive", "boltzmann", "infomax", "double_ts", "bai_ts"]


@dataclasses.dataclass(frozen=True)
class Choice:
    """Two candidates per prompt, and numbers that say why (see `reasons`)."""

    first: Int[Tensor, " batch"]
    second: Int[Tensor, " batch"]
    why: Mapping[str, Float[Tensor, " batch"]]


class Rule(Config):
    """A rule by its name, with the paper's settings: `retries` is its K, `particles` the functions it is given (its M).

    The paper's agents have ten particles and draw M = 30 of them; an exact posterior gives as many as are asked for.
    """

    name: RuleName = "double_ts"
    temperature: float = Field(0.3, gt=0)
    retries: int = Field(30, ge=0)
    particles: int = Field(30, ge=1)

    @model_validator(mode="after")
    def _enough_particles(self) -> Rule:
        if self.name in ("infomax", "bai_ts") and self.particles < 2:
            raise ValueError(f"{self.name} compares particles, so it needs at least 2 of them")
        return self

    @property
    def uncertain(self) -> bool:
        """Whether it needs particles; the others do with a point estimate."""
        return self.name not in ("passive", "boltzmann")

    def choose(self, rewards: Rewards, generator: torch.Generator) -> Choice:
        """Two candidates per prompt."""
        if self.name == "boltzmann":
            return boltzmann(rewards, generator, self.temperature)
        if self.name == "double_ts":
            return double_ts(rewards, generator, self.retries)
        return {"passive": passive, "infomax": infomax, "bai_ts": bai_ts}[self.name](rewards, generator)


def passive(rewards: Rewards, generator: torch.Generator) -> Choice:
    """Every ordered pair of different candidates with the same chance; the rewards only serve the reasons."""
    _, batch, candidates = _checked(rewards)
    first = torch.randint(candidates, (batch,), generator=generator)
    return _chosen(rewards, first, _another(first, candidates, generator))


def boltzmann(rewards: Rewards, generator: torch.Generator, temperature: float = 0.3) -> Choice:
    """Two without replacement, chances proportional to exp(mean reward / temperature).

    The two largest of r / temperature + Gumbel noise are such a draw [Kool et al. 2019, arXiv 1903.06059, section 3].
    """
    _checked(rewards)
    if temperature <= 0:
        raise ValueError(f"the temperature has to be positive, got {temperature}")
    logits = rewards.double().mean(0) / temperature
    uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    noise = -torch.log(-torch.log(uniform.clamp(min=torch.finfo(torch.float64).tiny)))
    first, second = (logits + noise).topk(2, dim=-1).indices.unbind(-1)
    chances = logits.softmax(-1)
    return _chosen(rewards, first, second, first_chance=_at(chances, first), second_chance=_at(chances, second))


def infomax(rewards: Rewards, generator: torch.Generator) -> Choice:
    """The pair whose preference the particles disagree about most; the first such pair when there are several.

    The generator is not used: the rule has no chance in it, except for the particles.
    """
    particles, batch, candidates = _checked(rewards)
    if particles < 2:
        raise ValueError("infomax needs at least 2 particles, because it looks for what they disagree about")
    largest = torch.full((batch,), -1.0, dtype=rewards.dtype)
    first, second = torch.zeros(batch, dtype=torch.long), torch.ones(batch, dtype=torch.long)
    for n in range(candidates - 1):  # a row of the matrix of pairs at a time: all of them would be N times the memory
        variance = torch.sigmoid(rewards[..., n : n + 1] - rewards[..., n + 1 :]).var(0)
        value, place = variance.max(-1)
        better = value > largest
        largest = torch.where(better, value, largest)
        first = torch.where(better, n, first)
        second = torch.where(better, place + n + 1, second)
    return _chosen(rewards, first, second)


def double_ts(rewards: Rewards, generator: torch.Generator, retries: int = 30) -> Choice:
    """Double Thompson sampling; `tries` in the reasons is retries + 1 where no other particle had another best."""
    particles, batch, candidates = _checked(rewards)
    best = rewards.argmax(-1)
    first = _at(best.T, torch.randint(particles, (batch,), generator=generator))
    tried = best.T.gather(-1, torch.randint(particles, (batch, retries), generator=generator))
    last_resort = _another(first, candidates, generator)
    options = torch.cat([tried, last_resort[:, None]], dim=-1)
    place = (options != first[:, None]).int().argmax(-1)
    return _chosen(rewards, first, _at(options, place), tries=(place + 1).double())


def bai_ts(rewards: Rewards, generator: torch.Generator) -> Choice:
    """Thompson's choice, and what is least certain relative to it."""
    particles, batch, _ = _checked(rewards)
    if particles < 2:
        raise ValueError("bai_ts needs at least 2 particles, because it looks for what they disagree about")
    first = _at(rewards.argmax(-1).T, torch.randint(particles, (batch,), generator=generator))
    chosen = rewards.gather(-1, first.expand(particles, -1)[..., None])
    variance = (rewards - chosen).var(0).scatter(-1, first[:, None], -1.0)
    second = variance.argmax(-1)
    return _chosen(rewards, first, second, difference_variance=_at(variance, second))


def reasons(
    rewards: Rewards, first: Int[Tensor, " batch"], second: Int[Tensor, " batch"]
) -> dict[str, Float[Tensor, " batch"]]:
    """What the particles say of a pair.

    `first_preferred`: mean of sigma(r_first - r_second); `variance`: its sample variance over particles (0 with one);
    `first_best`, `second_best`: share of particles under which it is the best candidate.
    """
    particles = len(rewards)
    one, other = (rewards.gather(-1, chosen.expand(particles, -1)[..., None])[..., 0] for chosen in (first, second))
    chance, best = torch.sigmoid(one - other), rewards.argmax(-1)
    return {
        "first_preferred": chance.mean(0),
        "variance": chance.var(0) if particles > 1 else torch.zeros_like(chance[0]),
        "first_best": (best == first).double().mean(0),
        "second_best": (best == second).double().mean(0),
    }


def _chosen(rewards: Rewards, first: Tensor, second: Tensor, **more: Tensor) -> Choice:
    return Choice(first, second, reasons(rewards, first, second) | more)


def _another(first: Int[Tensor, " batch"], candidates: int, generator: torch.Generator) -> Int[Tensor, " batch"]:
    """Any candidate but the first, uniformly."""
    drawn = torch.randint(candidates - 1, first.shape, generator=generator)
    return drawn + (drawn >= first).long()


def _at(table: Tensor, place: Int[Tensor, " batch"]) -> Tensor:
    """`table[b, place[b]]`."""
    return table.gather(-1, place[:, None])[:, 0]


def _checked(rewards: Rewards) -> tuple[int, int, int]:
    if rewards.ndim != 3 or not len(rewards):
        raise ValueError(f"rewards are [particles, batch, candidates], got the shape {tuple(rewards.shape)}")
    particles, batch, candidates = rewards.shape
    if candidates < 2:
        raise ValueError(f"a query needs two candidates to compare, there is {candidates}")
    if not bool(torch.isfinite(rewards).all()):
        raise ValueError("a candidate's reward is not finite; drop the candidate or repair the reward model")
    return particles, batch, candidates
