"""The recovery attack: how fast a model relearns what it forgot, from a few images.

A model that has unlearned may still hold what it hides. Fine-tuning everything on a few forgotten images shows how near
it is; but a model that never saw them learns from them too, so only the comparison with the retrained one says
something. The error is measured on other images of the forgotten kind.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from pydantic import Field, field_validator
from torch import Tensor, nn

from glasshouse.store.configuration import Config, named_seed
from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.objective import Loss, Step
from glasshouse.training.trainer import train
from glasshouse.vision.collection import ImageCollection
from glasshouse.vision.completion.masks import Mask
from glasshouse.vision.completion.model import Completion
from glasshouse.vision.unlearning.measures import completions, hidden_error, same_masks


class Recovery(Config):
    """The attack.

    Attributes:
        images: how many forgotten images the attacker has.
        steps: after how many updates the error is measured; 0 is always measured.
        mask: both trained and measured with.
    """

    images: int = Field(20, ge=1)
    steps: tuple[int, ...] = (10, 50, 200)
    learning_rate: float = Field(1e-3, gt=0)
    mask: Mask = Mask()
    seed: int = Field(0, ge=0)

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if not steps or list(steps) != sorted(set(steps)) or steps[0] < 1:
            raise ValueError("steps are one or more numbers of updates that rise, from 1 on")
        return steps

    def attacker(self, forget: Int[Tensor, " images"]) -> Int[Tensor, " few"]:
        """The images that the attacker has, of those that were to be forgotten."""
        generator = torch.Generator().manual_seed(named_seed(self.seed, "attacker's images"))
        return forget[torch.randperm(len(forget), generator=generator)[: self.images]]


class Relearning:
    """The model's own loss on the attacker's images; the error on others is measured as it goes."""

    unit = "images"

    def __init__(self, model: Completion, settings: Recovery, others: Tensor) -> None:
        self.model, self.settings, self.others = model, settings, others
        self.learns: Mapping[str, nn.Module] = {"model": model}
        self.carries: Mapping[str, nn.Module] = {}
        self.frozen: Mapping[str, nn.Module] = {}
        self.configuration: Any = settings
        self.hidden = same_masks(settings.mask, others, settings.seed)
        self.errors: dict[int, float] = {0: self.error()}

    def error(self) -> float:
        """Mean square over hidden pixels of the other images."""
        return float(hidden_error(completions(self.model, self.others, self.hidden), self.others, self.hidden).mean())

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(len(batch["images"]))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        images = batch["images"]
        hidden = self.settings.mask.draw(images, step.generator)
        return Loss(self.model.loss(images, hidden, images, step.generator))

    def after_step(self, step: Step) -> None:
        if step.number in self.settings.steps:
            self.errors[step.number] = self.error()


def relearn(
    model: Completion,
    images: ImageCollection,
    forget: Int[Tensor, " images"],
    measured_on: Int[Tensor, " images"],
    settings: Recovery,
    directory: Path | str,
    **options: Any,
) -> dict[int, float]:
    """Updates -> error; `model` stays as it is. Images that the attacker has are not measured on.

    An attack is not resumed, because the errors along the way are no part of a checkpoint: it runs in a folder of its
    own in `directory`, which is removed.
    """
    attacker = settings.attacker(forget)
    others = measured_on[~torch.isin(measured_on, attacker)]
    if not len(others):
        raise ValueError(f"the attacker has all {len(measured_on)} images to measure on; give Recovery.images fewer")
    pixels, copied = images.images, copy.deepcopy(model)
    training = Training.small(
        steps=settings.steps[-1], batch_size=len(attacker), learning_rate=settings.learning_rate, seed=settings.seed,
        schedule="constant", warmup=0, checkpoint_every=None,
    )  # fmt: skip
    copied.requires_grad_(True)
    attack = Relearning(copied, settings, pixels[others])
    device = next(model.parameters()).device
    Path(directory).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as home:
        train(attack, TensorRows({"images": pixels[attacker]}), training, home, device=device, **options)
    return attack.errors
