"""Supervised fine-tuning (SFT): next-token prediction on the answers of conversations.

    L = - 1/|M| sum_{i in M} log p(x_{i+1} | x_{<=i})

M are the positions whose next token belongs to an answer or ends it (`glasshouse.language.chat`): the loss of
pre-training on fewer targets, so the objective is `LanguageModelling`. Method and settings: Open-Instruct (arXiv
2306.04751, section 3) as used for OLMo (arXiv 2402.00838, section 3.3 and appendix): learning rate 2e-6 after 3 % of
linear warm-up, linearly to 0 over 3 epochs, no weight decay, no clipping. These suit a model of 7B; small ones need
more (OLMo 2 1B: 3e-5, the models of a recipe here: about 1e-3).

Deviations: examples share rows (`glasshouse.language.packing`), and every learnt token of a batch counts alike; in
open-instruct a batch holds examples, so the same number of updates sees fewer tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import nn

from glasshouse.language.adapters import Lora, learning_parts
from glasshouse.language.chat import Chat
from glasshouse.language.conversations import Conversation
from glasshouse.language.packing import ConversationRows, pack
from glasshouse.language.pretrain import LanguageModelling, embedding, model_context
from glasshouse.store.configuration import Config
from glasshouse.training.configuration import Training
from glasshouse.training.data import DataError
from glasshouse.training.trainer import TrainingResult, train


class Adaptation(Config):
    """What fine-tuning and preference tuning share. The length is set in epochs, because only the data knows its rows.

    Attributes:
        batch_size: rows of an update, at most all there are; micro-batches are the largest equal parts of it that do
            not exceed `micro_batch_size`.
        context: longest example in tokens; None: the model's context.
        lora: train low-rank adapters instead of all weights.
    """

    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(2e-6, gt=0)
    warmup: float = Field(0.03, ge=0)
    batch_size: int = Field(128, ge=1)
    micro_batch_size: int | None = Field(None, ge=1)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float | None = Field(None, gt=0)
    context: int | None = Field(None, ge=2)
    lora: Lora | None = None
    seed: int = Field(6198, ge=0)
    precision: Literal["bf16", "fp32"] = "bf16"
    checkpoint_every: int | None = Field(1000, ge=1)
    validate_every: int | None = Field(None, ge=1)
    log_every: int = Field(10, ge=1)

    def training(self, rows: int) -> Training:
        """The trainer's configuration for data of so many rows."""
        own = {"epochs", "context", "lora", "batch_size", "micro_batch_size"}
        engine = {name: getattr(self, name) for name in Adaptation.model_fields if name not in own}
        batch = min(self.batch_size, rows)
        most = None if self.micro_batch_size is None else min(self.micro_batch_size, batch)
        micro = most and next(size for size in range(most, 0, -1) if batch % size == 0)
        return Training(
            examples=self.epochs * rows, batch_size=batch, micro_batch_size=micro, final_fraction=0.0, **engine
        )


class FineTuning(Adaptation):
    """Settings of supervised fine-tuning; OLMo's by default, for a model of 7B.

    Attributes:
        batch_size: rows of an update; packed rows hold several examples.
        packed: let examples share rows.
    """

    packed: bool = True


class SupervisedFineTuning(LanguageModelling):
    """The objective: `LanguageModelling` on rows whose targets are answers only."""

    def __init__(self, model: nn.Module, *, validation: ConversationRows | None = None) -> None:
        super().__init__(model, validation=validation)
        self.learns, self.frozen, self.concurrent = learning_parts(model)


def finetune(
    model: nn.Module,
    conversations: Sequence[Conversation],
    chat: Chat,
    settings: FineTuning,
    directory: Path | str,
    *,
    validation: Sequence[Conversation] = (),
    **options: Any,
) -> tuple[TrainingResult, ConversationRows]:
    """Fine-tune `model` (ours, a Hugging Face causal model, or one with adapters) in place.

    `options` go to `glasshouse.training.trainer.train`. Returns its result and the rows, which say what was truncated
    or left out. Raises `DataError` when nothing can be learnt or the tokenizer is not the model's.
    """
    context = checked_context(model, chat, settings.context)
    rows = pack(conversations, chat, context, packed=settings.packed)
    held_out = pack(validation, chat, context, packed=settings.packed) if validation else None
    objective = SupervisedFineTuning(model, validation=held_out)
    return train(objective, rows, settings.training(rows.rows), directory, **options), rows


def checked_context(model: nn.Module, chat: Chat, context: int | None) -> int:
    """The context to train at. Raises `DataError` when it exceeds the model's or the tokenizer has unknown tokens."""
    most = model_context(model)
    if context is not None and context > most:
        raise DataError(f"a context of {context} tokens exceeds the model's {most}")
    known = embedding(model).num_embeddings
    if (size := max(chat.tokenizer.get_vocab().values()) + 1) > known:
        raise DataError(
            f"the tokenizer has ids up to {size - 1}, the model embeds {known}: use the model's own tokenizer"
        )
    return context or most
