"""Reward models on language models: a head on embeddings that stay as they are, or a whole sequence classifier.

    train_head        point, ensemble or epinet on the last layer of our model or of any Hugging Face model
    train_classifier  `AutoModelForSequenceClassification(num_labels=1)`, every weight

Both minimise the Bradley-Terry loss (`glasshouse.alignment.bradley_terry`) on the shared trainer, from preferences in
TRL's or Anthropic's form (`glasshouse.language.conversations.read_preferences`). How they are saved and loaded stands
in `glasshouse.alignment.reward_files`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor, nn

from glasshouse.alignment.bradley_terry import RewardModelling, Rewards
from glasshouse.alignment.embeddings import Pooling, embed, embed_pairs, within
from glasshouse.alignment.preference_rows import Encode, TokenPairs, encode_pairs, padded
from glasshouse.language.adapters import Lora
from glasshouse.language.chat import Message
from glasshouse.language.conversations import Preference
from glasshouse.language.finetune import Adaptation
from glasshouse.nn.epistemic import EpistemicConfig, EpistemicHead
from glasshouse.training.data import DataError
from glasshouse.training.trainer import TrainingResult, train


class RewardTraining(Adaptation):
    """How a reward model is trained. The defaults suit a head; a whole classifier needs a rate like 1e-5 to 1e-4.

    Attributes:
        learn: the `head` on embeddings, or `everything`: a sequence classifier with one output.
        head: its shape.
        pooling: which embedding it gets (see `glasshouse.alignment.embeddings`).
        centring: weight of (r(chosen) + r(rejected))^2, as in TRL.
        penalty: lambda of arXiv 2402.00396.
    """

    learn: Literal["head", "everything"] = "head"
    head: EpistemicConfig = EpistemicConfig()
    pooling: Pooling = "mean"
    epochs: int = Field(5, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    batch_size: int = Field(64, ge=1)
    centring: float = Field(0.0, ge=0)
    penalty: float = Field(0.0, ge=0)
    precision: Literal["bf16", "fp32"] = "fp32"

    @field_validator("lora")
    @classmethod
    def _no_adapters(cls, lora: Lora | None) -> None:
        if lora is not None:
            raise ValueError("a reward model learns its head or everything: leave lora out")


@dataclasses.dataclass(frozen=True)
class Base:
    """A model that was opened to become a reward model (`glasshouse.alignment.reward_files`).

    Attributes:
        module: a language model, or a sequence classifier.
        encode: how a conversation becomes tokens.
        context: most tokens; what is longer loses its beginning.
        padding: the token that fills rows up.
    """

    module: nn.Module
    encode: Encode
    context: int
    padding: int

    def within(self, context: int | None) -> Base:
        """The same with a shorter context. Raises `DataError` for a longer one."""
        if context is not None and context > self.context:
            raise DataError(f"a context of {context} tokens exceeds the model's {self.context}")
        return dataclasses.replace(self, context=context or self.context)

    def pairs(self, preferences: Sequence[Preference]) -> TokenPairs:
        """Preferences as token rows."""
        return encode_pairs(preferences, self.encode, self.context, self.padding)


@dataclasses.dataclass(frozen=True)
class LoadedRewardModel:
    """A reward model, ready to judge conversations.

    Attributes:
        base: the language model under a head, or the sequence classifier.
        head: None for a sequence classifier.
        settings: how it was trained.
    """

    base: Base
    head: EpistemicHead | None = None
    settings: RewardTraining = dataclasses.field(default_factory=RewardTraining)

    @torch.no_grad()
    def rewards(
        self, conversations: Sequence[Sequence[Message]], *, batch: int = 16
    ) -> Float[Tensor, "particles conversations"]:
        """Rewards of the last answer of every conversation, on the host; a point estimate has one particle."""
        for number, messages in enumerate(conversations):
            if not messages or messages[-1].role != "assistant":
                raise ValueError(f"conversation {number} does not end with an answer, so there is nothing to judge")
        base = self.base
        rows = [base.encode(messages).within(base.context) for messages in conversations]
        if not rows:
            raise ValueError("there is no conversation to judge")
        if self.head is None:
            device, found = next(base.module.parameters()).device, []
            for start in range(0, len(rows), batch):
                given = padded(rows[start : start + batch], base.padding)
                found.append(classified(base.module, {name: part.to(device) for name, part in given.items()}).cpu())
            return torch.cat(found).T.float()
        features = embed(base.module, rows, padding=base.padding, pooling=self.settings.pooling, batch=batch)
        rewards: Tensor = self.head(features.to(next(self.head.parameters()).device))
        return rewards.cpu()


def train_head(
    base: Base,
    preferences: Sequence[Preference],
    settings: RewardTraining,
    directory: Path | str,
    *,
    validation: Sequence[Preference] = (),
    **options: Any,
) -> tuple[LoadedRewardModel, TrainingResult, dict[str, float]]:
    """Train a head on a model that stays as it is; `options` go to the trainer.

    Returns the reward model, the trainer's result, and what became of the pairs with what the model is worth on
    `validation` (see `quality`).
    """
    base = base.within(settings.context)
    rows = base.pairs(preferences)
    features = embed_pairs(base.module, rows, pooling=settings.pooling)
    held_out = embed_pairs(base.module, base.pairs(validation), pooling=settings.pooling) if validation else None
    head = settings.head.build(features.tensors["features"].shape[-1], seed=settings.seed)
    head.to(next(base.module.parameters()).device)
    objective = RewardModelling(head, **_weights(settings, rows), validation=held_out)
    result = train(objective, features, settings.training(rows.rows), directory, **options)
    return LoadedRewardModel(base, head.eval(), settings), result, objective.validate() | rows.counts


def train_classifier(
    base: Base,
    preferences: Sequence[Preference],
    settings: RewardTraining,
    directory: Path | str,
    *,
    validation: Sequence[Preference] = (),
    **options: Any,
) -> tuple[LoadedRewardModel, TrainingResult, dict[str, float]]:
    """Train every weight of a Hugging Face sequence classifier in place, otherwise as `train_head`."""
    base = base.within(settings.context)
    rows = base.pairs(preferences)
    held_out = base.pairs(validation) if validation else None
    rewards = classifier_rewards(base.module)
    objective = RewardModelling(base.module, rewards=rewards, **_weights(settings, rows), validation=held_out)
    result = train(objective, rows, settings.training(rows.rows), directory, **options)
    base.module.eval()
    return LoadedRewardModel(base, None, settings.but(learn="everything")), result, objective.validate() | rows.counts


def classifier_rewards(classifier: nn.Module) -> Rewards:
    """Rewards of a sequence classifier on a batch of `TokenPairs`; every output is a particle."""

    def rewards(batch: Mapping[str, Tensor], generator: torch.Generator | None) -> Tensor:
        flat = {name: batch[name].flatten(0, 1) for name in ("tokens", "lengths")}
        return classified(classifier, flat).T.reshape(-1, len(batch["tokens"]), 2)

    return rewards


def classified(classifier: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "rows outputs"]:
    """What a Hugging Face sequence classifier says of padded rows."""
    mask = within(batch["tokens"], batch["lengths"]).long()
    found: Tensor = classifier(input_ids=batch["tokens"], attention_mask=mask).logits
    return found


def _weights(settings: RewardTraining, rows: TokenPairs) -> dict[str, Any]:
    return {"centring": settings.centring, "penalty": settings.penalty, "pairs": rows.rows}
