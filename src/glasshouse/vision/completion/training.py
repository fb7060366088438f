"""Training a model that completes images, on the shared trainer: its own loss under masks of several kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from glasshouse.store.configuration import Config
from glasshouse.training.configuration import Training
from glasshouse.training.objective import Loss, Step
from glasshouse.vision.completion.masks import Mask, draw_one_of
from glasshouse.vision.completion.model import Completion

TRAINING_MASKS = (
    Mask(kind="random", share=0.5),
    Mask(kind="random", share=0.75),
    Mask(kind="centre", share=0.25),
    Mask(kind="half", share=0.5),
)


class CompletionTraining(Config):
    """How long and how fast; a cosine from `learning_rate` to 0."""

    steps: int = Field(1600, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(5e-3, gt=0)
    optimizer: Literal["adamw", "muon"] = "muon"
    weight_decay: float = Field(0.05, ge=0)
    masks: tuple[Mask, ...] = Field(TRAINING_MASKS, min_length=1)
    seed: int = Field(0, ge=0)

    def training(self, **options: Any) -> Training:
        """The trainer's configuration."""
        return Training.small(
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            seed=self.seed,
            schedule="cosine",
            warmup=0.05,
            final_fraction=0.0,
            **options,
        )


class CompletionObjective:
    """L = the model's own loss under a mask of one of several kinds. A batch is `{"images"}`."""

    unit = "images"

    def __init__(self, model: Completion, masks: Sequence[Mask]) -> None:
        self.model, self.masks = model, masks
        self.learns: Mapping[str, nn.Module] = {"model": model}
        self.carries: Mapping[str, nn.Module] = {}
        self.frozen: Mapping[str, nn.Module] = {}
        self.configuration = {"masks": list(masks)}

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(len(batch["images"]))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        images = batch["images"]
        hidden = draw_one_of(self.masks, images, step.generator)
        return Loss(self.model.loss(images, hidden, images, step.generator))


def masks_for(cell: int, masks: Sequence[Mask] = TRAINING_MASKS) -> tuple[Mask, ...]:
    """The same masks on a grid of other cells, such as the patches of a model."""
    return tuple(mask.but(cell=cell) for mask in masks)


__all__ = ["TRAINING_MASKS", "CompletionObjective", "CompletionTraining", "masks_for"]
