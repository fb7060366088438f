"""RLOO of our language model against learnt rewards, with the references and the measures that the method needs.

References r_ref(x) come from answers of the base policy to the very prompts that are trained on. What is measured, on
prompts that are not trained on: KL to the base policy, and for every property the chance that an answer beats one of
the base policy's by a reward model that nothing was optimised against and by the one that was. In the recipe both learn
from the same pairs, on embeddings of two different models.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from glasshouse.alignment.algebra import Expression
from glasshouse.alignment.combination import references_from
from glasshouse.alignment.language_answers import Asked, scores_of, scores_of_all
from glasshouse.alignment.policies import Answers
from glasshouse.alignment.reward_models import LoadedRewardModel
from glasshouse.alignment.rloo import LeaveOneOut, Rloo
from glasshouse.alignment.scored_reward import ScoredReward
from glasshouse.alignment.transforms import Rewards
from glasshouse.nn.transformer import Transformer
from glasshouse.store.configuration import Config
from glasshouse.training.configuration import Training
from glasshouse.training.trainer import TrainingResult, train

Judges = Mapping[str, LoadedRewardModel]


class PolicyTuning(Config):
    """Settings of policy optimisation.

    Attributes:
        prompts: most prompts to train on.
        held_out: most prompts to measure on.
        tokens: longest answer.
        base_answers: answers of the base policy to each prompt, for references and comparisons.
        batch_size: prompts of an update, at most all there are.
    """

    rloo: Rloo = Rloo()
    prompts: int = Field(256, ge=1)
    held_out: int = Field(32, ge=1)
    tokens: int = Field(48, ge=1)
    base_answers: int = Field(16, ge=2)
    steps: int = Field(100, ge=1)
    batch_size: int = Field(8, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    clip_norm: float | None = Field(1.0, gt=0)
    seed: int = Field(0, ge=0)
    precision: Literal["bf16", "fp32"] = "fp32"
    validate_every: int = Field(25, ge=1)
    checkpoint_every: int = Field(25, ge=1)

    def training(self, prompts: int) -> Training:
        """The trainer's configuration for so many prompts."""
        return Training(
            steps=self.steps, batch_size=min(self.batch_size, prompts), learning_rate=self.learning_rate,
            weight_decay=0.0, betas=(0.9, 0.99), schedule="constant", warmup=0, clip_norm=self.clip_norm,
            seed=self.seed, precision=self.precision, compile=False, validate_every=self.validate_every,
            checkpoint_every=self.checkpoint_every, log_every=1,
        )  # fmt: skip


class Comparison:
    """The policy against the base policy on prompts that are not trained on."""

    def __init__(
        self, base: Transformer, held_out: Asked, judges: Mapping[str, Judges], settings: PolicyTuning
    ) -> None:
        self.base, self.held_out, self.judges, self.settings = base, held_out, judges, settings
        drawn = held_out.draw(base, settings.base_answers, settings.seed)
        self.usual = {name: scores_of_all(held_out, judges[name], drawn) for name in judges}

    def __call__(self, policy: Transformer) -> dict[str, float]:
        """`kl`, `length`, and `win/<judges>/<property>`: the mean of sigma(r(y) - r(y')) over pairs of answers."""
        drawn = self.held_out.draw(policy, self.settings.base_answers, self.settings.seed + 1)
        values = {"kl": self._divergence(policy, drawn)}
        values["length"] = float(torch.cat([answers.lengths for answers in drawn]).float().mean())
        for name, judges in self.judges.items():
            found = scores_of_all(self.held_out, judges, drawn)
            values |= {f"win/{name}/{of}": win_rate(found[of], self.usual[name][of]) for of in found}
        return values

    def _divergence(self, policy: Transformer, drawn: list[Answers]) -> float:
        ratios = []
        for answers in drawn:
            given = self.held_out.rows.batch(answers.prompts.cpu().numpy())
            batch = {name: part.to(answers.tokens.device) for name, part in given.items()}
            with torch.no_grad():
                scores = [self.held_out.policy.score(model, batch, answers) for model in (policy, self.base)]
            ratios.append(scores[0] - scores[1])
        return float(torch.cat(ratios).mean())


def win_rate(ours: Rewards, theirs: Rewards) -> float:
    """Mean over prompts and pairs of answers of sigma(r - r')."""
    return float(torch.sigmoid(ours[:, :, None] - theirs[:, None, :]).mean())


def optimise(
    model: Transformer,
    questions: Asked,
    held_out: Asked,
    judges: Judges,
    others: Judges,
    expression: Expression,
    settings: PolicyTuning,
    directory: Path | str,
    **options: Any,
) -> tuple[TrainingResult, dict[str, float]]:
    """Optimise `model` in place; as it is given it is the base policy. `options` go to the trainer.

    `others` are reward models that nothing is optimised against. Returns the trainer's result and what the policy is
    like at the end (see `Comparison`).
    """
    base = copy.deepcopy(model)
    usual = scores_of_all(questions, judges, questions.draw(base, settings.base_answers, settings.seed))
    references: dict[str, Tensor] = references_from(expression, usual)
    reward = ScoredReward(expression, scores_of(questions, judges), references)
    compared = Comparison(base, held_out, {"judge": judges, "other judge": others}, settings)
    frozen = {f"{name} encoder": judge.base.module for name, judge in judges.items()}
    frozen |= {f"{name} head": judge.head for name, judge in judges.items() if judge.head is not None}
    objective = LeaveOneOut(
        questions.policy, model, base, reward, settings.rloo, judges=frozen, measure=lambda: compared(model)
    )
    result = train(objective, questions.rows, settings.training(questions.rows.rows), directory, **options)
    return result, compared(model)
