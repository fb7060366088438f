"""The interaction of "Efficient Exploration for LLMs" (arXiv 2402.00396): ask, learn, and see what it was worth.

    for every epoch: draw N candidates for each of B prompts; the rule picks two per prompt; the simulator answers B
    queries; they go into a FIFO buffer; the agent learns from the buffer.
    assess: on prompts that are never asked about, the agent's best of N by E_z[r(x, y | z)] against one plain sample;
    the win rate is the mean of the simulator's probability that the former is preferred.

The policy that draws candidates never changes. All draws are functions of the seed and the epoch, so agents with
different rules meet the same candidates, and a run that was killed goes on from its last saved epoch to the same bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from glasshouse.alignment.exploration import Choice, Rule
from glasshouse.alignment.feedback import FeedbackSimulator, preference_probability
from glasshouse.alignment.ledger import Ledger, Query
from glasshouse.alignment.replay import ReplayBuffer
from glasshouse.alignment.saved_interaction import Saved
from glasshouse.store.configuration import Config, canonical, named_seed


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Answers to a batch of prompts: what the agent sees of them, and what they are worth to the simulator.

    `text(row, candidate)` is an answer and `prompt(row)` a prompt in words, for the ledger.
    """

    features: Float[Tensor, "batch candidates features"]
    rewards: Float[Tensor, "batch candidates"]
    text: Callable[[int, int], str]
    prompt: Callable[[int], str] = lambda _: ""


class World(Protocol):
    """Where candidates come from. One that has `held_out`, a world too, is assessed there."""

    @property
    def features(self) -> int: ...

    def draw(self, prompts: int, candidates: int, generator: torch.Generator) -> Candidates: ...


class Agent(Protocol):
    """What learns from answers. `state` is all that changes, as tensors; `restore` takes it back."""

    def rewards(
        self, features: Float[Tensor, "batch candidates features"], particles: int, generator: torch.Generator
    ) -> Float[Tensor, "particles batch candidates"]: ...

    def value(self, features: Float[Tensor, "batch candidates features"]) -> Float[Tensor, "batch candidates"]: ...

    def learn(self, buffer: ReplayBuffer) -> None: ...

    @property
    def state(self) -> Mapping[str, Tensor]: ...

    def restore(self, state: Mapping[str, Tensor]) -> None: ...


class Interaction(Config):
    """How long, and how wide. Defaults are the paper's but for the number of epochs (1,250 there)."""

    epochs: int = Field(60, ge=1)
    prompts: int = Field(32, ge=1)
    candidates: int = Field(100, ge=2)
    capacity: int = Field(3200, ge=1)
    temperature: float = Field(1.0, ge=0)
    flip_probability: float = Field(0.0, ge=0, le=0.5)
    assessed_prompts: int = Field(400, ge=1)
    save_every: int = Field(10, ge=1)
    seed: int = Field(0, ge=0)


@dataclasses.dataclass(frozen=True)
class Asked:
    """Answered queries: features of both answers, 1 where the first was preferred, and the rows of the ledger."""

    pairs: Float[Tensor, "batch 2 features"]
    answers: Float[Tensor, " batch"]
    choice: Choice
    queries: Callable[[], list[Query]]


def true_reward(prompts: object, rewards: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """The reward function of a simulator in a world: candidates bring their rewards with them."""
    return rewards


def ask(
    candidates: Candidates,
    rewards: Float[Tensor, "particles batch candidates"],
    rule: Rule,
    simulator: FeedbackSimulator[Any, Tensor],
    *,
    seed: int,
    epoch: int,
) -> Asked:
    """Choose a pair per prompt, and have the simulator answer. The rule's draws are those of `seed` and `epoch`."""
    generator = torch.Generator().manual_seed(named_seed(seed, "rule", epoch))
    choice = rule.choose(rewards, generator)
    both = torch.stack([choice.first, choice.second], dim=-1)
    worth = candidates.rewards.gather(-1, both)
    answers = simulator.answer(range(len(both)), worth[:, 0], worth[:, 1])
    width = candidates.features.shape[-1]
    pairs = candidates.features.gather(1, both[..., None].expand(-1, -1, width))

    def queries() -> list[Query]:
        why = {name: [float(f"{value:.6g}") for value in numbers.tolist()] for name, numbers in choice.why.items()}
        return [
            Query(
                prompt_id=f"{epoch}/{row}",
                first=candidates.text(row, first),
                second=candidates.text(row, second),
                rule=rule.name,
                seed=seed,
                why={name: numbers[row] for name, numbers in why.items()},
                answered_by=simulator.name,
                answer=answer,
                prompt=candidates.prompt(row),
            )
            for row, ((first, second), answer) in enumerate(zip(both.tolist(), answers.tolist(), strict=True))
        ]

    return Asked(pairs, answers, choice, queries)


class Assessment:
    """Prompts that are never asked about, with the same candidates and opponents every time."""

    def __init__(self, world: World, settings: Interaction) -> None:
        generator = torch.Generator().manual_seed(named_seed(settings.seed, "assessment"))
        assessed: World = getattr(world, "held_out", None) or world
        drawn = assessed.draw(settings.assessed_prompts, settings.candidates + 1, generator)
        self.features, self.rewards = drawn.features[:, :-1], drawn.rewards[:, :-1]
        self.opponents, self.temperature = drawn.rewards[:, -1], settings.temperature

    def win_rate(self, value: Callable[[Tensor], Tensor]) -> float:
        """Mean probability that the candidate of the highest value beats the opponent."""
        return self._of(value(self.features).argmax(-1))

    @cached_property
    def oracle(self) -> float:
        """The win rate of who knows the rewards."""
        return self._of(self.rewards.argmax(-1))

    def _of(self, best: Int[Tensor, " batch"]) -> float:
        chosen = self.rewards.gather(-1, best[:, None])[:, 0]
        return float(preference_probability(chosen, self.opponents, self.temperature).double().mean())


@dataclasses.dataclass(frozen=True)
class Curve:
    """Win rate against queries: before the first and after every epoch; `oracle` is the best there is."""

    queries: list[int]
    win_rate: list[float]
    oracle: float

    @property
    def mean(self) -> float:
        """Over the epochs, without the point before the first."""
        return sum(self.win_rate[1:]) / (len(self.win_rate) - 1)

    def queries_to(self, share: float) -> int | None:
        """Queries until the win rate has gone this share of the way from 1/2 to the oracle's; None if it never did."""
        target = 0.5 + share * (self.oracle - 0.5)
        return next((asked for asked, rate in zip(self.queries, self.win_rate, strict=True) if rate >= target), None)


def interact(
    world: World,
    agent: Agent,
    rule: Rule,
    settings: Interaction,
    directory: Path | str | None = None,
    *,
    advance: Callable[[int], object] = lambda _: None,
) -> Curve:
    """Let an agent ask and learn; with a directory, keep the ledger there and go on from where a run was killed.

    Raises `SavedInteractionError` when the directory holds a run with other settings.
    """
    home = None if directory is None else Path(directory)
    ledger = None if home is None else Ledger(home / "queries.jsonl")
    identity = {"settings": canonical(settings), "rule": canonical(rule), "world": type(world).__name__}
    saved = None if home is None else Saved(home / "state.safetensors", identity)
    simulator = FeedbackSimulator(
        true_reward,
        settings.temperature,
        settings.flip_probability,
        settings.seed,
        name=f"{type(world).__name__} reward",
    )
    buffer, assessment = ReplayBuffer(settings.capacity, world.features), Assessment(world, settings)
    rates = [assessment.win_rate(agent.value)]
    if saved is not None and saved.exists:
        rates = saved.load(agent, buffer)
        advance(len(rates) - 1)
    for epoch in range(len(rates), settings.epochs + 1):
        simulator.answered = (epoch - 1) * settings.prompts
        asked = _epoch(world, agent, rule, simulator, settings, epoch)
        saves = epoch % settings.save_every == 0 or epoch == settings.epochs
        if ledger is not None:  # on the disk before a state that counts on it
            ledger.record((epoch - 1) * settings.prompts, asked.queries(), synchronise=saves)
        buffer.add(asked.pairs, asked.answers)
        agent.learn(buffer)
        rates.append(assessment.win_rate(agent.value))
        if saved is not None and saves:
            saved.save(agent, buffer, rates)
        advance(1)
    return Curve([epoch * settings.prompts for epoch in range(len(rates))], rates, assessment.oracle)


def _epoch(
    world: World,
    agent: Agent,
    rule: Rule,
    simulator: FeedbackSimulator[Any, Tensor],
    settings: Interaction,
    epoch: int,
) -> Asked:
    def generator(use: str) -> torch.Generator:
        return torch.Generator().manual_seed(named_seed(settings.seed, use, epoch))

    candidates = world.draw(settings.prompts, settings.candidates, generator("candidates"))
    if rule.uncertain:
        rewards = agent.rewards(candidates.features, rule.particles, generator("particles"))
    else:
        rewards = agent.value(candidates.features)[None]
    return ask(candidates, rewards, rule, simulator, seed=settings.seed, epoch=epoch)
