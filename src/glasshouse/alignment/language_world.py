"""The world of efficient exploration (arXiv 2402.00396) with a language model: answers that it drew, and a judge.

Answers to fixed prompts are drawn and embedded once, so that rules and seeds share the cost; a query's candidates are a
fresh subset of its prompt's answers. The agent sees embeddings under the policy's own model, as in the paper; the judge
is a reward model that stands for people. Prompts that are asked about and prompts that are assessed on are apart.

Deviations: the paper draws fresh answers for every query; embeddings and rewards are scaled to a deviation of 1 over
all answers, so that settings of agents do not depend on the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.alignment.embeddings import embed
from glasshouse.alignment.interaction import Candidates
from glasshouse.alignment.language_answers import Asked, scores_of_all
from glasshouse.alignment.preference_rows import chat_encoding
from glasshouse.alignment.reward_models import LoadedRewardModel
from glasshouse.nn.transformer import Transformer
from glasshouse.training.data import DataError


@dataclasses.dataclass(frozen=True)
class AnswerPool:
    """Answers to prompts with their embeddings and rewards."""

    prompts: Sequence[str]
    texts: Sequence[Sequence[str]]
    embeddings: Float[Tensor, "prompts answers features"]
    rewards: Float[Tensor, "prompts answers"]

    def world(self, assessed: float = 0.25) -> PooledWorld:
        """The last share of the prompts is kept for assessment. Raises `DataError` where a part has no prompt."""
        kept = round(len(self.prompts) * (1 - assessed))
        if not 0 < kept < len(self.prompts):
            raise DataError(
                f"{len(self.prompts)} prompts cannot be shared out into some to ask about and some to assess"
            )
        return PooledWorld(self, range(kept), PooledWorld(self, range(kept, len(self.prompts))))


@dataclasses.dataclass(frozen=True)
class PooledWorld:
    """A `World` for the interaction; `held_out` are the prompts that it is assessed on."""

    pool: AnswerPool
    rows: range
    held_out: PooledWorld | None = None

    @property
    def features(self) -> int:
        return self.pool.embeddings.shape[-1]

    def draw(self, prompts: int, candidates: int, generator: torch.Generator) -> Candidates:
        """Prompts with replacement, and different answers to each. Raises `DataError` for too few answers."""
        answers = self.pool.rewards.shape[1]
        if candidates > answers:
            raise DataError(f"{candidates} candidates were asked for; the pool has {answers} answers per prompt")
        rows = self.rows.start + torch.randint(len(self.rows), (prompts,), generator=generator)
        chosen = torch.rand(prompts, answers, generator=generator).topk(candidates).indices

        def text(row: int, candidate: int) -> str:
            return self.pool.texts[int(rows[row])][int(chosen[row, candidate])]

        places = (rows[:, None], chosen)
        return Candidates(
            self.pool.embeddings[places],
            self.pool.rewards[places],
            text,
            lambda row: self.pool.prompts[int(rows[row])],
        )


def draw_pool(
    model: Transformer, questions: Asked, judge: LoadedRewardModel, answers: int, seed: int, **options: Any
) -> AnswerPool:
    """Draw and embed answers, and have them judged; `options` go to the embedding."""
    drawn = questions.draw(model, answers, seed)
    rewards = scores_of_all(questions, {"judge": judge}, drawn)["judge"]
    encode = chat_encoding(questions.chat)
    rows = [encode(item).within(model.config.context) for part in drawn for item in questions.continued(part)]
    found = embed(model, rows, padding=questions.chat.end, **options).view(*rewards.shape, -1)
    spread = found.flatten(0, 1).std(0).clamp(min=1e-6)
    return AnswerPool(
        [prompt[-1].content for prompt in questions.conversations],
        [several for part in drawn for several in questions.texts(part)],
        (found - found.flatten(0, 1).mean(0)) / spread,
        rewards / rewards.std().clamp(min=1e-6),
    )
