"""The neural agent of "Efficient Exploration for LLMs" (arXiv 2402.00396) as one run of the shared trainer.

    every `updates` updates (an epoch): draw N candidates for each of B prompts, the rule picks two per prompt, the
    simulator answers, and the B rows go into the FIFO buffer; in between: updates on minibatches of the buffer,

    L = E_z [ mean over the minibatch of ce(r(x, y | z), r(x, y' | z), c) ] + lambda / n ||theta - theta~||^2

with n the number of queries asked so far and theta~ the weights at the start (zero for a point estimate). The penalty
is lambda against a sum over all data in the paper; here the data term is a mean, so it is divided by n.

What changes is the head (`learns`) and the buffer (`carries`), so that the trainer's checkpoints hold all of it: a run
that was killed goes on to the same bits. The curve is made by the trainer's validation. What is asked depends on the
seed and the epoch alone, as in `glasshouse.alignment.interaction`, and so agents meet the same candidates.

Deviation: rules see every particle of an ensemble once; the paper draws M = 30 indices of ten particles. An epinet
draws as many as the rule asks for, as the exact agent does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from glasshouse.alignment.adam import constant_adam
from glasshouse.alignment.bradley_terry import RewardModelling, measured
from glasshouse.alignment.exploration import Rule
from glasshouse.alignment.feedback import FeedbackSimulator
from glasshouse.alignment.interaction import Assessment, Curve, Interaction, World, ask, true_reward
from glasshouse.alignment.joint_nll import preference_cross_entropy
from glasshouse.alignment.ledger import Ledger
from glasshouse.alignment.replay import ReplayBuffer
from glasshouse.nn.epistemic import EpinetHead, EpistemicConfig
from glasshouse.store.configuration import Config, canonical, named_seed
from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.objective import Loss, Step
from glasshouse.training.trainer import train


class NeuralAgent(Config):
    """How the agent learns. The defaults gave double Thompson sampling the highest end on two worlds of modes (seeds 10
    and 11), among prior scales of 1 and 3 and penalties of 0.2 and 2.

    Attributes:
        head: what gives rewards.
        updates: SGD steps after every batch of queries.
        batch_size: rows of a minibatch.
        penalty: lambda.
    """

    head: EpistemicConfig = EpistemicConfig(hidden=(64, 64))
    updates: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    penalty: float = Field(0.2, ge=0)

    def training(self, interaction: Interaction) -> Training:
        """The trainer's configuration for a whole interaction: Adam at a constant rate."""
        return constant_adam(
            steps=interaction.epochs * self.updates,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=interaction.seed,
            checkpoint_every=interaction.save_every * self.updates,
            validate_every=self.updates,
            log_every=self.updates,
        )


class OnlineRewardModelling:
    """The objective. A batch says how many rows to take from the buffer; asking is part of an epoch's first loss."""

    unit = "pairs"
    concurrent = False

    def __init__(
        self, head: nn.Module, world: World, rule: Rule, interaction: Interaction, agent: NeuralAgent, ledger: Ledger
    ) -> None:
        self.offline = RewardModelling(head, penalty=agent.penalty, pairs=1)
        self.head, self.world, self.rule, self.interaction, self.agent = head, world, rule, interaction, agent
        self.buffer, self.ledger = ReplayBuffer(interaction.capacity, world.features), ledger
        self.assessment = Assessment(world, interaction)
        self.simulator: FeedbackSimulator[Any, Tensor] = FeedbackSimulator(
            true_reward,
            interaction.temperature,
            interaction.flip_probability,
            interaction.seed,
            name=f"{type(world).__name__} reward",
        )
        self.learns: Mapping[str, nn.Module] = {"head": head}
        self.carries: Mapping[str, nn.Module] = {"buffer": self.buffer}
        self.frozen = self.offline.frozen
        self.configuration = {
            "world": type(world).__name__,
            "rule": canonical(rule),
            "interaction": canonical(interaction),
            "agent": canonical(agent),
        }

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(len(batch["row"]))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        epoch = -(-step.number // self.agent.updates)
        if int(self.buffer.added) < epoch * self.interaction.prompts:
            self.ask(epoch)
        pairs, answers = self.buffer.draw(len(batch["row"]), step.generator)
        rewards = self.offline.rewards({"features": pairs}, step.generator)
        value = preference_cross_entropy(rewards[..., 0] - rewards[..., 1], answers).mean()
        if self.agent.penalty:
            value = value + self.agent.penalty / int(self.buffer.added) * self.offline.distance()
        return Loss(value, measured(rewards.detach(), answers))

    @torch.no_grad()
    def ask(self, epoch: int) -> None:
        """Ask about one batch of prompts, and remember the answers."""
        interaction = self.interaction

        def generator(use: str) -> torch.Generator:
            return torch.Generator().manual_seed(named_seed(interaction.seed, use, epoch))

        candidates = self.world.draw(interaction.prompts, interaction.candidates, generator("candidates"))
        if self.rule.uncertain:
            rewards = self.particles(candidates.features, generator("particles"))
        else:
            rewards = self.value(candidates.features)[None]
        before = (epoch - 1) * interaction.prompts
        self.simulator.answered = before
        asked = ask(candidates, rewards, self.rule, self.simulator, seed=interaction.seed, epoch=epoch)
        saves = epoch % interaction.save_every == 0 or epoch == interaction.epochs
        self.ledger.record(before, asked.queries(), synchronise=saves)
        self.buffer.add(asked.pairs, asked.answers)

    def particles(
        self, features: Float[Tensor, "batch candidates features"], generator: torch.Generator
    ) -> Float[Tensor, "particles batch candidates"]:
        """What a rule sees."""
        indices = None
        if isinstance(self.head, EpinetHead):
            indices = torch.randn(self.rule.particles, self.head.indices.shape[1], generator=generator)
        found: Tensor = self.head(self._at_head(features), indices if indices is None else self._at_head(indices))
        return found.cpu()

    def value(self, features: Float[Tensor, "batch candidates features"]) -> Float[Tensor, "batch candidates"]:
        """E_z[r(x, y | z)]."""
        found: Tensor = self.head(self._at_head(features))
        return found.mean(0).cpu()

    def validate(self) -> dict[str, float]:
        """The win rate of best-of-N on prompts that are never asked about."""
        return {"win_rate": self.assessment.win_rate(self.value)}

    def _at_head(self, tensor: Tensor) -> Tensor:
        return tensor.to(next(self.head.parameters()).device)


def explore(
    world: World,
    rule: Rule,
    interaction: Interaction,
    agent: NeuralAgent,
    directory: Path | str,
    **options: Any,
) -> Curve:
    """Let a neural agent ask and learn in a world; `options` go to the trainer.

    A directory that holds a part of the same run is gone on with. The ledger is `queries.jsonl` beside the run. With
    `stop=...` the curve ends where the run was stopped.
    """
    home = Path(directory)
    head = agent.head.build(world.features, seed=interaction.seed)
    ledger = Ledger(home / "queries.jsonl")
    objective = OnlineRewardModelling(head, world, rule, interaction, agent, ledger)
    with torch.no_grad():
        rates = [objective.validate()["win_rate"]]
    rows = TensorRows({"row": torch.arange(agent.batch_size)})
    result = train(objective, rows, agent.training(interaction), home / "run", **options)
    with result.metrics.open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    rates += [record["validation/win_rate"] for record in records if "validation/win_rate" in record]
    return Curve([epoch * interaction.prompts for epoch in range(len(rates))], rates, objective.assessment.oracle)
