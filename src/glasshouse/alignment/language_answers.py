"""Answers of our language models to prompts in the chat form, judged by reward models: what both papers' loops need.

Prompts are conversations that end with a user's turn. An answer is drawn at temperature 1 until its end token or a
limit, and judged as the next turn of its conversation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from glasshouse.alignment.policies import Answers, LanguagePolicy, PromptRows, Prompts
from glasshouse.alignment.reward_models import LoadedRewardModel
from glasshouse.alignment.transforms import Rewards
from glasshouse.language.chat import Chat, Message
from glasshouse.language.conversations import Preference
from glasshouse.nn.transformer import Transformer
from glasshouse.store.configuration import named_seed
from glasshouse.training.data import DataError

Conversation = tuple[Message, ...]


@dataclasses.dataclass(frozen=True)
class Asked:
    """Prompts as conversations and as token rows; make them with `asked`."""

    conversations: Sequence[Conversation]
    chat: Chat
    tokens: int

    @cached_property
    def rows(self) -> PromptRows:
        """For the trainer."""
        return PromptRows([self.chat.prompt(prompt) for prompt in self.conversations])

    @property
    def policy(self) -> LanguagePolicy:
        """What draws answers to them."""
        return LanguagePolicy(self.tokens, self.chat.end)

    def texts(self, answers: Answers) -> list[list[str]]:
        """Answers in words."""
        return [
            [self.chat.decode(row[:length]) for row, length in zip(several, lengths, strict=True)]
            for several, lengths in zip(answers.tokens.tolist(), answers.lengths.tolist(), strict=True)
        ]

    def continued(self, answers: Answers) -> list[list[Message]]:
        """Every answer as the last turn of its conversation, prompt by prompt."""
        return [
            [*self.conversations[number], Message("assistant", text)]
            for number, several in zip(answers.prompts.tolist(), self.texts(answers), strict=True)
            for text in several
        ]

    def draw(self, model: Transformer, answers: int, seed: int, batch: int = 16) -> list[Answers]:
        """Answers to all prompts, a batch of prompts at a time."""
        found = []
        device = model.embedding.weight.device
        for start in range(0, self.rows.rows, batch):
            given = self.rows.batch(np.arange(start, min(start + batch, self.rows.rows)))
            generator = torch.Generator(device).manual_seed(named_seed(seed, "answers", start))
            on_device = {name: part.to(device) for name, part in given.items()}
            found.append(self.policy.draw(model, on_device, answers, generator))
        return found


def asked(preferences: Sequence[Preference], chat: Chat, context: int, tokens: int, most: int) -> Asked:
    """The first `most` different prompts of some preferences that leave room for `tokens` tokens of an answer.

    Raises `DataError` when none does.
    """
    found: dict[Conversation, None] = {}
    for item in preferences:
        if len(found) < most and len(chat.prompt(item.prompt)) <= context - tokens:
            found[item.prompt] = None
    if not found:
        raise DataError(f"none of {len(preferences)} prompts leaves room for {tokens} tokens in a context of {context}")
    return Asked(list(found), chat, tokens)


def judged(judge: LoadedRewardModel, conversations: Sequence[Sequence[Message]]) -> Tensor:
    """The mean reward over particles, of each."""
    return judge.rewards(conversations).mean(0)


def scores_of(
    questions: Asked, judges: Mapping[str, LoadedRewardModel]
) -> Callable[[Prompts, Answers], dict[str, Rewards]]:
    """Scores by property, for `scored_reward.ScoredReward`."""

    def scores(_: Prompts, answers: Answers) -> dict[str, Rewards]:
        conversations = questions.continued(answers)
        return {name: judged(judge, conversations).view(answers.lengths.shape) for name, judge in judges.items()}

    return scores


def scores_of_all(
    questions: Asked, judges: Mapping[str, LoadedRewardModel], drawn: Sequence[Answers]
) -> dict[str, Rewards]:
    """Scores by property of answers to all prompts, in the order of the prompts."""
    scores = scores_of(questions, judges)
    parts = [scores({}, answers) for answers in drawn]
    return {name: torch.cat([part[name] for part in parts]) for name in judges}
